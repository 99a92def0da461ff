/**
 * Loads messages of one shard into a hot table: decides on each by the same acceptance as the roll-up and reads its
 * lines by the same typed read, so that rows do not change when they move to the archive.
 *
 * Invariants: a group of messages becomes visible whole or not at all, each with exactly the rows its acceptance says.
 * Payloads that somebody removed while they were to be read are no unreadable ones: the group is read again elsewhere.
 */
import { lstat, mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { makeFolders } from "../../runtime/folders.ts";
import type { Acceptance } from "../../event/acceptance.ts";
import { readArrival } from "../../event/arrival.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type Backoff, backoffMs } from "../../runtime/retry.ts";
import type { StreamMessage } from "../../runtime/stream-message.ts";
import { type Connection, SqlError, type SqlRow } from "../../storage/duckdb.ts";
import { checkPayload } from "../../storage/payload.ts";
import {
  type DecidedMessage,
  ownRowsOf,
  placeReadable,
  placeUnreadable,
} from "../../storage/placed-message.ts";
import {
  createMessageTable,
  faultsAmong,
  gapFileName,
  messageRow,
  payloadFileName,
  type PlacedMessage,
  rowFaults,
  typedRead,
} from "../../storage/typed-read.ts";
import { findUnreadable } from "../../storage/unreadable.ts";
import { type KeptFiles, openKeptFiles } from "../kept-files.ts";
import { HOT_TAIL_ROW } from "../planner/rows.ts";

export interface LoadOptions {
  /** Table that the rows are added to, made by {@link createHotTable}. */
  readonly into: string;
  readonly acceptance: Acceptance;
  /** Whether {@link LoadResult.lines} are wanted. */
  readonly hasLines: boolean;
  readonly signal: AbortSignal;
}

export interface LoadResult {
  readonly rows: number;
  /** Time of the earliest row, µs; infinite when there is none. */
  readonly firstUs: number;
  /** Rows as {@link HOT_TAIL_ROW} has them, in order; undefined unless wanted, and of large groups. */
  readonly lines: readonly string[] | undefined;
  /** JSON that was read, in bytes. */
  readonly jsonBytes: number;
  /** Digest of each whole message by its sequence. */
  readonly digests: ReadonlyMap<number, string>;
  readonly unreadable: number;
}

export interface HotLoader extends AsyncDisposable {
  load(messages: readonly StreamMessage[], options: LoadOptions): Promise<LoadResult>;
}

export interface HotLoaderOptions {
  readonly connection: Connection;
  readonly shard: string;
  /** Where payloads lie while they are read. */
  readonly payloadDirectory: string;
  /** Where a payload that is read alone may spill to. */
  readonly scratchDirectory: string;
  readonly clock: Clock;
}

const MESSAGES = "loading_messages";
const OUT_OF_MEMORY = "Out of Memory";
/**
 * Up to so much JSON, in bytes, making a plan costs more than following it: the statement is not optimized, and gives
 * back the places of its rows, which are then held twice for a moment.
 */
const SMALL_GROUP_BYTES = 2 * 1024 * 1024;
/** So often a group is tried again when the memory is taken. */
const MEMORY_ATTEMPTS_MAX = 60;
const MEMORY_BACKOFF: Backoff = { firstMs: 50, maximumMs: 2_000 };

export async function openHotLoader(options: HotLoaderOptions): Promise<HotLoader> {
  const { connection, shard, payloadDirectory, scratchDirectory, clock } = options;
  makeFolders(payloadDirectory, 0o700);
  let files = openLoadFiles(await mkdtemp(join(payloadDirectory, `hot-${shard}-`)));
  let isInDoubt = false;
  /** After a fault: systemd removes what a user has in memory when a service of that user ends (`RemoveIPC=`). */
  const renewed = async (): Promise<LoadFiles> => {
    await files[Symbol.asyncDispose]();
    files = openLoadFiles(await makeFolderAgain(options));
    isInDoubt = false;
    return files;
  };
  return {
    async load(messages, { into, acceptance, hasLines, signal }) {
      const { payloads, gapTexts } = isInDoubt ? await renewed() : files;
      isInDoubt = true;
      const decided = messages.map((message) => decide(message, { shard, acceptance }));
      const numbers = decided.map(() => payloads.take());
      try {
        const group = await checkAll(decided, { files: numbers, payloads });
        const place = { gapTexts, into, hasLines, tempDirectory: scratchDirectory, clock, signal };
        const read = await readGroup(connection, group, place);
        isInDoubt = false;
        return {
          ...read,
          jsonBytes: group.reduce((total, { jsonBytes }) => total + jsonBytes, 0),
          digests: new Map(decided.map(({ sequence, digest }) => [sequence, digest])),
        };
      } finally {
        for (const number of numbers) {
          await gapTexts.empty(number);
          await payloads.giveBack(number);
        }
      }
    },
    async [Symbol.asyncDispose]() {
      await connection[Symbol.asyncDispose]();
      await files[Symbol.asyncDispose]();
    },
  };
}

interface LoadFiles extends AsyncDisposable {
  readonly payloads: KeptFiles;
  readonly gapTexts: KeptFiles;
}

function openLoadFiles(folder: string): LoadFiles {
  const payloads = openKeptFiles(folder, payloadFileName);
  const gapTexts = openKeptFiles(folder, gapFileName);
  return {
    payloads,
    gapTexts,
    async [Symbol.asyncDispose]() {
      await payloads[Symbol.asyncDispose]();
      await gapTexts[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Where DuckDB may read: in the folder of payloads, made again if it went, or in that of scratch if it is another's. */
async function makeFolderAgain(
  { payloadDirectory, scratchDirectory, shard }: HotLoaderOptions,
): Promise<string> {
  await Promise.allSettled([mkdir(payloadDirectory, { mode: 0o700 })]);
  const [there] = await Promise.allSettled([lstat(payloadDirectory)]);
  const isOwn = there.status === "fulfilled" && there.value.isDirectory() &&
    there.value.uid === process.getuid?.();
  return await mkdtemp(join(isOwn ? payloadDirectory : scratchDirectory, `hot-${shard}-`));
}

interface Decided extends DecidedMessage {
  readonly digest: string;
  readonly payload: Uint8Array;
}

/** Statement that makes a table for rows of the typed read. */
export function createHotTable(name: string): string {
  return `CREATE TABLE ${name} AS ${typedRead({ files: [], messages: MESSAGES })}`;
}

/** A message with the file of its payload, or with the reason why there is nothing to read. */
interface Checked {
  readonly message: Decided;
  /** Number of its files. */
  readonly file: number;
  readonly path: string | undefined;
  readonly jsonBytes: number;
  reason: string | undefined;
}

function decide(
  message: StreamMessage,
  { shard, acceptance }: { readonly shard: string; readonly acceptance: Acceptance },
): Decided {
  const { sequence, storedAtUs: loggedAtUs, payload } = message;
  const { agent, header, arrival } = readArrival(message, shard);
  const { verdict, gaps } = acceptance.decide(arrival);
  const { incarnation } = acceptance.state();
  const { messageDigest: digest } = arrival;
  return { incarnation, sequence, loggedAtUs, agent, header, verdict, gaps, digest, payload };
}

interface Place {
  readonly gapTexts: KeptFiles;
  readonly into: string;
  readonly hasLines: boolean;
  readonly tempDirectory: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Writes the payloads that may be read to files. */
function checkAll(
  decided: readonly Decided[],
  { files, payloads }: { readonly files: readonly number[]; readonly payloads: KeptFiles },
): Promise<Checked[]> {
  return Promise.all(decided.map(async (message, place) => {
    const file = files[place] ?? 0;
    const nothing = { message, file, path: undefined, jsonBytes: 0 };
    if (message.verdict !== "accepted") return { ...nothing, reason: undefined };
    const checked = await checkPayload(message.payload);
    if (!checked.ok) return { ...nothing, reason: checked.reason };
    const path = await payloads.write(file, checked.frame);
    return { message, file, path, jsonBytes: checked.contentBytes, reason: undefined };
  }));
}

/** Reads a group's rows into the table, without those of messages that prove unreadable. */
async function readGroup(
  connection: Connection,
  group: readonly Checked[],
  place: Place,
): Promise<Added & { readonly unreadable: number }> {
  for (let failures = 1;; failures++) {
    try {
      const added = await readOnce(connection, group, place);
      if (added === undefined) break;
      return { ...added, unreadable: countUnreadable(group) };
    } catch (error) {
      if (!(error instanceof SqlError)) throw error;
      if (error.kind !== OUT_OF_MEMORY || failures >= MEMORY_ATTEMPTS_MAX) break;
      // Queries of people share the memory; theirs end.
      await place.clock.sleep(backoffMs(failures, { backoff: MEMORY_BACKOFF }), place.signal);
    }
  }
  const files = group.flatMap((each) => {
    const { message, path } = each;
    if (path === undefined) return [];
    return [{ message: placeOf(each).message, path, lines: ownRowsOf(message) }];
  });
  const found = await findUnreadable(connection, {
    files,
    messages: MESSAGES,
    tempDirectory: place.tempDirectory,
    signal: place.signal,
  });
  for (const each of group) each.reason ??= found.get(each.message.sequence);
  const added = await readOnce(connection, group, place);
  if (added === undefined) throw new Error("Cannot load messages: their rows do not add up");
  return { ...added, unreadable: countUnreadable(group) };
}

type Added = Pick<LoadResult, "rows" | "firstUs" | "lines">;

/** What was added; undefined when it is not what the messages must have, and then nothing is added. */
async function readOnce(
  connection: Connection,
  group: readonly Checked[],
  { gapTexts, into, hasLines, signal }: Place,
): Promise<Added | undefined> {
  const placed = group.map(placeOf);
  const files = group.flatMap(({ path, reason }) =>
    path === undefined || reason !== undefined ? [] : [path]
  );
  for (const { message, gapText } of placed) {
    if (gapText === "") continue;
    files.push(await gapTexts.write(message.file, Buffer.from(gapText)));
  }
  const messages = placed.map(({ message }) => message);
  const isSmall = group.reduce((sum, { jsonBytes }) => sum + jsonBytes, 0) <= SMALL_GROUP_BYTES;
  const add = isSmall ? addSmall : addLarge;
  const sql = `INSERT INTO ${into} ${typedRead({ files, messages: MESSAGES })}`;
  await connection.run(createMessageTable(MESSAGES), { signal });
  await connection.append(MESSAGES, messages.map(messageRow));
  // Each statement that is given alone waits for its turn among all that the process does.
  await connection.run(`PRAGMA ${isSmall ? "disable" : "enable"}_optimizer; BEGIN`);
  try {
    const added = await add(connection, sql, { into, hasLines, messages, signal });
    if (added === undefined) return await undo(connection);
    await connection.run("COMMIT");
    return { ...added, rows: messages.reduce((total, { rows }) => total + rows, 0) };
  } catch (error) {
    await undo(connection);
    throw error;
  }
}

interface AddOptions {
  readonly into: string;
  readonly hasLines: boolean;
  readonly messages: readonly PlacedMessage[];
  readonly signal: AbortSignal;
}

/** Runs the statement; what it added, if that is exactly the rows that the messages must have. */
async function addSmall(
  connection: Connection,
  sql: string,
  { hasLines, messages, signal }: AddOptions,
): Promise<Omit<Added, "rows"> | undefined> {
  const returned = ["seq", "idx", 'epoch_us("time") AS us'];
  if (hasLines) returned.push(`${HOT_TAIL_ROW} AS line`);
  const { rows } = await connection.query(`${sql} RETURNING ${returned.join(", ")}`, { signal });
  const places = rows.map(({ seq, idx }) => ({
    seq: Number(seq),
    idx: idx === null ? null : Number(idx),
  }));
  if (faultsAmong(places, messages).length > 0) return undefined;
  let firstUs = Infinity;
  for (const { us } of rows) firstUs = Math.min(firstUs, timeUsOf(us));
  return { firstUs, lines: hasLines ? linesOf(rows) : undefined };
}

/** In order of messages, which the rows of gaps do not come in. */
function linesOf(rows: readonly SqlRow[]): readonly string[] {
  return rows.toSorted((a, b) =>
    Number(a["seq"]) - Number(b["seq"]) || Number(a["idx"]) - Number(b["idx"])
  )
    .map(({ line }) => String(line));
}

/** A row without a time may be of any. */
function timeUsOf(value: unknown): number {
  return value === null || value === undefined ? -Infinity : Number(value);
}

async function addLarge(
  connection: Connection,
  sql: string,
  { into, messages, signal }: AddOptions,
): Promise<Omit<Added, "rows"> | undefined> {
  const first = Math.min(...messages.map(({ sequence }) => sequence));
  await connection.run(sql, { signal });
  const rows = `(SELECT seq, idx FROM ${into} WHERE seq >= ${first})`;
  const faults = await connection.query(rowFaults({ rows, expected: MESSAGES }), { signal });
  if (faults.rows.length > 0) return undefined;
  const { rows: [least] } = await connection.query(
    `SELECT epoch_us(min("time")) AS us FROM ${into} WHERE seq >= ${first}`,
    { signal },
  );
  return { firstUs: timeUsOf(least?.["us"]), lines: undefined };
}

/** A transaction that failed may have ended by itself. What is asked about the failure is worth a plan. */
async function undo(connection: Connection): Promise<undefined> {
  try {
    await connection.run("ROLLBACK");
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
  }
  await connection.run("PRAGMA enable_optimizer");
}

function placeOf({ message, file, reason }: Checked) {
  const { message: placed, ...rows } = reason === undefined
    ? placeReadable(message)
    : placeUnreadable(message, reason);
  return { ...rows, message: { ...placed, file } };
}

function countUnreadable(group: readonly Checked[]): number {
  return group.filter(({ reason }) => reason !== undefined).length;
}
