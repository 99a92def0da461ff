/**
 * The one writer of a spool: gives ordinals, groups what waits into one fsync, makes room, and tries again for as long
 * as the disk refuses.
 *
 * Invariants: ordinals are given in the order of appending and written in that order, each exactly once; what was
 * refused by the disk stays at the front of the queue. Where room is needed, bulk goes before critical, and of each the
 * oldest first, file by file: critical batches of a file that goes are written again before it does. Critical ones go
 * when no file has bulk that is worth more than what must be written for it.
 */
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { EncodedBatch } from "./encode.ts";
import type { RingPositions } from "./producer.ts";
import { type BatchFacts, payloadOf, type StartRecord } from "./spool-format.ts";
import type { SpoolEntry, SpoolIndex } from "./spool-index.ts";
import type { RecordToWrite, Segments } from "./spool-segments.ts";

export interface SpoolWriterOptions {
  readonly host: string;
  readonly segments: Segments;
  readonly index: SpoolIndex;
  readonly bytesMax: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SpoolWriter extends AsyncDisposable {
  readonly fault: Error | undefined;
  readonly eventsVoided: number;
  append(batches: readonly EncodedBatch[], positions: RingPositions | undefined): Promise<void>;
  /** Replaces batches by voids; resolves when that is durable. */
  makeVoid(entries: readonly SpoolEntry[], reason: string): Promise<void>;
}

/** At most this many bytes share one write. */
const GROUP_BYTES_MAX = 8 * 1024 * 1024;
const RETRY_MS = 1_000;
/** At most this many batches are kept, whatever their size. */
export const BATCHES_MAX = 500_000;
/** A file of which this part comes free is removed when it is the oldest; of which less than the other, never. */
const GAIN_GOOD = 0.5;
const GAIN_LEAST = 1 / 16;
/** What a void's record takes besides the host's name, in bytes; at least as much as it is. */
const VOID_BYTES = 400;
const REASON_LENGTH_MAX = 100;
const UNREADABLE = "unreadable in the spool";

interface Job {
  readonly records: readonly RecordToWrite[];
  readonly sizeBytes: number;
  readonly done: PromiseWithResolvers<void>;
}

export function createSpoolWriter(options: SpoolWriterOptions): SpoolWriter {
  return new QueueWriter(options);
}

class QueueWriter implements SpoolWriter {
  readonly #options: SpoolWriterOptions;
  readonly #stop = new AbortController();
  #queue: Job[] = [];
  #work: Promise<void> = Promise.resolve();
  #isRunning = false;
  #next: { readonly ordinal: number; readonly previous: string };
  fault: Error | undefined;
  eventsVoided = 0;

  constructor(options: SpoolWriterOptions) {
    this.#options = options;
    const { highest, highestDigest } = options.index;
    this.#next = { ordinal: highest + 1, previous: highestDigest };
  }

  append(batches: readonly EncodedBatch[], positions: RingPositions | undefined): Promise<void> {
    const records = batches.map(({ lane, payload, digest, count, firstUs, lastUs }, place) => {
      const { ordinal, previous } = this.#next;
      this.#next = { ordinal: ordinal + 1, previous: digest };
      const { host } = this.#options;
      const facts: BatchFacts = { ordinal, digest, previous, host, count, firstUs, lastUs, lane };
      const isLast = place === batches.length - 1;
      return {
        record: isLast
          ? { kind: "batch", ...facts, positions } as const
          : { kind: "batch", ...facts, positions: undefined, isContinued: true } as const,
        payload,
      };
    });
    if (records.length > 0) return this.#enqueue(records);
    return positions === undefined
      ? Promise.resolve()
      : this.#enqueue([{ record: { kind: "positions", positions } }]);
  }

  async makeVoid(entries: readonly SpoolEntry[], reason: string): Promise<void> {
    await this.#enqueue(voidsOf(entries, reason));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A disk that refuses is not waited for: what is in the queue was never durable.
    if (this.fault !== undefined) this.#stop.abort();
    await this.#work;
    this.#stop.abort();
  }

