/**
 * From a collected round to data files: DuckDB reads the payloads in the folder, joins what the messages say of them,
 * and writes Parquet. Events do not pass through JavaScript here.
 *
 * The payloads are written first and counted afterwards; only when that fails are the unreadable ones searched for, and
 * the rest written again.
 *
 * Invariant: every accepted message of the round has exactly the rows its header counts, or none and a gap row that says
 * why; a bad payload never takes its neighbours with it.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeHeaders } from "../event/wire.ts";
import { type Connection, type Database, SqlError } from "../storage/duckdb.ts";
import { type LocalDataFile, writeDataFiles } from "../storage/parquet.ts";
import { ownRowsOf, placeReadable, placeUnreadable } from "../storage/placed-message.ts";
import {
  createMessageTable,
  gapFileName,
  messageRow,
  rowFaults,
  typedRead,
} from "../storage/typed-read.ts";
import { findUnreadable, MEMORY_REASON, type PayloadFile } from "../storage/unreadable.ts";
import type { Quarantined, Round, RoundMessage } from "./round.ts";

export interface RoundRows {
  readonly files: readonly LocalDataFile[];
  /** What was found to be unreadable only by reading it. */
  readonly quarantined: readonly Quarantined[];
  readonly rows: number;
  readonly gapRows: number;
}

export interface RoundRowsOptions {
  readonly round: Round;
  /** Where a read that needs much memory may spill. */
  readonly tempDirectory: string;
  readonly signal?: AbortSignal;
}

/** What makes data files of rounds: a database, and how it does. A simulation brings its own. */
export interface RowMaker {
  readonly database: Pick<Database, "connect">;
  readonly write: typeof writeRoundRows;
}

/** The round's rows take more memory than there is, although each of its payloads alone does not. */
export class RoundTooLargeError extends Error {
  override readonly name = "RoundTooLargeError";
}

const MESSAGES = "round_messages";

/** Writes the round's data files into its folder. Throws {@link RoundTooLargeError}, and what DuckDB throws. */
export async function writeRoundRows(
  connection: Connection,
  options: RoundRowsOptions,
): Promise<RoundRows> {
  const messages = inFileOrder(options.round.messages);
  const found = new Map<number, string>();
  const { rows: [setting] } = await connection.query("SELECT current_setting('threads') AS n");
  let isCareful = false;
  try {
    for (;;) {
      try {
        return await attempt(connection, { ...options, messages, found });
      } catch (error) {
        if (!(error instanceof SqlError || error instanceof MiscountError)) throw error;
        const more = await searchUnreadable(connection, { ...options, messages, found });
        for (const [sequence, reason] of more) found.set(sequence, reason);
        if (more.size > 0) continue;
        if (!(error instanceof SqlError && error.kind === "Out of Memory")) throw error;
        if (isCareful) giveUp(error, messages, found);
        // One thread holds half of what two do.
        if (!isCareful) await connection.run("SET threads = 1");
        isCareful = true;
      }
    }
  } finally {
    if (isCareful) await connection.run(`SET threads = ${Number(setting?.["n"])}`);
  }
}

/** A round of one payload cannot become smaller: it is given up, so that it does not stand in the way for ever. */
function giveUp(
  cause: SqlError,
  messages: readonly RoundMessage[],
  found: Map<number, string>,
): void {
  const payloads = messages.filter(({ payload }) => payload !== undefined);
  const [only, second] = payloads.filter(({ decided }) => !found.has(decided.sequence));
  if (only === undefined || second !== undefined) {
    throw new RoundTooLargeError("Cannot write a round's rows: out of memory", { cause });
  }
  found.set(only.decided.sequence, MEMORY_REASON);
}

/** The rows that were written are not those that their messages count. */
class MiscountError extends Error {
  override readonly name = "MiscountError";
}

interface AttemptOptions extends RoundRowsOptions {
  readonly messages: readonly RoundMessage[];
  /** Unreadable messages found so far, with the reason. */
  readonly found: ReadonlyMap<number, string>;
}

async function attempt(connection: Connection, options: AttemptOptions): Promise<RoundRows> {
  const { round, messages, found, signal } = options;
  const input = await placeMessages(connection, options);
  const files = await writeDataFiles(connection, {
    select: typedRead({ files: input.paths, messages: MESSAGES }),
    folder: round.folder,
    range: round.range,
    check: async (rows) => {
      const faults = rowFaults({ rows, expected: MESSAGES });
      const result = await connection.query(faults, signal === undefined ? {} : { signal });
      if (result.rows.length > 0) {
        throw new MiscountError(
          `Cannot write rows ${round.range.first} to ${round.range.last}: ` +
            `${result.rows.length} messages have others than they count`,
        );
      }
    },
    ...(signal === undefined ? {} : { signal }),
  });
  return {
    files,
    quarantined: messages.flatMap((each) => quarantinedOf(each, found)),
    rows: files.reduce((sum, { file }) => sum + file.rows, 0),
    gapRows: input.gapRows,
  };
}

function quarantinedOf(
  { decided, payload }: RoundMessage,
  found: ReadonlyMap<number, string>,
): Quarantined[] {
  const { sequence, agent, verdict, loggedAtUs, header } = decided;
  const reason = found.get(sequence);
  if (reason === undefined || payload === undefined || header === undefined) return [];
  const headers = Object.fromEntries(encodeHeaders(header));
  const note = { sequence, storedAtUs: loggedAtUs, agent, verdict, reason, headers };
  return [{ path: payload.path, note }];
}

/** Fills the table of messages and writes the files of gap rows; the paths to read, in order. */
async function placeMessages(
  connection: Connection,
  { round, messages, found }: AttemptOptions,
): Promise<{ readonly paths: readonly string[]; readonly gapRows: number }> {
  const paths: string[] = [];
  const rows = [];
  let gapRows = 0;
  for (const { decided, payload, unreadable } of messages) {
    const reason = unreadable ?? found.get(decided.sequence);
    const { message, gapText } = reason === undefined
      ? placeReadable(decided)
      : placeUnreadable(decided, reason);
    rows.push(messageRow(message));
    if (payload !== undefined && reason === undefined) paths.push(payload.path);
    if (gapText !== "") {
      const path = join(round.folder, gapFileName(decided.sequence));
      await writeFile(path, gapText);
      paths.push(path);
      gapRows += decided.gaps.length + (reason === undefined ? 0 : 1);
    }
  }
  await connection.run(createMessageTable(MESSAGES));
  await connection.append(MESSAGES, rows);
  return { paths, gapRows };
}

async function searchUnreadable(
  connection: Connection,
  options: AttemptOptions,
): Promise<ReadonlyMap<number, string>> {
  const { messages, found, tempDirectory, signal } = options;
  const files = messages.flatMap(({ decided, payload }): PayloadFile[] => {
    if (payload === undefined || found.has(decided.sequence)) return [];
    const { message } = placeReadable(decided);
    return [{ message, path: payload.path, lines: ownRowsOf(decided) }];
  });
  return await findUnreadable(connection, {
    files,
    messages: MESSAGES,
    tempDirectory,
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Each agent's messages together, in order: neighbours in a data file then resemble each other. */
function inFileOrder(messages: readonly RoundMessage[]): readonly RoundMessage[] {
  const key = ({ decided }: RoundMessage): string => decided.agent ?? "";
  return messages.toSorted((a, b) =>
    key(a) === key(b) ? a.decided.sequence - b.decided.sequence : key(a) < key(b) ? -1 : 1
  );
}
