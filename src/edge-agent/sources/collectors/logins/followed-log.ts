/**
 * Following one log of logins: what was written since the last look, as records.
 *
 * Invariants: what stood there before the first look is learnt from and not told; after the log was cut or written anew,
 * only what is not older than the last that was told is told; a record that cannot be read hides no other, and is counted.
 */
import type { CollectorContext, Memory } from "../collector.ts";
import { LOG_START, readLog } from "../log-cursor.ts";
import { stateOfLog } from "../log-file.ts";
import type { LoginRecord } from "./login-record.ts";

export interface ParsedLog<T> {
  readonly entries: readonly T[];
  /** Records that cannot be read. */
  readonly unreadable: number;
}

export interface FollowedLog<T> {
  readonly name: LoginRecord["source"];
  readonly path: string;
  readonly recordBytes?: number;
  readonly parse: (bytes: Uint8Array, nowUs: number) => ParsedLog<T>;
}

export interface LogEntries<T> {
  readonly entries: readonly T[];
  /** Whether they are to be learnt from only. */
  readonly isBaseline: boolean;
  readonly put: ReadonlyMap<string, string>;
  readonly forget?: readonly string[];
}

/** A record or line has 40 bytes and more: so much is fewer events than one collection may have. */
const PIECE_BYTES_MAX = 256 * 1024;

/** Each is to be remembered before the next is asked for. */
export async function* readOnIn<T extends { readonly timeUs: number }>(
  log: FollowedLog<T>,
  memory: Memory,
  context: Pick<CollectorContext, "lost" | "clock">,
): AsyncGenerator<LogEntries<T>> {
  const [cursorKey, lastKey, floorKey] = ["log", "last", "floor"].map((key) =>
    `${key}:${log.name}`
  );
  if (cursorKey === undefined || lastKey === undefined || floorKey === undefined) return;
  const baselineKey = `baseline:${log.name}`;
  for (let hasMore = true; hasMore;) {
    const known = memory.get(cursorKey);
    const isBaseline = known === undefined || memory.get(baselineKey) === "1";
    const cursor = known ?? LOG_START;
    const { path, recordBytes } = log;
    const bounds = { pieceBytesMax: PIECE_BYTES_MAX, ...(recordBytes && { recordBytes }) };
    const piece = await readLog({ path, cursor, ...bounds });
    const put = new Map<string, string>();
    if (piece === undefined) {
      // What is written into a log that is not there yet is news.
      if (known === undefined && await stateOfLog(path) === "absent") {
        yield { entries: [], isBaseline, put: put.set(cursorKey, LOG_START) };
      }
      return;
    }
    const { entries, unreadable } = log.parse(piece.bytes, context.clock.nowUs());
    if (unreadable > 0 && !isBaseline) {
      const reason = `records of ${log.name} cannot be read`;
      context.lost({ class: "unreadable", count: unreadable, reason });
    }
    if (piece.wasLost) {
      context.lost({ class: "log", count: null, reason: `${log.name} was rotated away unread` });
    }
    const last = Number(memory.get(lastKey) ?? 0);
    if (piece.wasTruncated) {
      put.set(floorKey, String(last));
      const reason = `${log.name} was cut or changed where it had been read already`;
      context.lost({ class: "log", count: null, reason });
    }
    const floor = Number(put.get(floorKey) ?? memory.get(floorKey) ?? 0);
    const later = entries.filter(({ timeUs }) => timeUs >= floor);
    const newest = later.reduce((max, { timeUs }) => Math.max(max, timeUs), last);
    ({ hasMore } = piece);
    if (newest !== last) put.set(lastKey, String(newest));
    if (piece.cursor !== known) put.set(cursorKey, piece.cursor);
    if (isBaseline) put.set(baselineKey, hasMore ? "1" : "0");
    // A cut log ends somewhere: from there on all is told, whatever the clock does.
    if (!hasMore && floor > 0) put.set(floorKey, "0");
    if (put.size > 0) yield { entries: later, isBaseline, put };
  }
}
