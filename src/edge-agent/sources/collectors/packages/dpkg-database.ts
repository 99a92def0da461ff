/**
 * dpkg: its log tells each step with its time, also of packages that come and go between two looks; its status file tells
 * what the log does not (a log that is gone, or was never written). apt's history tells who asked.
 *
 * Invariants: the status file counts only while dpkg is at rest, for while it works the log is ahead of it; lines of the
 * log that are older than what was read are not told again.
 */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Collection, CollectorContext, Memory } from "../collector.ts";
import { compare, hasLooked } from "../differential.ts";
import { LOG_START, readLog } from "../log-cursor.ts";
import { stateOfLog } from "../log-file.ts";
import { type AptRun, aptRunOf, HISTORY_BYTES_MAX, parseAptHistory } from "./apt-history.ts";
import { type DpkgStep, parseDpkgLog } from "./dpkg-log.ts";
import { parseDpkgStatus } from "./dpkg-status.ts";
import { PackageDatabaseError, splitKey } from "./installed.ts";
import { isAbsence, type PackageDatabase, readDatabase, stampOf } from "./package-database.ts";
import { type ChangeCircumstances, packageEvents } from "./package-events.ts";

const PREFIX = "dpkg:";
/** Cursor of the log, and time of its last line that was read. */
const CURSOR = "log:dpkg";
const LAST = "last:dpkg";
/** A line has 60 bytes and more: so much is fewer events than one collection may have. */
const PIECE_BYTES_MAX = 256 * 1024;

export function createDpkgDatabase(root: string): PackageDatabase {
  const folder = join(root, "var/lib/dpkg");
  const status = join(folder, "status");
  const log = join(root, "var/log/dpkg.log");
  const history = join(root, "var/log/apt/history.log");
  let seen: string | undefined;

  /** What the log has had since the last look. */
  async function* readSteps(memory: Memory, context: CollectorContext): AsyncGenerator<Collection> {
    for (let hasMore = true; hasMore;) {
      const piece = await readLog({
        path: log,
        cursor: memory.get(CURSOR),
        pieceBytesMax: PIECE_BYTES_MAX,
      });
      if (piece === undefined) return;
      const text = Buffer.from(piece.bytes).toString("latin1");
      const lastUs = Number(memory.get(LAST) ?? 0);
      const steps = parseDpkgLog(text).filter(({ timeUs }) => timeUs >= lastUs);
      const runs = steps.length === 0 ? [] : parseAptHistory(await readEnd(history));
      if (piece.cursor !== memory.get(CURSOR)) {
        yield collectionOf(steps, { memory, runs, cursor: piece.cursor });
      }
      if (piece.wasLost) {
        context.lost({ class: "log", count: null, reason: "dpkg's log was rotated away unread" });
      }
      hasMore = piece.hasMore;
    }
  }

  return {
    manager: "dpkg",
    isThere: async () => await stampOf(status) !== undefined,
    async *look(memory, context, signal) {
      const before = await stampOf(status);
      if (before === undefined) {
        if (seen !== "gone" && hasLooked(memory, PREFIX)) {
          seen = "gone";
          throw new PackageDatabaseError(`Cannot read "${status}": it is gone`);
        }
        return;
      }
      const isFirst = !hasLooked(memory, PREFIX);
      // The place in the log before the status: what comes between is told, not taken as the beginning.
      if (isFirst) yield* atEndOf(log);
      else yield* readSteps(memory, context);
      if (before.text === seen || (!isFirst && await isAtWork(folder))) return;
      seen = before.text;
      const { installed, undecided } = parseDpkgStatus(await readDatabase(status, signal));
      const after = await stampOf(status);
      if (!isFirst && (after?.text !== before.text || await isAtWork(folder))) {
        seen = undefined;
        return;
      }
      if (!isFirst) yield* readSteps(memory, context);
      const snapshot = new Map(installed);
      for (const key of undecided) {
        const known = memory.get(PREFIX + key);
        if (known !== undefined) snapshot.set(key, known);
      }
      const timeUs = Math.min(before.modifiedUs, context.clock.nowUs());
      const runs = isFirst ? [] : parseAptHistory(await readEnd(history));
      yield* compare({
        memory,
        prefix: PREFIX,
        snapshot,
        tell: ({ key, before: old, now }) =>
          packageEvents(
            { manager: "dpkg", key, before: old, now },
            () => circumstances({ key, timeUs, isNoticed: true }, runs),
          ),
      });
    },
  };
}

async function* atEndOf(log: string): AsyncGenerator<Collection> {
  const end = await readLog({ path: log, cursor: undefined });
  // What is written into a log that is not there yet is news.
  const cursor = end?.cursor ?? (await stateOfLog(log) === "absent" ? LOG_START : undefined);
  if (cursor !== undefined) yield { events: [], put: new Map([[CURSOR, cursor]]) };
}

/** Events of steps that changed what was known, one after the other. */
function collectionOf(
  steps: readonly DpkgStep[],
  { memory, runs, cursor }: {
    readonly memory: Memory;
    readonly runs: readonly AptRun[];
    readonly cursor: string;
  },
): Collection {
  const versions = new Map<string, string | undefined>();
  const events = steps.flatMap(({ key, version, timeUs }) => {
    const before = versions.has(key) ? versions.get(key) : memory.get(PREFIX + key);
    if (before === version) return [];
    versions.set(key, version);
    const how = circumstances({ key, timeUs, isNoticed: false }, runs);
    return packageEvents({ manager: "dpkg", key, before, now: version }, () => how);
  });
  const put = new Map<string, string>([[CURSOR, cursor]]);
  const last = steps.at(-1);
  if (last !== undefined) put.set(LAST, String(last.timeUs));
  const forget: string[] = [];
  for (const [key, version] of versions) {
    if (version === undefined) forget.push(PREFIX + key);
    else put.set(PREFIX + key, version);
  }
  return { events, put, forget };
}

function circumstances(
  { key, timeUs, isNoticed }: {
    readonly key: string;
    readonly timeUs: number;
    readonly isNoticed: boolean;
  },
  runs: readonly AptRun[],
): ChangeCircumstances {
  const run = aptRunOf(runs, { name: splitKey(key).name, timeUs });
  return { timeUs, isNoticed, user: run?.user, uid: run?.uid, command: run?.command };
}

/** Whether dpkg has written what is not in the status file yet. */
async function isAtWork(folder: string): Promise<boolean> {
  try {
    const names = await readdir(join(folder, "updates"));
    return names.some((name) => /^[0-9]+$/.test(name));
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}

/** The end of a log; empty when it cannot be read. */
async function readEnd(path: string): Promise<string> {
  try {
    await using handle = await open(path, "r");
    const { size } = await handle.stat();
    const buffer = new Uint8Array(Math.min(size, HISTORY_BYTES_MAX));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, size - buffer.length);
    return Buffer.from(buffer.subarray(0, bytesRead)).toString("utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error) return "";
    throw error;
  }
}
