/**
 * The files of a spool: appends records to the newest, all of a group or none, and removes whole files. Small groups are
 * written over zeros that are on disk already: a sync of these waits for no change of the file system's own records,
 * which others' writes would have to be on disk for.
 *
 * Invariants: what {@link Segments.write} has resolved for was fsynced. A group that could not be written whole leaves
 * nothing behind: the file is cut back to where it was good. After a failed fsync a file is not written to again, since
 * what the kernel then holds of it is unknown.
 */
import type { FileHandle } from "node:fs/promises";
import { open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeFolders } from "../runtime/folders.ts";
import {
  encodeRecord,
  FILE_MAGIC,
  type PlacedRecord,
  scanFile,
  type SpoolRecord,
  type StartRecord,
  withoutTornBatches,
} from "./spool-format.ts";
import { isCode, syncFolder } from "./spool-identity.ts";

/** Where a record lies. */
export interface RecordPlace {
  readonly segment: number;
  readonly at: number;
  readonly sizeBytes: number;
}

export interface LoadedSegment {
  readonly segment: number;
  readonly records: readonly PlacedRecord[];
  /** Bytes after the last whole record: cut off the newest file, damage in any other. */
  readonly badBytes: number;
  /** When the file was made, or last changed where that is older, as after it was copied; µs. */
  readonly bornUs: number;
}

export interface RecordToWrite {
  readonly record: SpoolRecord;
  readonly payload?: Uint8Array;
}

export interface Segments extends AsyncDisposable {
  /** Bytes of all files, without the zeros that the newest is to be written over. */
  readonly sizeBytes: number;
  /** Number of the file that is written to; 0 while there is none. */
  readonly newest: number;
  /** Numbers of all files, oldest first. */
  readonly numbers: readonly number[];
  sizeOf(segment: number): number;
  /** Appends and fsyncs. `start` opens a new file where one is due. Rejects with nothing written. */
  write(records: readonly RecordToWrite[], start: StartRecord): Promise<readonly RecordPlace[]>;
  /** The next write goes to a new file. */
  rotate(): void;
  /** The bytes of one record. */
  read(place: RecordPlace): Promise<Uint8Array>;
  /** Removes a file; never the newest. */
  remove(segment: number): Promise<void>;
}

export interface OpenSegmentsOptions {
  readonly directory: string;
  /** A file that is longer is not appended to, in bytes. */
  readonly segmentBytes: number;
  /** Zeros are put only where all files together stay within so many bytes. */
  readonly bytesMax: number;
  /** Given every file that is there, oldest first. */
  readonly onLoad: (loaded: LoadedSegment) => void;
}

/** At most so many zeros are put behind a group of at most so many bytes, where no more of them are. */
const RESERVE_BYTES_MAX = 512 * 1024;
const RESERVING_BYTES_MAX = 64 * 1024;
/** And no more than this part of a full file: the reserve of a small spool is small. */
const RESERVES_OF_FILE = 32;

const NAME = /^(\d{12})\.spool$/;

export async function openSegments(options: OpenSegmentsOptions): Promise<Segments> {
  const { directory, segmentBytes, bytesMax, onLoad } = options;
  makeFolders(directory, 0o700);
  const sizes = new Map<number, number>();
  const numbers = (await readdir(directory))
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
  for (const segment of numbers) {
    const isNewest = segment === numbers.at(-1);
    sizes.set(segment, await load({ directory, segment, isNewest, onLoad }));
  }
  const newest = numbers.at(-1) ?? 0;
  const isUsable = (sizes.get(newest) ?? 0) > 0;
  const file = isUsable ? await open(pathOf(directory, newest), "r+") : undefined;
  return new SegmentFiles({ directory, segmentBytes, bytesMax, sizes, newest, file });
}

interface LoadOptions extends Pick<OpenSegmentsOptions, "directory" | "onLoad"> {
  readonly segment: number;
  readonly isNewest: boolean;
}

/**
 * Size of the file once a torn tail is cut off it. The newest may end in records of a killed process that were written
 * and not fsynced: they are before they count.
 */
