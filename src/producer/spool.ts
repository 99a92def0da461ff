/**
 * The spool: every batch on disk until the archive's watermark covers it. Files: `identity.json` (agent and epochs),
 * `segments/` (batches; see spool-format.ts), `receipts` (the broker's answers), `lock`.
 *
 * Invariants
 * - A batch counts from the moment {@link Spool.append} resolves: then it was fsynced, with the ring positions it
 *   covers. Batches that close while a write is under way share the next fsync.
 * - A torn tail is cut off at opening and never believed; it was not durable, so nobody was told of it.
 * - The bytes are bounded. When there is no room, the oldest file goes, and its batches become voids: header only, with
 *   digest, count and reason; those of the critical lane are kept for as long as there is bulk to go instead. The oldest
 *   are those the broker most likely holds; the newest are never dropped for them.
 * - A disk that is full or broken pauses appending (the writer's `fault`), leaves nothing half, and goes on by itself.
 */
import { join } from "node:path";
import { makeFolders } from "../runtime/folders.ts";
import { type BatchHeader, PAYLOAD_JSON_BYTES_MAX } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { EncodedBatch } from "./encode.ts";
import type { RingPositions } from "./producer.ts";
import { payloadOf } from "./spool-format.ts";
import {
  createEpochName,
  ensureIdentity,
  type Epoch,
  type SpoolIdentity,
  writeIdentity,
} from "./spool-identity.ts";
import { type Break, createIndexReader, type SpoolEntry, type SpoolIndex } from "./spool-index.ts";
import { lockSpool } from "./spool-lock.ts";
import { openReceipts, type Receipts, type StreamPlace } from "./spool-receipts.ts";
import { openSegments, type Segments } from "./spool-segments.ts";
import { BATCHES_MAX, createSpoolWriter, type SpoolWriter } from "./spool-writer.ts";

export interface SpoolOptions {
  readonly directory: string;
  readonly host: string;
  readonly shard: string;
  /** Bytes of all files together; 1 GiB by default, at least 16 MiB. */
  readonly bytesMax?: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** A batch as it is to be published. */
export interface SpooledBatch {
  /** See {@link Spool.highest}. */
  readonly ordinal: number;
  readonly header: BatchHeader;
  /** Empty for a void. */
  readonly payload: Uint8Array;
}

/** The epoch whose batches are to be published now: the oldest that is not released. */
export interface HeadEpoch {
  readonly epoch: Epoch;
  /** Other epochs of this spool, older and newer. */
  readonly others: readonly string[];
  /** No batch will be added to it any more. */
  readonly isClosed: boolean;
  /** Number and digest of its last released batch; 0 and "" when none is. */
  readonly released: { readonly number: number; readonly digest: string };
  /** Its unreleased batches, in order. */
  readonly batches: readonly {
    readonly number: number;
    readonly digest: string;
    readonly stored: StreamPlace | undefined;
  }[];
  /** Place of its newest released batch, if known. */
  readonly lastStored: StreamPlace | undefined;
}

export interface Spool extends AsyncDisposable {
  readonly agent: string;
  /** Positions of the newest durable record. */
  readonly positions: RingPositions;
  readonly sizeBytes: number;
  readonly batches: number;
  readonly unpublished: number;
  /** Part of the room, in bytes or in batches, that is taken when so many bytes more are written: 0 to 1 or above. */
  takenPart(moreBytes: number): number;
  /** Called when batches were released, so that there may be room. */
  onRelease: () => void;
  /** Ordinal of the newest durable batch: they count up through all epochs. */
  readonly highest: number;
  /** Events of batches that became voids since it was opened. */
  readonly eventsVoided: number;
  /** Why nothing can be written now; undefined while all is well. */
  readonly fault: Error | undefined;
  /** Batches that a damaged file took away, found at opening. */
  readonly breaks: readonly Break[];

