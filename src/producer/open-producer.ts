/**
 * Puts a producer together: lines are batched, encoded, spooled, and published in the background, with or without a
 * broker to be reached.
 *
 * Invariants: what waits in memory is bounded; past the bound lines are counted as lost, and an event tells of them.
 * Batches reach the spool in the order in which they closed. Listeners hear of marks only once they are durable.
 */
import type { AuditEvent } from "../event/event.ts";
import { lineFields } from "../event/event.ts";
import { isHostName } from "../event/wire.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { connectNats, type NatsConnection } from "../runtime/nats.ts";
import { retry } from "../runtime/retry.ts";
import type { ClosedLines } from "./batcher.ts";
import { drain } from "./drain.ts";
import { encodeLines } from "./encode.ts";
import { createLanes, type Lanes } from "./lanes.ts";
import { createLosses, lossOfBreak } from "./losses.ts";
import type {
  Lines,
  LinesOptions,
  Producer,
  ProducerCounters,
  RingPosition,
  RingPositions,
} from "./producer.ts";
import { observeProducer } from "./producer-metrics.ts";
import { inboxPrefixOf, type Publisher, startPublisher } from "./publisher.ts";
import {
  createReadBacks,
  type ReadBack,
  type ReadBackListener,
  type ReadBacks,
} from "./read-back.ts";
import { createRoom, WEIGHT_MAX, WRITABLE_WEIGHT_MAX } from "./room.ts";
import { openSpool, type Spool } from "./spool.ts";

export interface OpenProducerOptions {
  /** The spool's folder; made when it is not there. */
  readonly directory: string;
  /** The host's enrolled name: 1 to 253 visible ASCII characters. */
  readonly host: string;
  readonly shard: string;
  /** How to reach the broker; not needed when a connection is given. */
  readonly nats?: { readonly url: string; readonly credentialsFile?: string };
  /** A connection to use instead; it stays the caller's. */
  readonly connection?: NatsConnection;
  /** An open batch closes after so many milliseconds; 1,000 by default. */
  readonly flushMs?: number;
  /** Bytes of the spool's files together; 1 GiB by default. */
  readonly spoolBytesMax?: number;
  readonly clock?: Clock;
  readonly log: Log;
  readonly metrics?: Metrics;
}

const FLUSH_MS = 1_000;

/**
 * Opens a producer on a spool folder. Works without a broker: it spools, and publishes once there is one. Throws when
 * another process uses the folder. Disposing closes the open batch, waits until it is on disk, publishes for up to 2 s,
 * and leaves the rest to the next opening.
 */
export async function openProducer(options: OpenProducerOptions): Promise<Producer> {
  const { directory, host, shard, log, clock = systemClock, spoolBytesMax, metrics } = options;
  if (!isHostName(host)) {
    throw new RangeError(`Cannot open a producer for host "${host}": not a name`);
  }
  const spool = await openSpool({
    directory,
    host,
    shard,
    clock,
    log,
    ...(spoolBytesMax === undefined ? {} : { bytesMax: spoolBytesMax }),
  });
  const producer = new SpooledProducer({ ...options, clock, spool });
  if (metrics !== undefined) observeProducer(metrics, producer);
  return producer;
}

interface SpooledProducerOptions extends OpenProducerOptions {
  readonly clock: Clock;
  readonly spool: Spool;
}

class SpooledProducer implements Producer {
  readonly agent: string;
  readonly host: string;
  readonly #options: SpooledProducerOptions;
  readonly #spool: Spool;
  readonly #lanes: Lanes;
  readonly #losses = createLosses();
  readonly #stop = new AbortController();
  /** Ends intervals: what is open when this closes, it closes itself. */
  readonly #ending = new AbortController();
  readonly #listeners = new Set<(positions: RingPositions) => void>();
  readonly #room = createRoom();
  readonly #readBacks: ReadBacks;
  #publisher: Publisher | undefined;
  readonly #connected: Promise<NatsConnection | undefined>;
  #appended = 0;
  #encodedBatches = 0;
  /** UTF-16 units of lines that are closed and not durable. */
  #weight = 0;
  /** Settles when all that closed so far is in the spool's queue, and when it is durable. */
  #queued: Promise<void> = Promise.resolve();
  #durable: Promise<void> = Promise.resolve();
  #isOpen = true;
  readonly unpublished = (): number => this.#spool.unpublished;

