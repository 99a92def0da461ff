/**
 * Reads on in a log from where it was left, over rotation (renamed, then made anew) and truncation (copied, then emptied).
 *
 * Invariants: a whole line is given once; half a line waits for its rest; a log in which something else stands before the
 * place where it was left is read from its beginning, also when it has become longer meanwhile; a file is read in pieces of a bounded size. What
 * a rotation took further away than to `<path>.1` between two looks is not found, and said.
 */
import { createHash } from "node:crypto";
import { type LogFile, openLogFile } from "./log-file.ts";

/** Where a log was left, and a digest of what stood before: text, so that a collector can remember it. */
export type LogCursor = string;
/** The beginning of what is there now. */
export const LOG_START: LogCursor = "start";

export interface LogPiece {
  /** Whole records, without what follows the last separator. */
  readonly bytes: Uint8Array;
  readonly cursor: LogCursor;
  /** Whether there is more to be read now. */
  readonly hasMore: boolean;
  /** Whether the file was found shorter, or another, than it had been: what it holds may have been read before. */
  readonly wasTruncated: boolean;
  /** Whether what followed the cursor could not be found. */
  readonly wasLost: boolean;
}

export interface ReadLogOptions {
  readonly path: string;
  /** Undefined: the end of what is there now. */
  readonly cursor: LogCursor | undefined;
  /** Size of the records; undefined: lines. */
  readonly recordBytes?: number;
  readonly pieceBytesMax?: number;
}

export const LOG_PIECE_BYTES_MAX = 1024 * 1024;
const NEWLINE = 10;

/** The next piece; undefined when there is no such log, or none that may be read. */
export async function readLog(options: ReadLogOptions): Promise<LogPiece | undefined> {
  const { path, cursor } = options;
  await using current = await openIfThere(path);
  if (current === undefined) return undefined;
  if (cursor === LOG_START) return await readFrom(current, { ...options, offset: 0 });
  const place = cursor === undefined ? undefined : parseCursor(cursor);
  if (place === undefined) return await atEnd(current, options);
  if (place.inode === current.inode) return await readOn(current, { ...options, place });
  await using rotated = await openIfThere(`${path}.1`);
  const none = { wasTruncated: false, hasMore: true };
  if (rotated?.inode !== place.inode) {
    const nothing = { bytes: new Uint8Array(), cursor: `${current.inode}:0` };
    return { ...nothing, ...none, wasLost: true };
  }
  const rest = await readOn(rotated, { ...options, place });
  // A last line without an end gets none any more.
  return rest.hasMore ? rest : { ...rest, hasMore: true, cursor: `${current.inode}:0` };
}

async function openIfThere(path: string): Promise<LogFile | undefined> {
  const file = await openLogFile(path);
  return file === "absent" || "reason" in file ? undefined : file;
}

async function readOn(
  log: LogFile,
  { place: { offset, digest }, ...options }: ReadLogOptions & { readonly place: Place },
): Promise<LogPiece> {
  const isSame = offset <= log.sizeBytes &&
    (digest === undefined || digest === await digestBefore(log, offset));
  const piece = await readFrom(log, { ...options, offset: isSame ? offset : 0 });
  return { ...piece, wasTruncated: !isSame };
}

async function readFrom(
  log: LogFile,
  { offset, recordBytes, pieceBytesMax = LOG_PIECE_BYTES_MAX }: ReadLogOptions & {
    readonly offset: number;
  },
): Promise<LogPiece> {
  const { sizeBytes } = log;
  const wanted = Math.min(pieceBytesMax, Math.max(0, sizeBytes - offset));
  const buffer = new Uint8Array(wanted);
  const bytesRead = await log.read(buffer, offset);
  const read = buffer.subarray(0, bytesRead);
  const whole = recordBytes === undefined
    ? read.lastIndexOf(NEWLINE) + 1
    : bytesRead - bytesRead % recordBytes;
  // A line that fills a whole piece is no line: it is passed over in pieces.
  const taken = whole === 0 && bytesRead === pieceBytesMax ? bytesRead : whole;
  return {
    bytes: read.subarray(0, whole),
    cursor: await cursorOf(log, offset + taken),
    hasMore: taken > 0 && offset + taken < sizeBytes,
    wasTruncated: false,
    wasLost: false,
  };
}

/** Nothing, and the place after the last whole record. */
async function atEnd(log: LogFile, options: ReadLogOptions): Promise<LogPiece> {
  const { recordBytes, pieceBytesMax = LOG_PIECE_BYTES_MAX } = options;
  const before = Math.max(0, log.sizeBytes - pieceBytesMax);
  const offset = recordBytes === undefined ? before : before - before % recordBytes;
  const { cursor } = await readFrom(log, { ...options, offset });
  const [bytes, none] = [new Uint8Array(), { wasTruncated: false, wasLost: false }];
  return { bytes, cursor, hasMore: false, ...none };
}

interface Place {
  readonly inode: string;
  readonly offset: number;
  /** Undefined in cursors of versions that had none, and at the beginning. */
  readonly digest: string | undefined;
}

/** So many bytes before the cursor tell whether the file is still the one that was read. */
const DIGESTED_BYTES_MAX = 1024;

async function cursorOf(log: LogFile, offset: number): Promise<LogCursor> {
  const place = `${log.inode}:${offset}`;
  return offset === 0 ? place : `${place}:${await digestBefore(log, offset)}`;
}

async function digestBefore(log: LogFile, offset: number): Promise<string> {
  const buffer = new Uint8Array(Math.min(offset, DIGESTED_BYTES_MAX));
  const bytesRead = await log.read(buffer, offset - buffer.length);
  return createHash("sha256").update(buffer.subarray(0, bytesRead)).digest("hex").slice(0, 16);
}

function parseCursor(cursor: LogCursor): Place | undefined {
  const [, inode, offset, digest] = /^([0-9]+:[0-9]+):([0-9]+)(?::([0-9a-f]{16}))?$/.exec(cursor) ??
    [];
  return inode === undefined ? undefined : { inode, offset: Number(offset), digest };
}
