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

/** Neighbours in memory, from the record at `place` on. */
interface Run {
  readonly place: number;
  bytes: number;
}

/** Absent texts are empty. */
export function* joinTexts(vector: TextVector, count: number): Generator<TextBytes> {
  const { records } = vector;
  let runs: Run[] = [];
  let [rows, total, endsAt] = [0, 0, -1n];
  for (let place = 0; place < count; place++) {
    const bytes = vector.isPresent(place) ? records.getUint32(place * RECORD_BYTES, true) : 0;
    if (rows > 0 && total + bytes > PIECE_BYTES) {
      yield { rows, bytes: copyRuns(vector, runs, total) };
      [runs, rows, total, endsAt] = [[], 0, 0, -1n];
    }
    rows += 1;
    total += bytes;
    if (bytes === 0) continue;
    const isInline = bytes <= INLINE_BYTES_MAX;
    const address = isInline
      ? -1n
      : records.getBigUint64(place * RECORD_BYTES + ADDRESS_BYTES, true);
    const last = runs.at(-1);
    if (last !== undefined && !isInline && address === endsAt) last.bytes += bytes;
    else runs.push({ place, bytes });
    endsAt = isInline ? -1n : address + BigInt(bytes);
  }
  if (rows > 0) yield { rows, bytes: copyRuns(vector, runs, total) };
}

function copyRuns(
  vector: TextVector,
  runs: readonly Run[],
  total: number,
): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(total);
  let at = 0;
  for (const { place, bytes } of runs) {
    joined.set(readRun(vector, { place, bytes }), at);
    at += bytes;
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