  #enqueue(records: readonly RecordToWrite[]): Promise<void> {
    if (this.#stop.signal.aborted) {
      return Promise.reject(new Error("Cannot write to the spool: it is closed"));
    }
    const sizeBytes = records.reduce(
      (sum, { payload }) => sum + VOID_BYTES + (payload?.length ?? 0),
      0,
    );
    const done = Promise.withResolvers<void>();
    this.#queue.push({ records, sizeBytes, done });
    if (!this.#isRunning) this.#work = this.#run();
    return done.promise;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      try {
        await this.#writeGroup(group);
      } catch (error) {
        if (!await this.#canRetry(error)) return this.#giveUp();
        continue;
      }
      if (this.fault !== undefined) this.#options.log.info("spool can be written to again");
      this.fault = undefined;
      this.#queue.splice(0, group.length);
      for (const { done } of group) done.resolve();
    }
    this.#isRunning = false;
  }

  #takeGroup(): readonly Job[] {
    let sizeBytes = 0;
    const end = this.#queue.findIndex((job) => (sizeBytes += job.sizeBytes) > GROUP_BYTES_MAX);
    return this.#queue.slice(0, end < 0 ? this.#queue.length : Math.max(1, end));
  }

  async #writeGroup(group: readonly Job[]): Promise<void> {
    await this.#makeRoom(group.reduce((sum, job) => sum + job.sizeBytes, 0));
    await this.#write(group.flatMap(({ records }) => records));
  }

  async #write(records: readonly RecordToWrite[]): Promise<void> {
    const { segments, index } = this.#options;
    const start: StartRecord = {
      kind: "start",
      next: index.highest + 1,
      previous: index.highestDigest,
      positions: index.positions,
    };
    const { newest } = segments;
    const places = await segments.write(records, start);
    for (const [at, { record }] of records.entries()) {
      const place = places[at];
      if (place === undefined || record.kind === "start") continue;
      if (record.kind !== "void") index.addPositions(record.positions);
      // What was released while it was written again, or its void was, is not needed any more.
      if (record.kind === "positions" || record.ordinal <= index.released) continue;
      if (record.kind === "batch") {
        index.put(record, place);
        continue;
      }
      // Two readers may find the same batch unreadable, and a file may go with it: its events are lost once.
      if (index.get(record.ordinal)?.void === undefined) this.eventsVoided += record.count;
      index.putVoid(record, place, record.reason);
    }
    if (segments.newest !== newest) await this.#removeUnused();
  }

  /** A file is kept while it is the newest, even when all in it is released. */
  async #removeUnused(): Promise<void> {
    const { segments, index } = this.#options;
    for (const segment of segments.numbers) {
      if (index.inSegment(segment).length === 0) await segments.remove(segment);
    }
  }

  /** Removes files until so many bytes fit, having made voids of what is given up of them. */
  async #makeRoom(sizeBytes: number): Promise<void> {
    const { segments, index, bytesMax } = this.#options;
    const full = `Cannot make room in the spool: ${index.size} batches fill it`;
    if (index.size > BATCHES_MAX) throw new Error(full);
    while (segments.sizeBytes + sizeBytes > bytesMax) {
      if (segments.numbers.length === 0) return;
      const victim = this.#bulkVictim() ?? this.#oldestVictim();
      if (victim === undefined) throw new Error(full);
      const { segment, kept, given } = victim;
      if (segment === segments.newest) segments.rotate();
      const { copies, unreadable } = await this.#copiesOf(kept);
      await this.#write([...copies, ...voidsOf(given, "the spool was full")]);
      await segments.remove(segment);
      this.#tellVoided(given, "spool is full: payloads of old batches were dropped");
      this.#tellVoided(unreadable, "the disk did not give batches of the spool back");
    }
  }

  /**
   * The file with the oldest bulk, of those of which half comes free without their bulk; when none is left, that of which
   * most comes free. Bytes of released batches count, too: they cost nothing.
   */
  #bulkVictim(): Victim | undefined {
    const victims = this.#victims(isBulk);
    return leastOf(victims.filter(({ gain }) => gain >= GAIN_GOOD), firstGiven) ??
      leastOf(victims.filter(({ gain }) => gain >= GAIN_LEAST), ({ freedBytes }) => -freedBytes);
  }

  /** By what is in them, since batches that were written again are in newer files than they are themselves. */
  #oldestVictim(): Victim | undefined {
    return leastOf(this.#victims(() => true).filter(({ gain }) => gain >= GAIN_LEAST), firstGiven);
  }

  /** What comes of each file when the batches that `mayGo` takes are given up. */
  #victims(mayGo: (entry: SpoolEntry) => boolean): readonly Victim[] {
    const { segments, index } = this.#options;
    return segments.numbers.map((segment) => {
      const isGiven = (entry: SpoolEntry): boolean => entry.void !== undefined || mayGo(entry);
      const entries = index.inSegment(segment);
      const given = entries.filter(isGiven);
      const kept = entries.filter((entry) => !isGiven(entry));
      const sizeBytes = segments.sizeOf(segment);
      const freedBytes = sizeBytes - kept.reduce((sum, { place }) => sum + place.sizeBytes, 0) -
        given.reduce((sum, { facts }) => sum + voidBytes(facts), 0);
      return { segment, kept, given, freedBytes, gain: freedBytes / sizeBytes };
    });
  }

  /** Batches as they are to be written once more; one that the disk does not give back becomes a void. */
  async #copiesOf(entries: readonly SpoolEntry[]): Promise<{
    readonly copies: readonly RecordToWrite[];
    readonly unreadable: readonly SpoolEntry[];
  }> {
    const { segments, index } = this.#options;
    const copies: RecordToWrite[] = [];
    const unreadable: SpoolEntry[] = [];
    for (const entry of entries) {
      const { facts, place } = entry;
      const [read] = await Promise.allSettled([segments.read(place)]);
      // Released meanwhile, and its file may have gone with it.
      if (facts.ordinal <= index.released) continue;
      const payload = read.status === "fulfilled"
        ? payloadOf(read.value, facts.ordinal)
        : undefined;
      if (payload === undefined) {
        copies.push(...voidsOf([entry], UNREADABLE));
        unreadable.push(entry);
      } else copies.push({ record: { kind: "batch", ...facts, positions: undefined }, payload });
    }
    return { copies, unreadable };
  }

  /** Tells of batches whose payloads are gone from now on. */
  #tellVoided(entries: readonly SpoolEntry[], what: string): void {
    const lost = entries.filter((entry) => entry.void === undefined);
    if (lost.length === 0) return;
    const events = lost.reduce((sum, { facts }) => sum + facts.count, 0);
    this.#options.log.error(what, { batches: lost.length, events });
  }

  /** Waits after a failure; false when the spool is closed instead. */
  async #canRetry(error: unknown): Promise<boolean> {
    const { clock, log } = this.#options;
    const cause = error instanceof Error ? error : new Error(String(error));
    if (this.fault === undefined) {
      log.error("spool cannot be written to; trying again", { error: cause.message });
    }
    this.fault = new Error(`Cannot write to the spool: ${cause.message}`, { cause });
    await Promise.allSettled([clock.sleep(RETRY_MS, this.#stop.signal)]);
    return !this.#stop.signal.aborted;
  }

  #giveUp(): void {
    const error = new Error("Cannot write to the spool: it was closed first", {
      cause: this.fault,
    });
    for (const { done } of this.#queue) done.reject(error);
    this.#queue = [];
    this.#isRunning = false;
  }
}

/** A file that goes: what is written again of it, and what is given up. */
interface Victim {
  readonly segment: number;
  readonly kept: readonly SpoolEntry[];
  readonly given: readonly SpoolEntry[];
  /** What comes free, in bytes, and as a part of the file. */
  readonly freedBytes: number;
  readonly gain: number;
}

/** Ordinal of the oldest batch whose payload would be given up; 0 when none would. */
function firstGiven({ given }: Victim): number {
  return given.find((entry) => entry.void === undefined)?.facts.ordinal ?? 0;
}

/** The first of those for which the key is least. */
function leastOf(
  victims: readonly Victim[],
  keyOf: (victim: Victim) => number,
): Victim | undefined {
  return victims.toSorted((left, right) => keyOf(left) - keyOf(right))[0];
}

/** At least what a void's record takes: with less, a file of voids could seem worth writing again for ever. */
function voidBytes({ host }: BatchFacts): number {
  return VOID_BYTES + host.length;
}

function isBulk({ facts }: SpoolEntry): boolean {
  return facts.lane === "bulk";
}

function voidsOf(entries: readonly SpoolEntry[], reason: string): readonly RecordToWrite[] {
  return entries.map(({ facts, void: earlier }) => ({
    record: { kind: "void", ...facts, reason: (earlier ?? reason).slice(0, REASON_LENGTH_MAX) },
  }));
}