async function load({ directory, segment, isNewest, onLoad }: LoadOptions): Promise<number> {
  const path = pathOf(directory, segment);
  const bytes = await readFile(path);
  const scanned = scanFile(bytes);
  const { records, goodBytes } = isNewest ? withoutTornBatches(scanned) : scanned;
  const { birthtimeMs, mtimeMs } = await stat(path);
  const bornUs = Math.floor(Math.min(birthtimeMs, mtimeMs) * 1_000);
  const rest = bytes.subarray(goodBytes);
  const isReserve = isNewest && rest.equals(Buffer.alloc(rest.length));
  onLoad({ segment, records, badBytes: isReserve ? 0 : rest.length, bornUs });
  if (!isNewest) return bytes.length;
  const file = await open(path, "r+");
  try {
    if (goodBytes < bytes.length) await file.truncate(goodBytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncFolder(directory);
  return goodBytes;
}

function pathOf(directory: string, segment: number): string {
  return join(directory, `${String(segment).padStart(12, "0")}.spool`);
}

interface SegmentFilesOptions extends Omit<OpenSegmentsOptions, "onLoad"> {
  readonly sizes: Map<number, number>;
  readonly newest: number;
  readonly file: FileHandle | undefined;
}

class SegmentFiles implements Segments {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #bytesMax: number;
  readonly #sizes: Map<number, number>;
  #newest: number;
  /** Up to here the newest file is on disk; behind its records there are zeros. */
  #reservedTo: number;
  /** Nothing is reserved in a file that could not be written to: there may be no room for it. */
  #mayReserve = true;
  #file: FileHandle | undefined;
  #isRotationDue = false;
  /** The file read last, besides the newest. */
  #reading: { readonly segment: number; readonly file: FileHandle } | undefined;
  /** Settles when those before have done with the files they read. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: SegmentFilesOptions) {
    this.#directory = options.directory;
    this.#segmentBytes = options.segmentBytes;
    this.#bytesMax = options.bytesMax;
    this.#sizes = options.sizes;
    this.#newest = options.newest;
    this.#reservedTo = this.sizeOf(options.newest);
    this.#file = options.file;
  }

  get sizeBytes(): number {
    let sum = 0;
    for (const size of this.#sizes.values()) sum += size;
    return sum;
  }

  get newest(): number {
    return this.#newest;
  }

  get numbers(): readonly number[] {
    return [...this.#sizes.keys()];
  }

  sizeOf(segment: number): number {
    return this.#sizes.get(segment) ?? 0;
  }

  rotate(): void {
    this.#isRotationDue = true;
  }

  async write(
    records: readonly RecordToWrite[],
    start: StartRecord,
  ): Promise<readonly RecordPlace[]> {
    const isFull = this.sizeOf(this.#newest) >= this.#segmentBytes;
    if (this.#file === undefined || isFull || this.#isRotationDue) await this.#startFile(start);
    const file = this.#file;
    const goodBytes = this.sizeOf(this.#newest);
    if (file === undefined) throw new Error("Cannot write to the spool: it is closed");
    const places: RecordPlace[] = [];
    const encoded = records.map(({ record, payload }) => encodeRecord(record, payload));
    let end = goodBytes;
    for (const bytes of encoded) {
      places.push({ segment: this.#newest, at: end, sizeBytes: bytes.length });
      end += bytes.length;
    }
    const reserve = this.#reserveOf(goodBytes, end);
    await this.#writeWhole({ file, at: goodBytes, chunks: [...encoded, ...reserve] });
    this.#sizes.set(this.#newest, end);
    this.#reservedTo = Math.max(this.#reservedTo, end + (reserve[0]?.length ?? 0));
    return places;
  }

  /** Zeros to be written behind what is written now: none while there are some, or when that is much. */
  #reserveOf(at: number, end: number): readonly Uint8Array[] {
    if (!this.#mayReserve || end <= this.#reservedTo || end - at > RESERVING_BYTES_MAX) return [];
    const roomBytes = this.#bytesMax - this.sizeBytes - (end - at);
    const reserveBytes = Math.floor(this.#segmentBytes / RESERVES_OF_FILE);
    const sizeBytes = Math.min(
      ...[RESERVE_BYTES_MAX, reserveBytes],
      ...[this.#segmentBytes - end, roomBytes],
    );
    return sizeBytes > 0 ? [new Uint8Array(sizeBytes)] : [];
  }

  read(place: RecordPlace): Promise<Uint8Array> {
    return this.#inTurn(() => this.#readWhole(place));
  }

  remove(segment: number): Promise<void> {
    return this.#inTurn(() => this.#removeFile(segment));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inTurn(async () => {
      await this.#cutReserve();
      const files = [this.#file, this.#reading?.file];
      this.#file = undefined;
      this.#reading = undefined;
      for (const file of files) await file?.close();
    });
  }

  /** Readers are several (who publishes, who makes room), and each may close the file that another has just opened. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = Promise.allSettled([done]);
    return done;
  }

  async #readWhole(place: RecordPlace): Promise<Uint8Array> {
    const file = await this.#fileOf(place.segment);
    const bytes = new Uint8Array(place.sizeBytes);
    let have = 0;
    while (have < bytes.length) {
      const { bytesRead } = await file.read(bytes, have, bytes.length - have, place.at + have);
      if (bytesRead === 0) break;
      have += bytesRead;
    }
    return bytes.subarray(0, have);
  }

  async #removeFile(segment: number): Promise<void> {
    if (segment === this.#newest || !this.#sizes.has(segment)) return;
    if (this.#reading?.segment === segment) {
      const { file } = this.#reading;
      this.#reading = undefined;
      await file.close();
    }
    await rm(pathOf(this.#directory, segment), { force: true });
    this.#sizes.delete(segment);
  }

  /** Zeros that stay because the disk refuses are taken for damage behind which nothing is missing. */
  async #cutReserve(): Promise<void> {
    const sizeBytes = this.sizeOf(this.#newest);
    if (this.#reservedTo > sizeBytes) await Promise.allSettled([this.#file?.truncate(sizeBytes)]);
    this.#reservedTo = sizeBytes;
  }

  async #startFile(start: StartRecord): Promise<void> {
    await this.#cutReserve();
    const segment = this.#newest + 1;
    const path = pathOf(this.#directory, segment);
    // A file that an earlier attempt left half made is made anew.
    const file = await open(path, "w+", 0o600);
    const first = [FILE_MAGIC, encodeRecord(start)];
    try {
      await this.#writeWhole({ file, at: 0, chunks: first });
      await syncFolder(this.#directory);
    } catch (error) {
      await file.close();
      await rm(path, { force: true });
      throw error;
    }
    const before = this.#file;
    this.#sizes.set(segment, first.reduce((sum, chunk) => sum + chunk.length, 0));
    this.#newest = segment;
    this.#reservedTo = this.sizeOf(segment);
    this.#mayReserve = true;
    this.#file = file;
    this.#isRotationDue = false;
    if (before !== undefined) await this.#inTurn(() => before.close());
  }

  async #writeWhole(
    { file, at, chunks }: {
      readonly file: FileHandle;
      readonly at: number;
      readonly chunks: readonly Uint8Array[];
    },
  ): Promise<void> {
    const bytes = chunks.length === 1 && chunks[0] !== undefined
      ? chunks[0]
      : Buffer.concat(chunks);
    try {
      let done = 0;
      while (done < bytes.length) {
        done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      }
      await file.datasync();
    } catch (error) {
      // Nothing half: what was written of the group goes, and only a full disk leaves the file usable.
      await Promise.allSettled([file.truncate(at)]);
      this.#mayReserve = false;
      this.#reservedTo = Math.min(this.#reservedTo, at);
      if (!isCode(error, "ENOSPC") && !isCode(error, "EDQUOT")) this.#isRotationDue = true;
      throw error;
    }
  }

  async #fileOf(segment: number): Promise<FileHandle> {
    if (segment === this.#newest && this.#file !== undefined) return this.#file;
    if (this.#reading?.segment === segment) return this.#reading.file;
    const before = this.#reading?.file;
    this.#reading = undefined;
    await before?.close();
    const file = await open(pathOf(this.#directory, segment), "r");
    this.#reading = { segment, file };
    return file;
  }
}
