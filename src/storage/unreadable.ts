/**
 * Finds the payloads that the typed read refuses. One bad file fails a whole read and its error may not name it, so a
 * set that fails is halved until the bad ones stand alone.
 *
 * Invariant: a payload is called unreadable only for what it holds; whatever else goes wrong (no space, no file,
 * interrupted) is thrown. Whether it is, and the reason's text, are the same on every machine.
 */
import { readFile } from "node:fs/promises";
import { COLUMNS } from "../event/columns.ts";
import { PAYLOAD_JSON_BYTES_MAX } from "../event/wire.ts";
import { decompressFrame } from "../runtime/zstd.ts";
import { type Connection, openDatabase, SqlError } from "./duckdb.ts";
import { identifierOf } from "./sql-text.ts";
import {
  createMessageTable,
  messageRow,
  type PlacedMessage,
  rowFaults,
  typedRead,
} from "./typed-read.ts";

/** A payload in its file, checked by `checkPayload` before. */
export interface PayloadFile {
  readonly message: PlacedMessage;
  readonly path: string;
  /** How many lines its header counts. */
  readonly lines: number;
}

export interface FindUnreadableOptions {
  readonly files: readonly PayloadFile[];
  /** Table of messages that holds at least those of the files. */
  readonly messages: string;
  /** Where spilled data may go. */
  readonly tempDirectory: string;
  readonly signal?: AbortSignal;
}

export const LINES_REASON = "its lines are not those that its header counts";
export const COLUMNS_REASON = "its lines do not fit the columns";
export const FRAME_REASON = "its payload does not decompress";
export const MEMORY_REASON = "its lines take more memory than a reader has";

/** What a payload may take when it is read alone, in bytes; only made to be too large, one takes more. */
const ALONE_MEMORY_BYTES = 512 * 1024 * 1024;

/** Sequences of the unreadable, each with the reason. Reads everything at least once more. */
export async function findUnreadable(
  connection: Connection,
  options: FindUnreadableOptions,
): Promise<ReadonlyMap<number, string>> {
  const found = new Map<number, string>();
  const visit = async (files: readonly PayloadFile[]): Promise<void> => {
    if (files.length === 0) return;
    try {
      for (const sequence of await findMiscounted(connection, { ...options, files })) {
        found.set(sequence, LINES_REASON);
      }
    } catch (error) {
      if (!(error instanceof SqlError)) throw error;
      const [file, second] = files;
      if (file !== undefined && second === undefined) {
        const reason = await reasonOf(error, file, options);
        if (reason !== undefined) found.set(file.message.sequence, reason);
        return;
      }
      const half = Math.ceil(files.length / 2);
      await visit(files.slice(0, half));
      await visit(files.slice(half));
    }
  };
  await visit(options.files);
  return found;
}

/** Reads every column of every line; `hash` keeps the reader from leaving out columns that nobody asks for. */
async function findMiscounted(
  connection: Connection,
  { files, messages, signal }: FindUnreadableOptions,
): Promise<number[]> {
  const read = typedRead({ files: files.map(({ path }) => path), messages });
  const all = COLUMNS.map(({ name }) => identifierOf(name)).join(", ");
  const counts = files.map(({ message, lines }) => `(${message.sequence}, ${lines})`).join(", ");
  const faults = rowFaults({
    rows: `(SELECT seq, idx FROM (${read}) WHERE hash(${all}) <> 0)`,
    expected: `(SELECT * FROM (VALUES ${counts}) AS wanted(seq, row_count))`,
  });
  const { rows } = await connection.query(faults, signal === undefined ? {} : { signal });
  return rows.map(({ seq }) => Number(seq));
}

/** Kinds of error that say what the lines are, not what happened to the reader. */
const CONTENT_KINDS: ReadonlySet<string> = new Set([
  "Conversion",
  "Invalid Input",
  "Out of Range",
]);

/** Why one payload alone failed; undefined when it does not. */
async function reasonOf(
  error: SqlError,
  file: PayloadFile,
  options: FindUnreadableOptions,
): Promise<string | undefined> {
  if (CONTENT_KINDS.has(error.kind)) return COLUMNS_REASON;
  if (error.kind === "Out of Memory") return await readAlone(file, options);
  try {
    await decompressFrame(await readFile(file.path), PAYLOAD_JSON_BYTES_MAX);
  } catch (fault) {
    if (fault instanceof RangeError) return FRAME_REASON;
    throw fault;
  }
  throw error;
}

/** Reads one payload with the memory that every reader grants it, however busy this one is. */
async function readAlone(
  file: PayloadFile,
  options: FindUnreadableOptions,
): Promise<string | undefined> {
  await using database = await openDatabase({
    memoryLimitBytes: ALONE_MEMORY_BYTES,
    threads: 1,
    tempDirectory: options.tempDirectory,
    tempLimitBytes: ALONE_MEMORY_BYTES,
  });
  await using connection = await database.connect();
  await connection.run(createMessageTable(options.messages));
  await connection.append(options.messages, [messageRow(file.message)]);
  try {
    const miscounted = await findMiscounted(connection, { ...options, files: [file] });
    return miscounted.length > 0 ? LINES_REASON : undefined;
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    if (error.kind === "Out of Memory") return MEMORY_REASON;
    return await reasonOf(error, file, options);
  }
}