  /** Appends batches, or positions alone; resolves when they are durable. */
  append(batches: readonly EncodedBatch[], positions: RingPositions | undefined): Promise<void>;
  /** The head epoch and all that is not released of it. */
  head(): HeadEpoch;
  /** The head epoch alone. */
  readonly epoch: Epoch;
  /** Digest of a batch of the head epoch that is durable and not released. */
  digestOf(number: number): string | undefined;
  /** The batch of a number of the head epoch. */
  read(number: number): Promise<SpooledBatch>;
  recordStored(number: number, stored: StreamPlace): void;
  /** Forgets the head epoch's batches up to a number; a closed epoch without further ones ends. */
  release(number: number): Promise<void>;
  /** Ends the head epoch after its last released batch: what follows goes over to a new epoch. */
  startEpoch(): Promise<void>;
}

/** Default of {@link SpoolOptions.bytesMax}. */
export const SPOOL_BYTES_MAX = 1024 * 1024 * 1024;
const SPOOL_BYTES_LEAST = PAYLOAD_JSON_BYTES_MAX;
const SEGMENT_BYTES_MAX = 16 * 1024 * 1024;
const SEGMENTS_OF_SPOOL = 16;
/** Epochs of its own that a spool remembers though nothing of them is left. */
const PAST_EPOCHS_MAX = 16;

/** Opens a spool, made anew in an empty folder. Throws when another process uses it. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { directory, shard, log, bytesMax = SPOOL_BYTES_MAX } = options;
  if (bytesMax < SPOOL_BYTES_LEAST) {
    throw new RangeError(
      `Cannot open a spool of ${bytesMax} bytes: less than ${SPOOL_BYTES_LEAST}`,
    );
  }
  makeFolders(directory, 0o700);
  await using stack = new AsyncDisposableStack();
  stack.use(lockSpool(directory));
  const before = await ensureIdentity(directory);
  const receipts = stack.use(await openReceipts(directory));
  const reader = createIndexReader();
  const segments = stack.use(
    await openSegments({
      directory: join(directory, "segments"),
      bytesMax,
      segmentBytes: Math.min(SEGMENT_BYTES_MAX, Math.floor(bytesMax / SEGMENTS_OF_SPOOL)),
      onLoad({ segment, records, badBytes, bornUs }) {
        reader.take(segment, records);
        if (badBytes === 0) return;
        log.warn("spool file does not end with a whole record", { directory, segment, badBytes });
        reader.damage(bornUs);
      },
    }),
  );
  const { index, breaks: found } = reader.finish({
    released: Math.max(before.released, receipts.released),
    stored: receipts.places,
  });
  const breaks = found.filter(({ base }) => before.epochs.every((each) => each.base !== base));
  for (const { base } of breaks) forgetPlaces(base, { index, receipts });
  const identity = continueEpochs(before, { index, breaks, shard });
  if (identity !== before) await writeIdentity(directory, identity);
  const writer = stack.use(createSpoolWriter({ ...options, bytesMax, segments, index }));
  return new OpenSpool(
    { directory, identity, index, breaks, receipts, segments, writer, bytesMax },
    stack.move(),
  );
}

/** Batches that go over to a new epoch are published anew: what the broker stored was of the epoch before. */
function forgetPlaces(
  base: number,
  { index, receipts }: { readonly index: SpoolIndex; readonly receipts: Receipts },
): void {
  index.forgetStored(base);
  receipts.forgetPlaces(base);
}

/** Epochs as they are after opening: one for this shard at the end, and one after each break. */
function continueEpochs(
  before: SpoolIdentity,
  { index, breaks, shard }: {
    readonly index: SpoolIndex;
    readonly breaks: readonly Break[];
    readonly shard: string;
  },
): SpoolIdentity {
  let { epochs, ends } = before;
  for (const { base, previous } of breaks) {
    const at = epochs.findLastIndex((each) => each.base < base);
    const made = { epoch: createEpochName(), shard: epochs[at]?.shard ?? shard, base, previous };
    epochs = epochs.toSpliced(at + 1, 0, made);
  }
  const last = epochs.at(-1);
  if (last?.shard !== shard) {
    const { highest: base, highestDigest } = index;
    // Each shard has a record of its own, which knows the agent by what it got of it.
    if (last !== undefined) {
      ends = { ...ends, [last.shard]: base > last.base ? highestDigest : last.previous };
    }
    const previous = ends[shard] ?? "";
    epochs = [...epochs, { epoch: createEpochName(), shard, base, previous }];
  }
  if (epochs === before.epochs) return before;
  return prune({ ...before, epochs, ends, released: Math.max(before.released, index.released) });
}

/** Without the oldest epochs whose batches are all released, of which a few are kept to be recognised. */
function prune(identity: SpoolIdentity): SpoolIdentity {
  const { epochs, released } = identity;
  const past = epochs.filter((_, at) => (epochs[at + 1]?.base ?? Infinity) <= released).length;
  return { ...identity, epochs: epochs.slice(Math.max(0, past - PAST_EPOCHS_MAX)) };
}

interface SpoolParts {
  readonly directory: string;
  readonly identity: SpoolIdentity;
  readonly index: SpoolIndex;
  readonly breaks: readonly Break[];
  readonly receipts: Receipts;
  readonly segments: Segments;
  readonly writer: SpoolWriter;
  readonly bytesMax: number;
}

class OpenSpool implements Spool {
  readonly #parts: SpoolParts;
  readonly #stack: AsyncDisposableStack;
  #identity: SpoolIdentity;
  readonly breaks: readonly Break[];
  onRelease: () => void = () => undefined;

