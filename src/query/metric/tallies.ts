/**
 * The tallies of the table in use: kept on disk, loaded at the start, and made in the background, newest files first,
 * with more rest than work.
 *
 * Invariants: a tally is used only for a file of as many rows as it counts; no question waits for one to be made.
 */
import { join } from "node:path";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { DataFile } from "../../storage/table.ts";
import type { SqlRow } from "../../storage/duckdb.ts";
import { AUDIT_SERVICE } from "../audit.ts";
import type { Executor } from "../executor.ts";
import { planTally } from "../planner/metric.ts";
import { ADMIN_SCOPES, type Principal } from "../principal.ts";
import type { ViewLease } from "../read-view.ts";
import { type KindCount, type Tally, TALLY_LIMITS, TallyBook, type TallyLimits } from "./tally.ts";
import { appendEntry, type Entry, readEntries, rewriteEntries } from "./tally-file.ts";

export interface Tallies extends AsyncDisposable {
  readonly book: TallyBook;
  /** Undefined when there is none that fits the file. */
  tallyOf(file: DataFile): Tally | undefined;
  /** Tallies what is not yet and forgets what is gone; resolves when that was done. */
  update(): Promise<void>;
}

export interface TalliesOptions {
  /** A file in it keeps the tallies; of this process alone. */
  readonly directory: string;
  readonly executor: Executor;
  readonly acquire: () => ViewLease;
  /** Whether a file lies on this machine; another is tallied only while it is new. */
  readonly isAtHand: (file: DataFile) => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: TallyLimits;
  /** Between two looks at the table, in milliseconds; undefined for none by itself. */
  readonly intervalMs?: number | undefined;
}

/** Kinds of one file that are counted; one with more is read whenever it is asked for. */
export const FILE_KINDS_MAX = 50_000;
export const TALLY_INTERVAL_MS = 10_000;
/** Rest after the count of a file, by the time that it took. */
const REST_RATIO = 3;
/** Whoever asks for an older file has it on this machine afterwards. */
const NEW_DAYS_US = 2 * 86_400_000_000;
/** The file is written anew when it has so many entries of files that are gone, and more than of others. */
const GONE_ENTRIES_MAX = 1_000;
const KEEPER: Principal = { name: AUDIT_SERVICE, scopes: ADMIN_SCOPES };

export async function openTallies(options: TalliesOptions): Promise<Tallies> {
  const { directory, executor, acquire, isAtHand, clock, log, intervalMs } = options;
  const path = join(directory, "tallies");
  const book = new TallyBook(options.limits ?? TALLY_LIMITS);
  /** Files with too many kinds, and files for whose counts, so many, there is no room. */
  const manifold = new Set<string>();
  const unheld = new Map<string, number>();
  let entries = 0;
  const end = new AbortController();

  const take = (name: string, counts: readonly KindCount[] | null): void => {
    if (counts === null) manifold.add(name);
    else if (!book.put(name, counts)) unheld.set(name, counts.length);
  };
  const count = async (file: DataFile): Promise<void> => {
    const asker = { signal: end.signal, principal: KEEPER };
    const { rows } = await executor.rows(planTally(file, KEEPER, FILE_KINDS_MAX + 1), asker);
    const counts = rows.length > FILE_KINDS_MAX ? null : rows.map(countOf);
    take(nameOf(file), counts);
    entries += 1;
    await appendEntry(path, { name: nameOf(file), counts });
  };
  /** Lets as many files be counted again as there is room for now: no more are read in vain. */
  const retry = (room: number): void => {
    let left = room;
    for (const [name, counts] of unheld) {
      if (counts > left) continue;
      left -= counts;
      unheld.delete(name);
    }
  };
  const forget = async (files: readonly DataFile[]): Promise<void> => {
    const names = new Set(files.map(nameOf));
    const gone = [...book.names()].filter((name) => !names.has(name));
    for (const name of gone) book.remove(name);
    for (const each of [manifold, unheld]) {
      for (const name of each.keys()) if (!names.has(name)) each.delete(name);
    }
    if (gone.length > 0 && unheld.size > 0) retry(book.makeRoom());
    const held = book.size + manifold.size;
    if (entries - held < Math.max(GONE_ENTRIES_MAX, held)) return;
    await rewriteEntries(path, heldEntries(book, manifold));
    entries = held;
  };
  const pass = async (): Promise<void> => {
    const { view } = released(acquire());
    if (view.version < 0) return;
    await forget(view.files);
    const newestFirst = view.files.toSorted((a, b) => a.eventDate < b.eventDate ? 1 : -1);
    for (const file of newestFirst) {
      end.signal.throwIfAborted();
      const name = nameOf(file);
      if (book.get(name) !== undefined || manifold.has(name) || unheld.has(name)) continue;
      const isNew = Date.parse(file.eventDate) * 1_000 > clock.nowUs() - NEW_DAYS_US;
      if (!isNew && !isAtHand(file)) continue;
      const startedMs = performance.now();
      await count(file);
      if (intervalMs === undefined) continue;
      await clock.sleep((performance.now() - startedMs) * REST_RATIO, end.signal);
    }
  };
  const update = async (): Promise<void> => {
    try {
      await pass();
    } catch (error) {
      // A file may have left the table meanwhile; what is missing is tried again.
      if (!end.signal.aborted) log.debug("tallies are not complete", { error: String(error) });
    }
  };

  for await (const { name, counts } of readEntries(path)) {
    entries += 1;
    take(name, counts);
  }
  const working = (async () => {
    while (intervalMs !== undefined && !end.signal.aborted) {
      await Promise.allSettled([clock.sleep(intervalMs, end.signal)]);
      if (!end.signal.aborted) await update();
    }
  })();
  return {
    book,
    tallyOf(file) {
      const tally = book.get(nameOf(file));
      return tally?.rowsInAll === file.rows ? tally : undefined;
    },
    update,
    async [Symbol.asyncDispose]() {
      end.abort();
      await working;
    },
  };
}

/** Content names a file, so that a copy of it under another path is no other file. */
function nameOf({ sha256, path }: DataFile): string {
  return sha256 === "" ? path : sha256;
}

function countOf({ topic, topics, host, rows, first, last }: SqlRow): KindCount {
  const list: unknown = typeof topics === "string" ? JSON.parse(topics) : [];
  return {
    topic: typeof topic === "string" ? topic : null,
    topics: Array.isArray(list) ? list.filter((each) => typeof each === "string") : [],
    host: typeof host === "string" ? host : null,
    rows: Number(rows),
    firstUs: Number(first),
    lastUs: Number(last),
  };
}

function* heldEntries(book: TallyBook, manifold: Iterable<string>): Generator<Entry> {
  for (const name of book.names()) yield { name, counts: book.countsOf(name) ?? null };
  for (const name of manifold) yield { name, counts: null };
}

/** The list of files alone is used, and files stay for longer than a count of them takes. */
function released(lease: ViewLease): ViewLease {
  lease[Symbol.dispose]();
  return lease;
}