  constructor(options: SpooledProducerOptions) {
    this.#options = options;
    this.#spool = options.spool;
    this.agent = options.spool.agent;
    this.#spool.onRelease = () => this.#room.wake();
    this.host = options.host;
    this.#readBacks = createReadBacks(options.clock);
    this.#lanes = createLanes({
      clock: options.clock,
      signal: this.#ending.signal,
      flushMs: options.flushMs ?? FLUSH_MS,
      unpublished: this.unpublished,
      onClosing: (lane) => lane === "critical" && this.#tellLosses(),
      onClosed: (lines) => this.#seal(lines),
      onRefused: (timeUs) => this.#lose("line_too_large", timeUs),
    });
    for (const each of this.#spool.breaks) this.#note(lossOfBreak(each, options.clock.nowUs()));
    this.#connected = this.#connect();
  }

  get positions(): RingPositions {
    return this.#spool.positions;
  }

  emit(event: AuditEvent): void {
    this.append(lineFields(event), event.timeUs);
  }

  append(fields: string, timeUs: number): void {
    if (!this.#isOpen) throw new Error("Cannot append to a producer: it is closed");
    if (this.#weight > WEIGHT_MAX.critical) return this.#lose("spool_blocked", timeUs);
    this.#appended += 1;
    this.#lanes.critical.append(fields, timeUs);
  }

  mark(name: string, position: RingPosition): void {
    if (!this.#isOpen) throw new Error("Cannot append to a producer: it is closed");
    this.#lanes.critical.mark(name, position);
  }

  appendAll(lines: Lines, { lane = "critical", mark, spacingMs }: LinesOptions = {}): void {
    if (!this.#isOpen) throw new Error("Cannot append to a producer: it is closed");
    const batcher = this.#lanes[lane];
    if (this.#weight > WEIGHT_MAX[lane]) {
      for (const timeUs of lines.timesUs) this.#lose("spool_blocked", timeUs);
      if (mark !== undefined) batcher.mark(mark.name, mark.position);
      return;
    }
    this.#appended += lines.fields.length;
    batcher.appendAll(lines, mark);
    if (spacingMs !== undefined) this.#lanes.hurry(lane, spacingMs);
  }

  onDurable(listener: (positions: RingPositions) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  writable(signal?: AbortSignal, spoolPartMax = Infinity): Promise<void> {
    return this.#room.until(
      () =>
        this.#weight > WRITABLE_WEIGHT_MAX || this.#spool.fault !== undefined ||
        // Compressed it will be less; what is on its way must fit in any case.
        this.#spool.takenPart(this.#weight + this.#lanes.weight) > spoolPartMax,
      signal,
    );
  }

  async flush(): Promise<void> {
    this.#lanes.closeAll();
    await this.#queued;
    await this.#durable;
  }

  readBack(listener: ReadBackListener): ReadBack {
    return this.#readBacks.add(listener, {
      highest: () => this.#spool.highest,
      isPublished: () => this.#spool.unpublished === 0,
    });
  }

  counters(): ProducerCounters {
    const { published = 0, resent = 0, released = 0 } = this.#publisher?.counters ?? {};
    return {
      eventsAppended: this.#appended,
      batchesClosed: this.#encodedBatches,
      batchesPublished: published,
      batchesResent: resent,
      batchesReleased: released,
      eventsVoided: this.#spool.eventsVoided,
      eventsLost: this.#losses.total,
      spoolBytes: this.#spool.sizeBytes,
      spoolBatches: this.#spool.batches,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#ending.abort();
    this.#lanes.closeAll();
    await this.#queued;
    // Encoding may have refused lines, of which an event is to tell.
    this.#lanes.closeAll();
    await this.#queued;
    // On a disk that refuses, only closing the spool ends the wait.
    if (this.#spool.fault === undefined) await this.#durable;
    const isDue = (): boolean => this.#publisher !== undefined && this.#spool.unpublished > 0;
    await drain(isDue, this.#options.clock);
    this.#stop.abort();
    const connection = await this.#connected;
    await this.#publisher?.[Symbol.asyncDispose]();
    if (connection !== this.#options.connection) await connection?.[Symbol.asyncDispose]();
    await this.#spool[Symbol.asyncDispose]();
    this.#room.end();
  }

  /** Connects in the background; until then, and when it fails, batches wait in the spool. */
  async #connect(): Promise<NatsConnection | undefined> {
    const { connection, nats, clock, log } = this.#options;
    const { signal } = this.#stop;
    if (connection === undefined && nats === undefined) return undefined;
    const [made] = await Promise.allSettled([
      connection ?? retry(() =>
        connectNats({
          url: nats?.url ?? "",
          ...(nats?.credentialsFile === undefined ? {} : { credentialsFile: nats.credentialsFile }),
          name: `probity producer ${this.agent}`,
          inboxPrefix: inboxPrefixOf(this.agent),
          log,
          clock,
          signal,
        }), {
        clock,
        signal,
        onFailure: (error) => log.warn("cannot connect to the broker", { error: String(error) }),
      }),
    ]);
    if (made.status === "rejected") return undefined;
    if (!signal.aborted) this.#startPublisher(made.value);
    return made.value;
  }

  #startPublisher(connection: NatsConnection): void {
    const { clock, log } = this.#options;
    this.#publisher = startPublisher({
      spool: this.#spool,
      connection,
      clock,
      log,
      readBacks: this.#readBacks,
      onNewEpoch: (reason) => {
        if (this.#isOpen) this.#note({ class: "epoch", count: null, reason });
      },
    });
  }

  #tellLosses(): void {
    if (!this.#losses.isPending || this.#weight > WEIGHT_MAX.critical) return;
    for (const event of this.#losses.take(this.#options.clock.nowUs())) {
      this.#appended += 1;
      this.#lanes.critical.append(lineFields(event), event.timeUs);
    }
  }

  /** Encoding starts at once, beside that of others; the spool gets them in order. */
  #seal(lines: ClosedLines): void {
    this.#weight += lines.weight;
    const encoded = encodeLines(lines, {
      nowUs: this.#options.clock.nowUs(),
      onRefused: (_fields, timeUs) => this.#lose("line_too_large", timeUs),
    });
    this.#queued = this.#queued.then(async () => {
      const batches = await encoded;
      this.#encodedBatches += batches.length;
      this.#durable = this.#spool.append(batches, lines.positions).then(
        () => this.#settle(lines),
        (error: unknown) => {
          const { length: events } = lines.fields;
          this.#options.log.error("batch never reached the disk", { events, error: String(error) });
          this.#lanes.arrived();
        },
      );
    });
  }

  #settle({ weight, positions }: ClosedLines): void {
    this.#weight -= weight;
    this.#publisher?.wake();
    this.#room.wake();
    if (positions !== undefined) this.#tellDurable(positions);
    this.#lanes.arrived();
  }

  #tellDurable(positions: RingPositions): void {
    for (const listener of this.#listeners) {
      try {
        listener(positions);
      } catch (error) {
        // It is on disk: whoever cannot use that must not stop what else waits for it.
        this.#options.log.error("positions not taken", { error: String(error) });
      }
    }
  }

  #lose(kind: "line_too_large" | "spool_blocked", timeUs: number): void {
    const reason = kind === "line_too_large"
      ? "a line was larger than a message may be"
      : "the disk did not take them in time";
    this.#note({ class: kind, count: 1, reason, timeUs });
  }

  #note(
    loss: {
      readonly class: string;
      readonly count: number | null;
      readonly reason: string;
      readonly timeUs?: number;
      readonly fromUs?: number;
    },
  ): void {
    const wasPending = this.#losses.isPending;
    this.#losses.note({ timeUs: this.#options.clock.nowUs(), ...loss });
    if (!wasPending) this.#lanes.startInterval("critical");
  }
}
