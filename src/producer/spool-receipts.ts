/**
 * What the broker answered: for each batch its place in the stream, and how far batches are released. Written without
 * fsync into the file `receipts`: what is lost of it, the watermark decides anew.
 *
 * ```
 * file   = entry …
 * entry  = u32 CRC-32 of the rest, u32 kind (1 place, 2 released, 3 none above), u64 ordinal, u64 sequence,
 *          8 bytes incarnation
 * ```
 */
import { open, readFile, rename } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { isCode } from "./spool-identity.ts";

/** Where the broker stored a message. */
export interface StreamPlace {
  readonly incarnation: string;
  readonly sequence: number;
}

export interface Receipts extends AsyncDisposable {
  /** Places known when the file was opened, by ordinal. */
  readonly places: ReadonlyMap<number, StreamPlace>;
  /** Highest ordinal known to be released when the file was opened. */
  readonly released: number;
  recordPlace(ordinal: number, place: StreamPlace): void;
  recordReleased(ordinal: number): void;
  /** Batches above an ordinal are of another epoch now, and stored nowhere. */
  forgetPlaces(above: number): void;
}

const ENTRY_BYTES = 32;
const KIND_PLACE = 1;
const KIND_RELEASED = 2;
const KIND_FORGOTTEN = 3;
/** The file is written anew, without what is released, when it is longer than this and twice what is of use. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
const NO_PLACE: StreamPlace = { incarnation: "", sequence: 0 };

interface Entry {
  readonly kind: number;
  readonly ordinal: number;
  readonly place: StreamPlace;
}

export async function openReceipts(directory: string): Promise<Receipts> {
  const path = join(directory, "receipts");
  const known = await readEntries(path);
  const places = new Map<number, StreamPlace>();
  let released = 0;
  for (const { kind, ordinal, place } of known) {
    if (kind === KIND_PLACE) places.set(ordinal, place);
    if (kind === KIND_RELEASED) released = Math.max(released, ordinal);
    if (kind === KIND_FORGOTTEN) removeAbove(places, ordinal);
  }
  const opened = { places: new Map(places), released };
  let file = await open(path, "a", 0o600);
  let sizeBytes = known.length * ENTRY_BYTES;
  await file.truncate(sizeBytes);
  const append = async (entry: Entry): Promise<void> => {
    const bytes = encodeEntry(entry);
    await file.write(bytes);
    sizeBytes += bytes.length;
    if (sizeBytes <= Math.max(FILE_BYTES_MAX, 2 * (places.size + 1) * ENTRY_BYTES)) return;
    const fresh = await rewrite(path, { places, released });
    await file.close();
    file = fresh;
    sizeBytes = (places.size + 1) * ENTRY_BYTES;
  };
  let work: Promise<unknown> = Promise.resolve();
  // Best effort by design: a receipt that could not be written is one that was lost.
  const write = (entry: Entry): void => {
    work = work.then(() => Promise.allSettled([append(entry)]));
  };
  return {
    ...opened,
    recordPlace(ordinal, place) {
      places.set(ordinal, place);
      write({ kind: KIND_PLACE, ordinal, place });
    },
    recordReleased(ordinal) {
      released = Math.max(released, ordinal);
      // The newest released one stays: the broker's last sequence of our subject may be its.
      for (const old of places.keys()) {
        if (old >= released) break;
        places.delete(old);
      }
      write({ kind: KIND_RELEASED, ordinal: released, place: NO_PLACE });
    },
    forgetPlaces(above) {
      if (removeAbove(places, above) === 0) return;
      write({ kind: KIND_FORGOTTEN, ordinal: above, place: NO_PLACE });
    },
    async [Symbol.asyncDispose]() {
      await work;
      await Promise.allSettled([file.close()]);
    },
  };
}

/** How many were there. */
function removeAbove(places: Map<number, StreamPlace>, above: number): number {
  const gone = [...places.keys()].filter((ordinal) => ordinal > above);
  for (const ordinal of gone) places.delete(ordinal);
  return gone.length;
}

/** The file with only what is still of use; opened to append. */
async function rewrite(
  path: string,
  known: { readonly places: ReadonlyMap<number, StreamPlace>; readonly released: number },
): Promise<FileHandle> {
  const draft = `${path}.new`;
  const file = await open(draft, "w", 0o600);
  const entries = [
    encodeEntry({ kind: KIND_RELEASED, ordinal: known.released, place: NO_PLACE }),
    ...[...known.places].map(([ordinal, place]) =>
      encodeEntry({ kind: KIND_PLACE, ordinal, place })
    ),
  ];
  try {
    await file.write(Buffer.concat(entries));
    await rename(draft, path);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

async function readEntries(path: string): Promise<readonly Entry[]> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (isCode(error, "ENOENT")) return [];
    throw error;
  }
  const entries: Entry[] = [];
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    const entry = decodeEntry(bytes.subarray(at, at + ENTRY_BYTES));
    if (entry === undefined) break;
    entries.push(entry);
  }
  return entries;
}

function encodeEntry({ kind, ordinal, place }: Entry): Uint8Array {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  bytes.writeUInt32LE(kind, 4);
  bytes.writeBigUInt64LE(BigInt(ordinal), 8);
  bytes.writeBigUInt64LE(BigInt(place.sequence), 16);
  bytes.write(place.incarnation, 24, 8, "latin1");
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

function decodeEntry(bytes: Buffer): Entry | undefined {
  if (crc32(bytes.subarray(4)) !== bytes.readUInt32LE(0)) return undefined;
  const ordinal = Number(bytes.readBigUInt64LE(8));
  const sequence = Number(bytes.readBigUInt64LE(16));
  const incarnation = bytes.toString("latin1", 24, 32).replaceAll("\0", "");
  return { kind: bytes.readUInt32LE(4), ordinal, place: { incarnation, sequence } };
}