  constructor(parts: SpoolParts, stack: AsyncDisposableStack) {
    this.#parts = parts;
    this.#stack = stack;
    this.#identity = parts.identity;
    this.breaks = parts.breaks;
  }

  get agent(): string {
    return this.#identity.agent;
  }
  get positions(): RingPositions {
    return this.#parts.index.positions;
  }
  get sizeBytes(): number {
    return this.#parts.segments.sizeBytes;
  }
  get batches(): number {
    return this.#parts.index.size;
  }
  get unpublished(): number {
    return this.#parts.index.unpublished;
  }
  get highest(): number {
    return this.#parts.index.highest;
  }
  get eventsVoided(): number {
    return this.#parts.writer.eventsVoided;
  }
  get fault(): Error | undefined {
    return this.#parts.writer.fault;
  }

  append(batches: readonly EncodedBatch[], positions: RingPositions | undefined): Promise<void> {
    return this.#parts.writer.append(batches, positions);
  }

  takenPart(moreBytes: number): number {
    const { segments, bytesMax } = this.#parts;
    return Math.max((segments.sizeBytes + moreBytes) / bytesMax, this.batches / BATCHES_MAX);
  }

  head(): HeadEpoch {
    const { index, receipts } = this.#parts;
    const { epoch, end } = this.#head();
    const batches = [];
    for (let ordinal = Math.max(index.released, epoch.base) + 1; ordinal <= end; ordinal++) {
      const entry = index.get(ordinal);
      if (entry === undefined) break;
      const { facts: { digest }, stored } = entry;
      batches.push({ number: ordinal - epoch.base, digest, stored });
    }
    const number = Math.max(0, index.released - epoch.base);
    return {
      epoch,
      others: this.#identity.epochs.flatMap((each) => each === epoch ? [] : each.epoch),
      isClosed: epoch !== this.#identity.epochs.at(-1),
      released: { number, digest: number === 0 ? "" : index.releasedDigest },
      batches,
      lastStored: number === 0 ? undefined : receipts.places.get(index.released),
    };
  }

  get epoch(): Epoch {
    return this.#head().epoch;
  }

  digestOf(number: number): string | undefined {
    const { epoch, end } = this.#head();
    const ordinal = epoch.base + number;
    return ordinal > end ? undefined : this.#parts.index.get(ordinal)?.facts.digest;
  }

