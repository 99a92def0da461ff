/**
 * Reads a stream in order from a sequence on, for ever, through crashes of the broker. Acknowledges nothing: where to
 * read on is the reader's own knowledge (a commit), never the broker's.
 *
 * Invariants: sequences only go up; no message is given twice; the bytes on their way are bounded, since a server cuts
 * off a reader that lags behind what it asked for. A stream that is no longer the one that was read (made again, tail
 * lost) ends the reading with {@link StreamChangedError} instead of waiting for a sequence that means something else.
 */
import { AckPolicy, DeliverPolicy, jetstreamManager } from "@nats-io/jetstream";
import { type Msg, type NatsConnection, nuid, type Subscription } from "@nats-io/transport-node";
import { type Clock, systemClock } from "./clock.ts";
import { createReplySubject, headersOf, openStream, watchConnection } from "./nats.ts";
import { backoffMs } from "./retry.ts";
import type { StreamMessage } from "./stream-message.ts";

export interface ReadStreamOptions {
  readonly connection: NatsConnection;
  readonly stream: string;
  /** First sequence wanted; messages that are gone are passed over. */
  readonly fromSequence: number;
  /** The creation text the stream must have; by default whatever it has at the start. */
  readonly created?: string;
  /** Only messages of this subject, in which `*` stands for any one token; by default all. */
  readonly subject?: string;
  /** Ends the reading once all that the stream holds was given, instead of waiting for more. */
  readonly isUpToNow?: boolean;
  /** Bytes that may be on their way or waiting; 8 MiB by default, at least 2 MiB. */
  readonly maxBytes?: number;
  /** After so long without a message the broker is asked for the next one anew, in milliseconds; 30 s by default. */
  readonly pullMs?: number;
  /** Ends the reading without an error. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
}

/** The stream is not the one that was read before: gone, made again, or shorter than what was read. */
export class StreamChangedError extends Error {
  override readonly name = "StreamChangedError";
}

const MAX_BYTES = 8 * 1024 * 1024;
const MAX_BYTES_LEAST = 2 * 1024 * 1024;
/** Messages of one pull; the bytes end it first unless messages are tiny. */
const PULL_MESSAGES = 5_000;
const PULL_EXPIRES_MS = 30_000;
const HEARTBEAT_MS = 2_000;
/** What headers, subject and reply of one message are taken to weigh. */
const HEADER_BYTES = 1_024;
/** Silence of the broker after which a pull counts as lost. */
const SILENCE_LIMIT_MS = 3 * HEARTBEAT_MS;
/** The broker forgets a reader that asked for nothing for so long; it is made anew then. */
const INACTIVE_MS = 60_000;
/** As much for one that is only asked where it would begin. */
const LOOK_INACTIVE_MS = 5_000;

export async function* readStream(options: ReadStreamOptions): AsyncGenerator<StreamMessage, void> {
  const { connection, stream, signal, clock = systemClock } = options;
  const { maxBytes = MAX_BYTES, pullMs = PULL_EXPIRES_MS, subject, isUpToNow = false } = options;
  if (maxBytes < MAX_BYTES_LEAST) {
    throw new RangeError(`Cannot read with maxBytes ${maxBytes}: less than ${MAX_BYTES_LEAST}`);
  }
  let next = Math.max(1, options.fromSequence);
  let created = options.created;
  const isStopped = (): boolean => signal?.aborted === true;
  let failures = 0;
  while (!isStopped()) {
    try {
      created = await checkStream(options, { created, next });
      await using pull = await openPull({ connection, stream, subject, next, maxBytes, pullMs });
      // A reader that ends before it brought anything counts as a failure, so that none is made in a tight loop.
      failures += 1;
      while (!(isUpToNow && pull.left === 0)) {
        const message = await pull.next(signal);
        if (message === undefined) break;
        failures = 0;
        next = message.sequence + 1;
        yield message;
      }
      if (isUpToNow && pull.left === 0) return;
      if (pull.isIdle) failures = 0;
    } catch (error) {
      if (error instanceof StreamChangedError || connection.isClosed()) throw error;
      failures += 1;
    }
    if (failures > 0 && !isStopped()) {
      await Promise.allSettled([clock.sleep(backoffMs(failures), signal)]);
    }
  }
}

/** The first sequence that the broker stored at a time or later; the one after the last when there is none. */
export async function sequenceAt(
  connection: NatsConnection,
  { stream, timeUs }: { readonly stream: string; readonly timeUs: number },
): Promise<number> {
  const { consumers } = await jetstreamManager(connection, { checkAPI: false });
  const name = `probity-${nuid.next()}`;
  // A consumer says where it would begin; nothing is asked of it.
  const { delivered } = await consumers.add(stream, {
    name,
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.StartTime,
    opt_start_time: new Date(Math.ceil(timeUs / 1000)).toISOString(),
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: LOOK_INACTIVE_MS * 1_000_000,
  });
  await Promise.allSettled([consumers.delete(stream, name)]);
  return delivered.stream_seq + 1;
}

/** Its creation text, once it is sure that `next` still means what it meant. */
async function checkStream(
  { connection, stream }: ReadStreamOptions,
  known: { readonly created: string | undefined; readonly next: number },
): Promise<string> {
  const status = await openStream(connection, stream);
  if (status === undefined) {
    throw new StreamChangedError(`Cannot read stream "${stream}": it does not exist`);
  }
  if (known.created !== undefined && status.created !== known.created) {
    throw new StreamChangedError(
      `Cannot read stream "${stream}": it was made again at ${status.created}`,
    );
  }
  if (status.lastSequence < known.next - 1) {
    throw new StreamChangedError(
      `Cannot read stream "${stream}" from ${known.next}: it ends at ${status.lastSequence}`,
    );
  }
  return status.created;
}

interface Pull extends AsyncDisposable {
  /** The next message, or undefined once the reader has to be made anew or the signal is aborted. */
  next(signal: AbortSignal | undefined): Promise<StreamMessage | undefined>;
  /** It ended because no message came. */
  readonly isIdle: boolean;
  /** Messages that the stream held beyond the last one given, as the broker counted them when it sent that one. */
  readonly left: number;
}

interface PullOptions {
  readonly connection: NatsConnection;
  readonly stream: string;
  readonly subject: string | undefined;
  readonly next: number;
  readonly maxBytes: number;
  readonly pullMs: number;
}

async function openPull(options: PullOptions): Promise<Pull> {
  const { connection, stream, subject, next } = options;
  const { consumers } = await jetstreamManager(connection, { checkAPI: false });
  const consumer = `probity-${nuid.next()}`;
  const { num_pending: left } = await consumers.add(stream, {
    name: consumer,
    ...(subject === undefined ? {} : { filter_subject: subject }),
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: next,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: INACTIVE_MS * 1_000_000,
  });
  const pull = new ConsumerPull({ ...options, consumer, left });
  return {
    next: (signal) => pull.next(signal),
    get isIdle() {
      return pull.isIdle;
    },
    get left() {
      return pull.left;
    },
    async [Symbol.asyncDispose]() {
      pull.close();
      if (connection.isClosed()) return;
      // The broker forgets it by itself as well; this only does it sooner.
      await Promise.allSettled([consumers.delete(stream, consumer)]);
    },
  };
}

/** A message that was delivered and not given yet. */
interface Waiting {
  readonly message: StreamMessage;
  readonly sizeBytes: number;
  readonly left: number;
}

/** Deliveries of one consumer: guards that they are in order, whole, and bounded in bytes. */
class ConsumerPull {
  readonly #connection: NatsConnection;
  readonly #subject: string;
  readonly #inbox: string;
  readonly #maxBytes: number;
  readonly #pullMs: number;
  readonly #subscription: Subscription;
  readonly #endWatch: () => void;
  readonly #queue: Waiting[] = [];
  #waitingBytes = 0;
  #pulls = 0;
  /** Messages the open pull may still bring; 0 when none is open. */
  #openMessages = 0;
  #deliveries = 0;
  #hasEnded = false;
  /** Messages that the open pull has brought. */
  #brought = 0;
  isIdle = false;
  left: number;
  #heardAtMs = performance.now();
  #wake: () => void = () => undefined;

