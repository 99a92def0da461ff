/**
 * Loads messages of one shard into a hot table: decides on each by the same acceptance as the roll-up and reads its
 * lines by the same typed read, so that rows do not change when they move to the archive.
 *
 * Invariant: a group of messages becomes visible whole or not at all, each with exactly the rows its acceptance says.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeFolders } from "../../runtime/folders.ts";
import type { Acceptance } from "../../event/acceptance.ts";
import { readArrival } from "../../event/arrival.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type Backoff, backoffMs } from "../../runtime/retry.ts";
import type { StreamMessage } from "../../runtime/stream-message.ts";
import { type Connection, SqlError } from "../../storage/duckdb.ts";
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

export interface LoadOptions {
  /** Table that the rows are added to, made by {@link createHotTable}. */
  readonly into: string;
  readonly acceptance: Acceptance;
  readonly signal: AbortSignal;
}

export interface LoadResult {
  readonly rows: number;
  /** Time of the earliest row, µs; infinite when there is none. */
  readonly firstUs: number;
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
  const folder = await mkdtemp(join(payloadDirectory, `hot-${shard}-`));
  const payloads = openKeptFiles(folder, payloadFileName);
  const gapTexts = openKeptFiles(folder, gapFileName);
  return {
    async load(messages, { into, acceptance, signal }) {
      const decided = messages.map((message) => decide(message, { shard, acceptance }));
      const files = decided.map(() => payloads.take());
      try {
        const group = await checkAll(decided, { files, payloads });
        const place = { gapTexts, into, tempDirectory: scratchDirectory, clock, signal };
        const read = await readGroup(connection, group, place);
        return {
          ...read,
          jsonBytes: group.reduce((total, { jsonBytes }) => total + jsonBytes, 0),
          digests: new Map(decided.map(({ sequence, digest }) => [sequence, digest])),
        };
      } finally {
        for (const file of files) {
          await gapTexts.empty(file);
          await payloads.giveBack(file);
        }
      }
    },
    async [Symbol.asyncDispose]() {
      await connection[Symbol.asyncDispose]();
      await payloads[Symbol.asyncDispose]();
      await gapTexts[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
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

type Added = Pick<LoadResult, "rows" | "firstUs">;

/** What was added; undefined when it is not what the messages must have, and then nothing is added. */
async function readOnce(
  connection: Connection,
  group: readonly Checked[],
  { gapTexts, into, signal }: Place,
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
  await connection.run(`PRAGMA ${isSmall ? "disable" : "enable"}_optimizer`);
  await connection.run("BEGIN");
  try {
    const firstUs = await add(connection, sql, { into, messages, signal });
    await connection.run(firstUs === undefined ? "ROLLBACK" : "COMMIT");
    if (firstUs === undefined) return undefined;
    return { firstUs, rows: messages.reduce((total, { rows }) => total + rows, 0) };
  } catch (error) {
    await rollBack(connection);
    throw error;
  } finally {
    await connection.run("PRAGMA enable_optimizer");
  }
}

interface AddOptions {
  readonly into: string;
  readonly messages: readonly PlacedMessage[];
  readonly signal: AbortSignal;
}

/** Runs the statement; time of the earliest row, if it added exactly the rows that the messages must have. */
async function addSmall(
  connection: Connection,
  sql: string,
  { messages, signal }: AddOptions,
): Promise<number | undefined> {
  const { rows } = await connection.query(
    `${sql} RETURNING seq, idx, epoch_us("time") AS us`,
    { signal },
  );
  const places = rows.map(({ seq, idx }) => ({
    seq: Number(seq),
    idx: idx === null ? null : Number(idx),
  }));
  if (faultsAmong(places, messages).length > 0) return undefined;
  let firstUs = Infinity;
  for (const { us } of rows) firstUs = Math.min(firstUs, timeUsOf(us));
  return firstUs;
}

/** A row without a time may be of any. */
function timeUsOf(value: unknown): number {
  return value === null || value === undefined ? -Infinity : Number(value);
}

async function addLarge(
  connection: Connection,
  sql: string,
  { into, messages, signal }: AddOptions,
): Promise<number | undefined> {
  const first = Math.min(...messages.map(({ sequence }) => sequence));
  await connection.run(sql, { signal });
  const rows = `(SELECT seq, idx FROM ${into} WHERE seq >= ${first})`;
  const faults = await connection.query(rowFaults({ rows, expected: MESSAGES }), { signal });
  if (faults.rows.length > 0) return undefined;
  const { rows: [least] } = await connection.query(
    `SELECT epoch_us(min("time")) AS us FROM ${into} WHERE seq >= ${first}`,
    { signal },
  );
  return timeUsOf(least?.["us"]);
}

/** A transaction that failed may have ended by itself. */
async function rollBack(connection: Connection): Promise<void> {
  try {
    await connection.run("ROLLBACK");
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
  }
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