  async read(number: number): Promise<SpooledBatch> {
    const { index, segments, writer } = this.#parts;
    const { epoch } = this.#head();
    const ordinal = epoch.base + number;
    for (;;) {
      const entry = index.get(ordinal);
      if (entry === undefined) {
        throw new RangeError(`Cannot read batch ${number} of epoch "${epoch.epoch}": not there`);
      }
      const header = this.#headerOf(entry, epoch);
      if (entry.void !== undefined) return { ordinal, header, payload: new Uint8Array(0) };
      const [read] = await Promise.allSettled([segments.read(entry.place)]);
      const payload = read.status === "fulfilled" ? payloadOf(read.value, ordinal) : undefined;
      if (payload !== undefined) return { ordinal, header, payload };
      // Its file may have gone meanwhile to make room; otherwise the disk gave back something else.
      if (index.get(ordinal) === entry) await writer.makeVoid([entry], "unreadable in the spool");
    }
  }

  recordStored(number: number, stored: StreamPlace): void {
    const ordinal = this.#head().epoch.base + number;
    this.#parts.index.setStored(ordinal, stored);
    this.#parts.receipts.recordPlace(ordinal, stored);
  }

  async release(number: number): Promise<void> {
    const { index, receipts, segments } = this.#parts;
    const { epoch, next, end } = this.#head();
    let last = end;
    // Behind a closed epoch's last batch there may be ordinals that are gone.
    while (next !== undefined && last > epoch.base + number && index.get(last) === undefined) {
      last--;
    }
    const isEnd = next !== undefined && last <= epoch.base + number;
    const ordinal = isEnd ? next.base : epoch.base + number;
    // First: an epoch whose end is forgotten would be sent once more, as another one.
    if (isEnd) await this.#writeIdentity({ ...this.#identity, released: ordinal });
    const free = index.release(ordinal);
    receipts.recordReleased(ordinal);
    for (const segment of free) await segments.remove(segment);
    this.onRelease();
  }

  async startEpoch(): Promise<void> {
    const { index } = this.#parts;
    const { epoch } = this.#head();
    const base = Math.max(index.released, epoch.base);
    const previous = base === epoch.base ? epoch.previous : index.releasedDigest;
    const made = { epoch: createEpochName(), shard: epoch.shard, base, previous };
    const at = this.#identity.epochs.indexOf(epoch) + 1;
    const epochs = this.#identity.epochs.toSpliced(at, 0, made);
    await this.#writeIdentity({ ...this.#identity, epochs, released: base });
    forgetPlaces(base, this.#parts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  async #writeIdentity(identity: SpoolIdentity): Promise<void> {
    const pruned = prune(identity);
    await writeIdentity(this.#parts.directory, pruned);
    this.#identity = pruned;
  }

  /** The oldest epoch that can still have unreleased batches, the one after it, and its last ordinal. */
  #head(): { readonly epoch: Epoch; readonly next: Epoch | undefined; readonly end: number } {
    const { index } = this.#parts;
    const { epochs } = this.#identity;
    const at = epochs.findIndex((_, place) =>
      (epochs[place + 1]?.base ?? Infinity) > index.released
    );
    const epoch = epochs[at];
    if (epoch === undefined) throw new Error("Cannot use a spool without an epoch");
    const next = epochs[at + 1];
    return { epoch, next, end: Math.min(next?.base ?? Infinity, index.highest) };
  }

  #headerOf(entry: SpoolEntry, epoch: Epoch): BatchHeader {
    const { ordinal, host, count, firstUs, lastUs, digest, previous } = entry.facts;
    const number = ordinal - epoch.base;
    const before = number === 1 ? epoch.previous : previous;
    return {
      host,
      agent: this.agent,
      epoch: epoch.epoch,
      number,
      count,
      firstUs,
      lastUs,
      digest,
      previous: before === "" ? undefined : before,
      void: entry.void,
    };
  }
}