  constructor(options: PullOptions & { readonly consumer: string; readonly left: number }) {
    this.left = options.left;
    const { connection, stream, consumer, maxBytes, pullMs } = options;
    this.#connection = connection;
    this.#maxBytes = maxBytes;
    this.#pullMs = pullMs;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.#inbox = createReplySubject(connection);
    this.#subscription = connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => error === null ? this.#receive(message) : this.#end(),
    });
    this.#endWatch = watchConnection(connection, () => this.#end());
  }

  async next(signal: AbortSignal | undefined): Promise<StreamMessage | undefined> {
    while (signal?.aborted !== true) {
      const first = this.#queue.shift();
      if (first !== undefined) {
        this.#waitingBytes -= first.sizeBytes;
        this.left = first.left;
        this.#pullMore();
        return first.message;
      }
      if (this.#hasEnded) return undefined;
      this.#pullMore();
      await this.#somethingHappens(signal);
    }
    return undefined;
  }

  close(): void {
    this.#end();
    this.#endWatch();
    if (!this.#connection.isClosed()) this.#subscription.unsubscribe();
  }

  #end(): void {
    this.#hasEnded = true;
    this.#wake();
  }

  /** Half of the bound per pull, asked for when half of it is free: the next one travels while this one is read. */
  #pullMore(): void {
    const isSpace = this.#waitingBytes <= this.#maxBytes / 2;
    if (this.#openMessages > 0 || !isSpace || this.#hasEnded || this.#connection.isClosed()) return;
    this.#pulls += 1;
    this.#openMessages = PULL_MESSAGES;
    this.#brought = 0;
    this.#heardAtMs = performance.now();
    const request = {
      batch: PULL_MESSAGES,
      max_bytes: Math.floor(this.#maxBytes / 2),
      expires: this.#pullMs * 1_000_000,
      // More than half of the pull's life is refused.
      idle_heartbeat: Math.min(HEARTBEAT_MS, this.#pullMs / 2) * 1_000_000,
    };
    this.#connection.publish(this.#subject, JSON.stringify(request), {
      reply: `${this.#inbox}.${this.#pulls}`,
    });
  }

  #receive(message: Msg): void {
    this.#heardAtMs = performance.now();
    if (message.subject.startsWith(`${this.#inbox}.`)) this.#receiveStatus(message);
    else this.#receiveMessage(message);
    this.#wake();
  }

  #receiveStatus(message: Msg): void {
    const code = message.headers?.code;
    const isCurrent = message.subject === `${this.#inbox}.${this.#pulls}`;
    if (code === 100 || !isCurrent) return;
    const description = message.headers?.description ?? "";
    const isOver = code === 404 || code === 408 || (code === 409 && /maxbytes/i.test(description));
    // A delivery that was lost on its way shows at the next one. When none comes, only asking anew shows it.
    this.isIdle = code === 408 && this.#brought === 0;
    if (isOver && !this.isIdle) this.#openMessages = 0;
    else this.#end();
  }

  #receiveMessage(message: Msg): void {
    const place = parseReply(message.reply ?? "");
    if (place === undefined || place.delivery !== this.#deliveries + 1) return this.#end();
    if (this.#hasEnded) return;
    this.#deliveries = place.delivery;
    this.#brought += 1;
    this.#openMessages = Math.max(0, this.#openMessages - 1);
    const sizeBytes = message.data.length + HEADER_BYTES;
    this.#waitingBytes += sizeBytes;
    this.#queue.push({
      sizeBytes,
      left: place.left,
      message: {
        sequence: place.sequence,
        storedAtUs: place.storedAtUs,
        subject: message.subject,
        headers: headersOf(message.headers),
        payload: new Uint8Array(message.data.buffer, message.data.byteOffset, message.data.length),
      },
    });
  }

  /** Resolves at a message, a status, the signal, or when the broker was silent for too long. */
  #somethingHappens(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const silentMs = performance.now() - this.#heardAtMs;
      const timer = setTimeout(() => {
        if (performance.now() - this.#heardAtMs >= SILENCE_LIMIT_MS) this.#hasEnded = true;
        done();
      }, Math.max(1, SILENCE_LIMIT_MS - silentMs));
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        this.#wake = () => undefined;
        resolve();
      };
      this.#wake = done;
      signal?.addEventListener("abort", done);
    });
  }
}

/**
 * Place of a delivered message: `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<delivery>.<nanoseconds>.<pending>`, or
 * with domain and account before the stream (ADR-15 of nats-architecture-and-design).
 */
function parseReply(
  reply: string,
): { sequence: number; delivery: number; storedAtUs: number; left: number } | undefined {
  const tokens = reply.split(".");
  const at = tokens.length === 9 ? 5 : 7;
  const [sequence, delivery, nanoseconds, pending] = tokens.slice(at, at + 4);
  if (tokens.length < 9 || nanoseconds === undefined || !/^\d+$/.test(nanoseconds)) {
    return undefined;
  }
  return {
    sequence: Number(sequence),
    delivery: Number(delivery),
    storedAtUs: Number(BigInt(nanoseconds) / 1000n),
    left: Number(pending),
  };
}
