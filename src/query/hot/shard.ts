/**
 * One shard's part of the hot table: reads its stream from the commit of the table version in use, and keeps what was
 * loaded until a later commit covers it.
 *
 * Invariants: what is shown lies after that commit and on the same chain of messages; a stream that was made again or
 * lost its tail is never joined to what was loaded before, everything is read anew from the commit's own state; so it is
 * where messages were purged that had not been read. Memory is bounded: beyond the bound reading waits, and says which
 * sequences cannot be searched.
 */
import {
  type Acceptance,
  type AcceptanceState,
  createAcceptance,
  emptyAcceptance,
  startIncarnation,
} from "../../event/acceptance.ts";
import { incarnationOf } from "../../event/event-id.ts";
import { messageDigestOf, streamOf } from "../../event/wire.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { type NatsConnection, openStream, readMessage } from "../../runtime/nats.ts";
import { backoffMs } from "../../runtime/retry.ts";
import type { StreamMessage } from "../../runtime/stream-message.ts";
import { readStream } from "../../runtime/stream-reader.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { readState } from "../../storage/state-object.ts";
import type { ShardPosition } from "../../storage/table.ts";
import { createFreshLines, type SequenceRange } from "./fresh-lines.ts";
import { gather } from "./gather.ts";
import type { HotLoader } from "./loader.ts";
import type { HotSegments } from "./segments.ts";
import { requireUnbroken } from "./unbroken.ts";

export interface HotShardOptions {
  readonly shard: string;
  /** Throws while there is no connection to the broker. */
  readonly nats: () => NatsConnection;
  readonly store: ObjectStore;
  readonly loader: HotLoader;
  readonly segments: HotSegments;
  /** Bound of what is held, in bytes of JSON. */
  readonly limitBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after every load, and whenever what was loaded is no longer continued. */
  readonly onChange: () => void;
  /** Whether what is loaded is going to be asked for by {@link HotShard.takeLines}. */
  readonly wantsLines: () => boolean;
}

/** Shortest time between two loads, in milliseconds. */
const LOAD_INTERVAL_MS = 25;
/** A group that is loaded at once, in messages and in bytes of payload; by so much the bound may be passed. */
const GROUP_MESSAGES = 256;
const GROUP_BYTES_MAX = 1024 * 1024;
const GROUP_BYTES_MIN = 4 * 1024;
const GROUPS_IN_LIMIT = 32;
/** How often the stream's end is asked for, in milliseconds. */
const WATCH_INTERVAL_MS = 2_000;
/** Behind a commit by more messages than this, reading goes on at the commit. */
const JUMP_MESSAGES = 64;

/** Ends one round of reading; the next begins at the newest commit. */
class RestartError extends Error {
  override readonly name = "RestartError";
}

/** What is being read: one incarnation from one commit on. */
interface Round {
  readonly incarnation: string;
  readonly created: string;
  /** The commit it began from; undefined before the shard's first. */
  readonly base: ShardPosition | undefined;
  readonly state: AcceptanceState;
  /** Last sequence in the stream when the round began. */
  readonly target: number;
  readonly restart: AbortController;
}

/** Guards what is shown: `loaded` moves only with rows that are visible. */
export class HotShard {
  readonly #options: HotShardOptions;
  #position: ShardPosition | undefined;
  #round: Round | undefined;
  #loaded = 0;
  #knownUs = 0;
  #digests = new Map<number, string>();
  readonly #fresh = createFreshLines();
  /** Why nothing is being read, in words; undefined while a round goes on. */
  #waiting: string | undefined = "it has not been read yet";
  /** The stream's last sequence, as it was one watch ago and at the last. */
  #ends: readonly [number, number] = [0, 0];
  #watchError: string | undefined;
  #evicted = Promise.withResolvers<void>();
  readonly #end = new AbortController();
  #work: Promise<unknown> | undefined;
  unreadableMessages = 0;
  loadedMessages = 0;
  /** How often it came into doubt whether what was loaded is what is committed; mostly because it is read anew. */
  doubts = 0;

  constructor(options: HotShardOptions) {
    this.#options = options;
  }

  get shard(): string {
    return this.#options.shard;
  }

