/**
 * Texts of a vector of DuckDB as their bytes, in few large pieces. One call into the client for each text costs more than
 * making the text; those that DuckDB laid one behind the other in memory are copied with one call.
 *
 * Invariant: what is copied in one call are whole texts whose addresses and lengths follow each other without a hole,
 * so that not a byte is read that is not of a text.
 */

/** A vector of texts that is not changed by others meanwhile. */
export interface TextVector {
  /**
   * A record of 16 bytes for each text: its length (32 bits), then up to 12 bytes the text itself, or its first 4 bytes
   * and its address (64 bits); the processor's order of bytes, which is little-endian wherever DuckDB's client runs.
   */
  readonly records: DataView;
  isPresent(place: number): boolean;
  /** A copy of the text of a record as it stands now. */
  read(place: number): Uint8Array;
}

/** Whole texts, one behind the other. */
export interface TextBytes {
  /** How many texts these are. */
  readonly rows: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Pieces are so large, in bytes, unless a single text is larger. */
export const PIECE_BYTES = 1024 * 1024;
const RECORD_BYTES = 16;
const ADDRESS_BYTES = 8;
/** A longer text stands elsewhere. */
const INLINE_BYTES_MAX = 12;
/** No text ends here, nor begins. */
const NOWHERE = -1;

/** Neighbours in memory, from the record at `place` on. */
interface Run {
  readonly place: number;
  bytes: number;
}

/** Absent texts are empty. */
export function* joinTexts(vector: TextVector, count: number): Generator<TextBytes> {
  const { records } = vector;
  let runs: Run[] = [];
  let [rows, total, endsAt] = [0, 0, NOWHERE];
  for (let place = 0; place < count; place++) {
    const bytes = vector.isPresent(place) ? records.getUint32(place * RECORD_BYTES, true) : 0;
    if (rows > 0 && total + bytes > PIECE_BYTES) {
      yield { rows, bytes: copyRuns(vector, runs, total) };
      [runs, rows, total, endsAt] = [[], 0, 0, NOWHERE];
    }
    rows += 1;
    total += bytes;
    if (bytes === 0) continue;
    const isInline = bytes <= INLINE_BYTES_MAX;
    const address = isInline ? NOWHERE : addressOf(records, place);
    const last = runs.at(-1);
    if (last !== undefined && !isInline && address === endsAt) last.bytes += bytes;
    else runs.push({ place, bytes });
    endsAt = isInline ? NOWHERE : address + bytes;
  }
  if (rows > 0) yield { rows, bytes: copyRuns(vector, runs, total) };
}

/** Exact up to 2^53; an address of a process has 47 bits, or 56 where it asks for more, which DuckDB does not. */
function addressOf(records: DataView, place: number): number {
  const at = place * RECORD_BYTES + ADDRESS_BYTES;
  return records.getUint32(at, true) + records.getUint32(at + 4, true) * 2 ** 32;
}

function copyRuns(
  vector: TextVector,
  runs: readonly Run[],
  total: number,
): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(total);
  let at = 0;
  for (const { place, bytes } of runs) {
    const copy = readRun(vector, { place, bytes });
    joined.set(copy, at);
    at += bytes;
    free(copy, bytes);
  }
  return joined;
}

/** The record says for a moment that its text reaches to the end of the run. */
function readRun({ records, read }: TextVector, { place, bytes }: Run): Uint8Array {
  const at = place * RECORD_BYTES;
  const own = records.getUint32(at, true);
  records.setUint32(at, bytes, true);
  try {
    return read(place);
  } finally {
    records.setUint32(at, own, true);
  }
}

/**
 * Gives the memory of a copy back at once. V8 marks all of its heap for each 64 MiB of buffers that wait to be collected,
 * which took as much processor time as half of DuckDB's work.
 */
function free({ buffer }: Uint8Array, bytes: number): void {
  const isOwn = buffer instanceof ArrayBuffer && buffer.byteLength === bytes;
  if (isOwn && bytes > INLINE_BYTES_MAX) buffer.transfer(0);
}
