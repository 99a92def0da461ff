/**
 * What a spool's segment file holds: records of one shape, each with its length and checksum, appended and never
 * changed. Numbers are little-endian.
 *
 * ```
 * file    = magic "PRBSPL1\n", record …
 * record  = u32 length of body, u32 CRC-32 of body, body
 * body    = u8 kind, u24 length of head, head (JSON, UTF-8), payload
 * kind    = 1 start (first record of a file), 2 batch, 3 void, 4 positions
 * ```
 *
 * Batches are counted by `ordinal`, which goes up by one over the life of a spool; the number a batch travels with is
 * its ordinal less the base of its epoch. A void says that a batch's payload is gone; it stands for that batch even
 * where the file with the batch itself is still there.
 *
 * Invariants: a record is believed only whole, with a checksum that holds. A file is believed up to the first that is
 * not; batches made from the same lines are believed only together.
 */
import { crc32 } from "node:zlib";
import type { Lane, RingPositions } from "./producer.ts";

export interface StartRecord {
  readonly kind: "start";
  /** Ordinal that the next batch in this file or a later one gets. */
  readonly next: number;
  /** Digest of the batch before that; "" before the first. */
  readonly previous: string;
  readonly positions: RingPositions;
}

/** What a spool keeps of a batch besides its payload. */
export interface BatchFacts {
  readonly ordinal: number;
  readonly digest: string;
  /** Digest of the batch before it; "" at the first. */
  readonly previous: string;
  readonly host: string;
  readonly count: number;
  readonly firstUs: number;
  readonly lastUs: number;
  /** Not there in files of versions that knew no lanes: critical. */
  readonly lane?: Lane;
}

export interface BatchRecord extends BatchFacts {
  readonly kind: "batch";
  readonly positions: RingPositions | undefined;
  /** The next record is a batch of the same lines, and the positions are with the last of them. */
  readonly isContinued?: true;
}

export interface VoidRecord extends BatchFacts {
  readonly kind: "void";
  readonly reason: string;
}

export interface PositionsRecord {
  readonly kind: "positions";
  readonly positions: RingPositions;
}

export type SpoolRecord = StartRecord | BatchRecord | VoidRecord | PositionsRecord;

/** A record and where its payload lies in the file. */
export interface PlacedRecord {
  readonly record: SpoolRecord;
  readonly payloadAt: number;
  readonly payloadBytes: number;
}

export interface ScannedFile {
  readonly records: readonly PlacedRecord[];
  /** Bytes up to the end of the last record that is whole. */
  readonly goodBytes: number;
}

export const FILE_MAGIC = new TextEncoder().encode("PRBSPL1\n");

const KINDS = ["start", "batch", "void", "positions"] as const;
const FRAME_BYTES = 8;
const BODY_PREFIX_BYTES = 4;
const HEAD_BYTES_MAX = (1 << 24) - 1;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The bytes of a record; its payload is the end of them. */
export function encodeRecord(record: SpoolRecord, payload: Uint8Array = NOTHING): Uint8Array {
  const { kind, ...rest } = record;
  const head = Buffer.from(JSON.stringify(rest));
  if (head.length > HEAD_BYTES_MAX) {
    throw new RangeError(`Cannot write a spool record: its head has ${head.length} bytes`);
  }
  const bodyBytes = BODY_PREFIX_BYTES + head.length + payload.length;
  const bytes = Buffer.allocUnsafe(FRAME_BYTES + bodyBytes);
  bytes.writeUInt8(KINDS.indexOf(kind) + 1, FRAME_BYTES);
  bytes.writeUIntLE(head.length, FRAME_BYTES + 1, 3);
  bytes.set(head, FRAME_BYTES + BODY_PREFIX_BYTES);
  bytes.set(payload, FRAME_BYTES + BODY_PREFIX_BYTES + head.length);
  bytes.writeUInt32LE(bodyBytes, 0);
  bytes.writeUInt32LE(crc32(bytes.subarray(FRAME_BYTES)), 4);
  return bytes;
}

/** Every whole record from the start of a file on. */
export function scanFile(bytes: Uint8Array): ScannedFile {
  const records: PlacedRecord[] = [];
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (!file.subarray(0, FILE_MAGIC.length).equals(FILE_MAGIC)) return { records, goodBytes: 0 };
  let at = FILE_MAGIC.length;
  for (;;) {
    const placed = recordAt(file, at);
    if (placed === undefined) return { records, goodBytes: at };
    records.push(placed);
    at = placed.payloadAt + placed.payloadBytes;
  }
}

/**
 * A file without a beginning of lines whose end is missing: had it stayed, these lines would be made again from the ring,
 * whose position was with the end. Only the newest file can end so.
 */
export function withoutTornBatches(scanned: ScannedFile): ScannedFile {
  const { records } = scanned;
  const isWhole = ({ record }: PlacedRecord): boolean =>
    record.kind !== "batch" || record.isContinued !== true;
  const end = records.findLastIndex(isWhole) + 1;
  const last = records[end - 1];
  if (end === records.length || last === undefined) return scanned;
  return { records: records.slice(0, end), goodBytes: last.payloadAt + last.payloadBytes };
}

/** The payload of a record that was read again as a whole; undefined when it is no longer what was written. */
export function payloadOf(bytes: Uint8Array, ordinal: number): Uint8Array | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const placed = recordAt(file, 0);
  if (placed?.record.kind !== "batch" || placed.record.ordinal !== ordinal) return undefined;
  return new Uint8Array(bytes.buffer, bytes.byteOffset + placed.payloadAt, placed.payloadBytes);
}

const NOTHING = new Uint8Array(0);

function recordAt(file: Buffer, at: number): PlacedRecord | undefined {
  if (at + FRAME_BYTES + BODY_PREFIX_BYTES > file.length) return undefined;
  const bodyBytes = file.readUInt32LE(at);
  const bodyAt = at + FRAME_BYTES;
  if (bodyBytes < BODY_PREFIX_BYTES || bodyAt + bodyBytes > file.length) return undefined;
  const body = file.subarray(bodyAt, bodyAt + bodyBytes);
  if (crc32(body) !== file.readUInt32LE(at + 4)) return undefined;
  const headBytes = body.readUIntLE(1, 3);
  if (BODY_PREFIX_BYTES + headBytes > bodyBytes) return undefined;
  const head = body.subarray(BODY_PREFIX_BYTES, BODY_PREFIX_BYTES + headBytes);
  const record = parseHead(body.readUInt8(0), head);
  if (record === undefined) return undefined;
  const payloadAt = bodyAt + BODY_PREFIX_BYTES + headBytes;
  return { record, payloadAt, payloadBytes: bodyBytes - BODY_PREFIX_BYTES - headBytes };
}

/** The checksum holds, so this is what some version of this program wrote; unknown kinds end the reading. */
function parseHead(code: number, head: Uint8Array): SpoolRecord | undefined {
  const kind = KINDS[code - 1];
  if (kind === undefined) return undefined;
  // as: a checksummed text of our own, whose shape is the writer's above
  const fields = JSON.parse(decoder.decode(head)) as Omit<SpoolRecord, "kind">;
  // as: kind and fields were written together
  return { kind, ...fields } as SpoolRecord;
}