  /** The incarnation that is read, and the last sequence that was loaded. */
  get progress(): { readonly incarnation: string; readonly loaded: number } | undefined {
    if (this.#round === undefined) return undefined;
    return { incarnation: this.#round.incarnation, loaded: this.#loaded };
  }

  /** Newest broker time that was read, µs. */
  get knownUs(): number {
    return this.#knownUs;
  }

  /** See {@link HotTable.takeLines}. */
  takeLines(range: SequenceRange): readonly string[] | undefined {
    return this.#fresh.take(range);
  }

  start(): void {
    this.#work ??= Promise.all([this.#read(), this.#watch()]);
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#work;
  }

  /** Takes over a newer commit: what it covers leaves, and what does not continue it is read anew. */
  adopt(position: ShardPosition | undefined): void {
    if (position === undefined || position.version === this.#position?.version) return;
    this.#position = position;
    const round = this.#round;
    if (round === undefined || position.version === round.base?.version) return;
    const fault = this.#faultOf(position, round);
    if (fault !== undefined) {
      this.#restart(fault);
      return;
    }
    // The broker may have lost what was loaded, and have got others in its place, up to there.
    if (position.sequence > this.#loaded) this.doubts += 1;
    this.#options.segments.evict(position.sequence);
    for (const sequence of this.#digests.keys()) {
      if (sequence < position.sequence) this.#digests.delete(sequence);
    }
    this.#evicted.resolve();
    this.#evicted = Promise.withResolvers();
  }

  /** Committed sequence below which this shard's rows are in the archive, for the incarnation that is read. */
  get committed(): number {
    const isSame = this.#position?.incarnation === this.#round?.incarnation;
    return isSame ? this.#position?.sequence ?? 0 : 0;
  }

  /** What of the shard's stream cannot be searched yet, in words. */
  get missing(): string | undefined {
    const name = `shard ${this.shard}`;
    if (this.#watchError !== undefined) return `${name}: the broker cannot be reached`;
    if (this.#waiting !== undefined) return `${name}: ${this.#waiting}`;
    const end = Math.max(this.#ends[0], this.#round?.target ?? 0);
    const searchable = Math.max(this.#loaded, this.committed);
    if (searchable >= end) return undefined;
    return `${name}: messages ${searchable + 1} to ${
      Math.max(end, this.#ends[1])
    } are not searchable yet`;
  }

  #faultOf(position: ShardPosition, round: Round): string | undefined {
    if (position.incarnation !== round.incarnation) return "the stream was made again";
    if (position.sequence > this.#loaded + JUMP_MESSAGES) return "the roll-up is far ahead";
    const seen = this.#digests.get(position.sequence);
    const isOther = seen !== undefined && seen !== position.digest;
    return isOther ? "the stream lost its tail and went on otherwise" : undefined;
  }

  #restart(reason: string): void {
    const round = this.#round;
    this.doubts += 1;
    this.#options.segments.clear();
    this.#fresh.clear();
    this.#round = undefined;
    this.#loaded = 0;
    this.#digests = new Map();
    this.#waiting = "it is being read anew";
    this.#options.log.info("reading the stream anew", { shard: this.shard, reason });
    round?.restart.abort(new RestartError(reason));
    this.#evicted.resolve();
    this.#evicted = Promise.withResolvers();
    this.#options.onChange();
  }

  async #read(): Promise<void> {
    const { signal } = this.#end;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const round = await this.#begin();
        if (round === undefined) {
          failures = Math.max(1, failures);
        } else {
          failures = 0;
          await this.#follow(round);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof RestartError)) failures += 1;
        if (this.#round !== undefined) this.#restart(textOf(error));
        if (failures > 0) {
          this.#options.log.warn("the hot table is not read", {
            shard: this.shard,
            error: textOf(error),
          });
        }
      }
      if (failures > 0) {
        await Promise.allSettled([this.#options.clock.sleep(backoffMs(failures), signal)]);
      }
    }
  }

  /** Finds where to begin; undefined when that is not possible yet. */
  async #begin(): Promise<Round | undefined> {
    const { store, shard } = this.#options;
    const nats = this.#options.nats();
    const { signal } = this.#end;
    const base = this.#position;
    const committed = base === undefined
      ? undefined
      : await readState(store, base.state, { signal });
    const name = streamOf(shard);
    const stream = await openStream(nats, name);
    if (stream === undefined) return this.#wait("its stream does not exist yet");
    const incarnation = incarnationOf(name, stream.created);
    const state = committed === undefined
      ? emptyAcceptance(incarnation)
      : committed.incarnation === incarnation
      ? committed
      : startIncarnation(committed, incarnation);
    if (stream.lastSequence < state.sequence) {
      return this.#wait("its stream lost messages that are committed");
    }
    if (state.sequence > 0 && base !== undefined) {
      const message = await readMessage(nats, { stream: name, sequence: state.sequence });
      if (message !== undefined && messageDigestOf(message) !== base.digest) {
        return this.#wait("its stream holds another message at the committed sequence");
      }
    }
    if (base?.version !== this.#position?.version) return undefined;
    const round: Round = {
      incarnation,
      created: stream.created,
      base,
      state,
      target: stream.lastSequence,
      restart: new AbortController(),
    };
    this.#round = round;
    this.#loaded = state.sequence;
    this.#waiting = undefined;
    this.#options.onChange();
    return round;
  }

  #wait(why: string): undefined {
    this.#waiting = why;
    return undefined;
  }

  async #follow(round: Round): Promise<void> {
    const { shard, clock } = this.#options;
    const reading = new AbortController();
    const signal = AbortSignal.any([this.#end.signal, round.restart.signal, reading.signal]);
    const messages = readStream({
      connection: this.#options.nats(),
      stream: streamOf(shard),
      fromSequence: round.state.sequence + 1,
      created: round.created,
      signal,
      clock,
    });
    const acceptance = createAcceptance(round.state);
    const shareBytes = this.#options.limitBytes / GROUPS_IN_LIMIT;
    const sizeMax = Math.max(GROUP_BYTES_MIN, Math.min(GROUP_BYTES_MAX, shareBytes));
    const limits = { itemsMax: GROUP_MESSAGES, sizeMax };
    try {
      for await (const group of gather(messages, { ...limits, sizeOf })) {
        const startedMs = performance.now();
        requireUnbroken(group, this.#loaded);
        // A reader that waits for the next message would hold up the error.
        await this.#load(group, { round, acceptance, signal }).catch((error: unknown) => {
          reading.abort(error);
          throw error;
        });
        const restMs = LOAD_INTERVAL_MS - (performance.now() - startedMs);
        if (restMs > 0) await Promise.allSettled([clock.sleep(restMs, signal)]);
      }
    } finally {
      reading.abort();
    }
    round.restart.signal.throwIfAborted();
  }

  async #load(
    group: readonly StreamMessage[],
    { round, acceptance, signal }: {
      readonly round: Round;
      readonly acceptance: Acceptance;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    const { loader, segments, wantsLines } = this.#options;
    await this.#room(signal);
    using filling = await segments.fill(round.incarnation);
    const hasLines = wantsLines();
    const into = filling.table;
    const result = await loader.load(group, { into, acceptance, hasLines, signal });
    round.restart.signal.throwIfAborted();
    const last = group.at(-1);
    if (last === undefined) return;
    filling.done(last.sequence, result);
    const range = { after: this.#loaded, upTo: last.sequence };
    if (result.lines !== undefined) this.#fresh.add(range, result.lines);
    this.#loaded = last.sequence;
    this.#knownUs = Math.max(this.#knownUs, last.storedAtUs);
    this.unreadableMessages += result.unreadable;
    this.loadedMessages += group.length;
    for (const [sequence, digest] of result.digests) this.#digests.set(sequence, digest);
    this.#settle(round);
  }

  /** Waits until what is held leaves room for more. */
  async #room(signal: AbortSignal): Promise<void> {
    const { segments, limitBytes, log, shard } = this.#options;
    let isSaid = false;
    // What was being loaded at the commit could not leave then.
    segments.evict(this.committed);
    while (segments.jsonBytes >= limitBytes) {
      if (!isSaid) log.warn("the hot table is full", { shard, limitBytes });
      isSaid = true;
      await untilAborted(this.#evicted.promise, signal);
      segments.evict(this.committed);
    }
  }

  /** A commit that was ahead of what was loaded is checked once its message has been read. */
  #settle(round: Round): void {
    const position = this.#position;
    if (position !== undefined && position.version !== round.base?.version) {
      const fault = this.#faultOf(position, round);
      if (fault !== undefined) return this.#restart(fault);
      this.#options.segments.evict(position.sequence);
    }
    this.#options.onChange();
  }

  /** Asks for the stream's end again and again, so that falling behind is known. */
  async #watch(): Promise<void> {
    const { nats, shard, clock } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      try {
        const stream = await openStream(nats(), streamOf(shard));
        const isSame = stream?.created === this.#round?.created;
        const end = isSame ? stream?.lastSequence ?? 0 : 0;
        this.#ends = [Math.min(this.#ends[1], end), end];
        this.#watchError = undefined;
      } catch (error) {
        this.#watchError = textOf(error);
      }
      await Promise.allSettled([clock.sleep(WATCH_INTERVAL_MS, signal)]);
    }
  }
}

function sizeOf({ payload }: StreamMessage): number {
  return payload.length;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
