/**
 * Joins Parquet files of one schema into one, row group by row group, without decoding a value: the bytes of the pages
 * stay what they are, only the footer is made anew.
 *
 * Invariant: the file holds the rows of the parts in their order, each row group as it was; parts of different schemas
 * are refused. Source: Apache Parquet format, parquet.thrift (FileMetaData, RowGroup, ColumnChunk, ColumnMetaData).
 */
import { type FileHandle, open } from "node:fs/promises";
import {
  fieldOf,
  readThrift,
  THRIFT,
  type ThriftField,
  type ThriftStruct,
  type ThriftValue,
  writeThrift,
} from "./thrift-compact.ts";

const MAGIC = new TextEncoder().encode("PAR1");
/** Length of the footer, and the magic after it. */
const TAIL_BYTES = 8;
/** Largest footer that is read, in bytes. */
const FOOTER_BYTES_MAX = 64 * 1024 * 1024;
const COPY_BYTES = 4 * 1024 * 1024;

/** Ids of fields in `parquet.thrift`. */
const FILE = { schema: 2, rows: 3, rowGroups: 4 } as const;
const ROW_GROUP = { columns: 1, fileOffset: 5, ordinal: 7 } as const;
const CHUNK = { fileOffset: 2, metadata: 3, offsetIndexOffset: 4, columnIndexOffset: 6 } as const;
/** Places in the file that the metadata of a column names. */
const COLUMN_OFFSETS: readonly number[] = [9, 10, 11, 14];

/** Parts that cannot be joined as they are, since their columns are not the same. */
export class OtherColumnsError extends Error {
  override readonly name = "OtherColumnsError";
}

/**
 * Writes `path` from the parts, of which there is at least one. Throws {@link OtherColumnsError}, and TypeError when a
 * part is no Parquet file.
 */
export async function joinParquet(
  parts: readonly string[],
  path: string,
  signal?: AbortSignal,
): Promise<void> {
  await using target = await open(path, "wx");
  await target.appendFile(MAGIC);
  let offset = BigInt(MAGIC.length);
  let whole: ThriftStruct | undefined;
  let schema: Uint8Array | undefined;
  let rows = 0n;
  const groups: ThriftValue[] = [];
  for (const part of parts) {
    await using source = await open(part, "r");
    const { footer, dataEnd } = await readFooter(source, part);
    const text = writeThrift({ fields: [required(footer, FILE.schema)] });
    if (schema !== undefined && Buffer.compare(schema, text) !== 0) {
      throw new OtherColumnsError(`Cannot join "${part}": its columns are others`);
    }
    schema = text;
    whole ??= footer;
    const shift = offset - BigInt(MAGIC.length);
    for (const group of structsOf(required(footer, FILE.rowGroups))) {
      moveGroup(group, shift);
      setOrdinal(group, groups.length);
      groups.push(group);
    }
    rows += numberOf(required(footer, FILE.rows));
    await copyBytes(source, target, { from: MAGIC.length, to: dataEnd, signal });
    offset += BigInt(dataEnd - MAGIC.length);
  }
  if (whole === undefined) throw new RangeError("Cannot join Parquet files: there are none");
  required(whole, FILE.rows).value = rows;
  required(whole, FILE.rowGroups).value = { elementType: THRIFT.struct, items: groups };
  const text = writeThrift(whole);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  await target.appendFile(Buffer.concat([text, length, MAGIC]));
}

async function readFooter(
  file: FileHandle,
  path: string,
): Promise<{ readonly footer: ThriftStruct; readonly dataEnd: number }> {
  const { size } = await file.stat();
  const tail = Buffer.alloc(TAIL_BYTES);
  await file.read(tail, 0, TAIL_BYTES, Math.max(0, size - TAIL_BYTES));
  const length = tail.readUInt32LE(0);
  const dataEnd = size - TAIL_BYTES - length;
  const isParquet = MAGIC.every((byte, at) => tail[4 + at] === byte);
  if (!isParquet || length > FOOTER_BYTES_MAX || dataEnd < MAGIC.length) {
    throw new TypeError(`Cannot join "${path}": it is no Parquet file`);
  }
  const bytes = Buffer.alloc(length);
  await file.read(bytes, 0, length, dataEnd);
  return { footer: readThrift(bytes), dataEnd };
}

/** Moves every place that a row group names. */
function moveGroup(group: ThriftStruct, shift: bigint): void {
  moveField(group, ROW_GROUP.fileOffset, shift);
  for (const chunk of structsOf(required(group, ROW_GROUP.columns))) {
    // Offset 0 is what writers give that do not use it.
    moveField(chunk, CHUNK.fileOffset, shift);
    moveField(chunk, CHUNK.offsetIndexOffset, shift);
    moveField(chunk, CHUNK.columnIndexOffset, shift);
    const { value } = required(chunk, CHUNK.metadata);
    if (!isStruct(value)) throw new SyntaxError("a column has no metadata");
    for (const id of COLUMN_OFFSETS) moveField(value, id, shift);
  }
}

function moveField(struct: ThriftStruct, id: number, shift: bigint): void {
  const field = fieldOf(struct, id);
  if (field === undefined) return;
  const place = numberOf(field);
  if (place !== 0n) field.value = place + shift;
}

function setOrdinal(group: ThriftStruct, place: number): void {
  const field = fieldOf(group, ROW_GROUP.ordinal);
  if (field === undefined) return;
  // It has 16 bits: beyond, it is left out, which readers allow.
  if (place < 32_768) field.value = BigInt(place);
  else group.fields.splice(group.fields.indexOf(field), 1);
}

async function copyBytes(
  source: FileHandle,
  target: FileHandle,
  { from, to, signal }: {
    readonly from: number;
    readonly to: number;
    readonly signal: AbortSignal | undefined;
  },
): Promise<void> {
  const buffer = Buffer.alloc(Math.min(COPY_BYTES, to - from));
  for (let at = from; at < to;) {
    signal?.throwIfAborted();
    const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, to - at), at);
    if (bytesRead === 0) throw new Error("Cannot join a Parquet file: it became shorter");
    await target.appendFile(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

function required(struct: ThriftStruct, id: number): ThriftField {
  const field = fieldOf(struct, id);
  if (field === undefined) throw new SyntaxError(`the footer has no field ${id}`);
  return field;
}

function structsOf({ value }: ThriftField): ThriftStruct[] {
  if (typeof value === "object" && "items" in value && value.items.every(isStruct)) {
    return value.items;
  }
  throw new SyntaxError("a list of structures is none");
}

function numberOf({ value }: ThriftField): bigint {
  if (typeof value === "bigint") return value;
  throw new SyntaxError("a number is none");
}

function isStruct(value: ThriftValue): value is ThriftStruct {
  return typeof value === "object" && "fields" in value;
}
