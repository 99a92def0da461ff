/**
 * A session: from the state of the last commit through round after round, until the end, a failure, or the news that
 * the state is no longer the last one.
 *
 * While a round becomes part of the archive, the next one is collected; never more than these two are under way.
 *
 * Invariant: a session commits only onto the state it started from or made itself, of a stream whose messages at both
 * ends of the round are still those that were read.
 */
import { streamOf } from "../event/wire.ts";
import { WATERMARK_BUCKET, watermarkKeyOf } from "../event/watermark.ts";
import { readBucket } from "../runtime/bucket-reader.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { ensureBucket, type NatsConnection } from "../runtime/nats.ts";
import { retry } from "../runtime/retry.ts";
import { readStream, StreamChangedError } from "../runtime/stream-reader.ts";
import type { Connection } from "../storage/duckdb.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { Table } from "../storage/table.ts";
import { type Announcer, createAnnouncer } from "./announcer.ts";
import { commitRound, countsOf, putEvidence } from "./commit-round.ts";
import { createMessageSource, type MessageSource } from "./message-source.ts";
import type { RollupMetrics, RollupPosition } from "./rollup-metrics.ts";
import { openRound, type Round, ROUND_MESSAGES_MAX } from "./round.ts";
import type { RoundRows, RowMaker } from "./round-rows.ts";
import type { Scratch } from "./scratch.ts";
import { findStart, isSameMessage, type StreamStart } from "./stream-start.ts";
import type { TruncationPolicy } from "./truncation.ts";
import { createWatermarkWriter, OvertakenError, type WatermarkWriter } from "./watermarks.ts";

/** What a roll-up holds for as long as it is open. */
export interface RollupContext {
  readonly store: ObjectStore;
  readonly connection: NatsConnection;
  readonly rows: RowMaker;
  readonly scratch: Scratch;
  readonly table: Table;
  readonly shard: string;
  readonly intervalMs: number;
  readonly segmentMaxBytes: number;
  readonly acceptNewStream: boolean;
  readonly truncation: TruncationPolicy;
  readonly reuseAgeMaxMs: number | undefined;
  readonly log: Log;
  readonly clock: Clock;
  readonly metrics: RollupMetrics;
  /** Kept up to date for the metrics. */
  readonly position: MutablePosition;
  /** Added to at every commit. */
  readonly totals: { commits: number; messages: number; rows: number };
}

export type MutablePosition = { -readonly [Key in keyof RollupPosition]: RollupPosition[Key] };

export interface SessionOptions {
  readonly signal: AbortSignal;
  /** End once everything that the stream holds at the start, or the target given, is committed. */
  readonly isOnce: boolean;
  /** Where an earlier session of the same run was to end. */
  readonly target?: OnceTarget | undefined;
  /** Told where this one is to end. */
  readonly onTarget?: (target: OnceTarget) => void;
  readonly onCommit?: () => void;
}

/** A place in one stream, known by its creation text. */
export interface OnceTarget {
  readonly created: string;
  readonly sequence: number;
}

export interface SessionSummary {
  readonly commits: number;
  readonly messages: number;
  readonly rows: number;
  /** The shard's last committed sequence. */
  readonly sequence: number;
}

/** So often a round's objects and its log entry are tried again before the round is thrown away. */
const COMMIT_ATTEMPTS_MAX = 8;
const COMMIT_BACKOFF = { firstMs: 100, maximumMs: 10_000 };
/** So often the broker is asked before a commit while it does not answer. */
const ASK_ATTEMPTS_MAX = 5;
/** How long one run over what is there waits for the next message. */
const ONCE_SILENCE_MS = 60_000;

/**
 * Runs one session. Rejects with StreamChangedError or OvertakenError when the state has to be read anew, with the
 * signal's reason when it is aborted, and with whatever went wrong otherwise.
 */
export async function runSession(
  context: RollupContext,
  options: SessionOptions,
): Promise<SessionSummary> {
  const { connection, shard, clock, position, log } = context;
  const bucket = await ensureBucket(connection, WATERMARK_BUCKET);
  const { signal } = options;
  const filter = watermarkKeyOf(shard, "*");
  const readAll = () => readBucket(connection, { bucket: WATERMARK_BUCKET, filter, clock, signal });
  const watermarks = createWatermarkWriter({ bucket, shard, clock, readAll });
  const start = await findStart({ ...context, watermarks, signal });
  position.committedSequence = start.state.sequence;
  position.lastSequence = start.lastSequence;
  log.debug("reading on", { sequence: start.state.sequence, incarnation: start.state.incarnation });
  await using rows = await context.rows.database.connect();
  const { created, lastSequence } = start;
  const target = options.target?.created === created
    ? options.target
    : { created, sequence: lastSequence };
  options.onTarget?.(target);
  await using session = new Session(context, { ...options, watermarks, start, rows, target });
  if (options.isOnce && target.sequence <= start.state.sequence) {
    await session.tellAll();
    return session.summary();
  }
  const reading = new AbortController();
  await using source = createMessageSource(readStream({
    connection,
    stream: streamOf(shard),
    fromSequence: start.state.sequence + 1,
    created,
    signal: AbortSignal.any([reading.signal, signal]),
  }));
  try {
    await session.run(source);
    if (options.isOnce) await session.tellAll();
  } finally {
    reading.abort();
    position.oldestUs = undefined;
  }
  return session.summary();
}

/** A round with the folder it lies in. */
interface RoundApart {
  readonly round: Round;
  readonly folder: AsyncDisposable;
}

/** Guards that state and shard version always belong together. Disposing ends what goes on beside its rounds. */
class Session implements AsyncDisposable {
  readonly #context: RollupContext;
  readonly #options: SessionOptions;
  readonly #announcer: Announcer;
  readonly #start: StreamStart;
  readonly #target: OnceTarget;
  readonly #connection: Connection;
  /** Aborted by what goes wrong beside the round that is collected. */
  readonly #failing = new AbortController();
  /** As of the last commit. */
  #state: StreamStart["state"];
  /** As of the last collected round, which may not be committed yet. */
  #collected: StreamStart["state"];
  /** When the broker stored the first message of the round that is collected, µs since the Unix epoch. */
  #firstUs: number | undefined;
  #startedFrom: number | undefined;
  #commits = 0;
  #messages = 0;
  #rows = 0;

  constructor(
    context: RollupContext,
    options: SessionOptions & {
      readonly watermarks: WatermarkWriter;
      readonly start: StreamStart;
      readonly target: OnceTarget;
      /** The connection that makes rows; not shared, since a round's messages are a table of it. */
      readonly rows: Connection;
    },
  ) {
    this.#context = context;
    this.#options = options;
    this.#start = options.start;
    this.#target = options.target;
    this.#connection = options.rows;
    this.#state = options.start.state;
    this.#collected = options.start.state;
    this.#startedFrom = options.start.startedFrom;
    const { watermarks, start: { created } } = options;
    this.#announcer = createAnnouncer(context, {
      watermarks,
      created,
      state: () => this.#state,
      onFailure: (error) => this.#failing.abort(error),
      signal: options.signal,
    });
  }

  summary(): SessionSummary {
    return {
      commits: this.#commits,
      messages: this.#messages,
      rows: this.#rows,
      sequence: this.#state.sequence,
    };
  }

  /** Tells every agent how far the archive is. */
  tellAll(): Promise<void> {
    return this.#announcer.tellAll();
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#announcer[Symbol.asyncDispose]();
  }

  async run(source: MessageSource): Promise<void> {
    const { signal, isOnce } = this.#options;
    const either = AbortSignal.any([signal, this.#failing.signal]);
    let finishing: Promise<void> = Promise.resolve();
    try {
      while (!isOnce || this.#collected.sequence < this.#target.sequence) {
        const apart = await this.#collectApart(source, either);
        try {
          await finishing;
        } catch (error) {
          await apart?.folder[Symbol.asyncDispose]();
          throw error;
        }
        if (apart === undefined) continue;
        this.#collected = apart.round.state;
        finishing = this.#finishApart(apart);
        // What goes wrong is thrown above or below, and soon: nothing is waited for any longer.
        finishing.catch((error: unknown) => this.#failing.abort(error));
      }
    } finally {
      await Promise.allSettled([finishing]);
    }
    await finishing;
  }

  async #collectApart(source: MessageSource, signal: AbortSignal): Promise<RoundApart | undefined> {
    this.#firstUs = undefined;
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await this.#context.scratch.openFolder());
    const round = await this.#collect(source, { folder: folder.path, signal });
    signal.throwIfAborted();
    return round === undefined ? undefined : { round, folder: stack.move() };
  }

  async #finishApart({ round, folder }: RoundApart): Promise<void> {
    await using _ = folder;
    await this.#finish(round);
  }

  /** Collects one round: until the interval is over, it is full, or everything that was asked for is in it. */
  async #collect(
    source: MessageSource,
    { folder, signal }: { readonly folder: string; readonly signal: AbortSignal },
  ): Promise<Round | undefined> {
    const { shard, clock, intervalMs, segmentMaxBytes, position } = this.#context;
    const { isOnce } = this.#options;
    await using round = await openRound({ folder, shard, state: this.#collected });
    const ending = new AbortController();
    const wait = (ms: number): Promise<void> =>
      Promise.allSettled([clock.sleep(ms, AbortSignal.any([ending.signal, signal]))])
        .then(() => undefined);
    try {
      let limit = isOnce ? wait(ONCE_SILENCE_MS) : undefined;
      for (;;) {
        const next = await source.next(limit ?? wait(this.#announcer.keep()));
        signal.throwIfAborted();
        if (next.kind === "end") throw new Error("Cannot read the stream: the reading has ended");
        if (next.kind === "late") {
          if (isOnce) {
            throw new Error(`Cannot read the stream: no message in ${ONCE_SILENCE_MS} ms`);
          }
          if (limit !== undefined) return await round.finish();
          continue;
        }
        const { message } = next;
        await round.add(message);
        this.#firstUs ??= message.storedAtUs;
        position.oldestUs ??= message.storedAtUs;
        position.lastSequence = Math.max(position.lastSequence, message.sequence);
        limit ??= wait(intervalMs);
        const isFull = round.contentBytes >= segmentMaxBytes ||
          round.storedBytes >= segmentMaxBytes || round.messages >= ROUND_MESSAGES_MAX;
        const isDone = isOnce && message.sequence >= this.#target.sequence;
        if (isFull || isDone) return await round.finish();
      }
    } finally {
      ending.abort();
    }
  }

  /** Makes a round part of the archive, then tells everyone. */
  async #finish(round: Round): Promise<void> {
    const { table, store, shard, clock, metrics, log, position } = this.#context;
    const { reuseAgeMaxMs } = this.#context;
    const { signal, onCommit } = this.#options;
    const startedMs = clock.elapsedMs();
    const { rows, evidence } = await this.#write(round);
    await this.#requireSameStream(round);
    const startedFrom = this.#startedFrom;
    const work = { store, table, shard, startedFrom, round, rows, evidence, log, signal };
    const nowMs = () => Math.floor(clock.nowUs() / 1000);
    const result = await this.#retry(() => commitRound({ ...work, reuseAgeMaxMs, nowMs: nowMs() }));
    if (result.kind === "superseded") {
      throw new OvertakenError("Cannot commit the round: another roll-up came first");
    }
    this.#state = round.state;
    this.#startedFrom = result.version;
    this.#commits += 1;
    this.#messages += round.messages.length;
    this.#rows += rows.rows;
    this.#context.totals.commits += 1;
    this.#context.totals.messages += round.messages.length;
    this.#context.totals.rows += rows.rows;
    position.committedSequence = round.state.sequence;
    position.oldestUs = this.#firstUs;
    position.waitingSinceUs = undefined;
    const counts = countsOf(round, rows);
    const fileBytes = rows.files.reduce((sum, { file }) => sum + file.sizeBytes, 0);
    const seconds = (clock.elapsedMs() - startedMs) / 1_000;
    metrics.committed(counts, seconds);
    metrics.written(rows.files.length, fileBytes);
    log.info("committed", { version: result.version, seconds, fileBytes, ...shown(counts) });
    if (round.holes > 0) {
      log.warn("the stream lacks messages; agents send what is not in the record again", {
        holes: round.holes,
        firstSequence: round.range.first,
        lastSequence: round.range.last,
      });
    }
    onCommit?.();
    await this.#announcer.announce({ version: result.version, agents: round.agents });
  }

  /** Makes the rows while the evidence is put. */
  async #write(round: Round): Promise<{ readonly rows: RoundRows; readonly evidence: string }> {
    const { scratch, store } = this.#context;
    const { signal } = this.#options;
    const tempDirectory = `${scratch.path}/spill`;
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const putting = this.#retry(() => putEvidence({ store, round, signal: either }), either);
    // Its failure is seen when the rows are there.
    void Promise.allSettled([putting]);
    try {
      const rows = await this.#context.rows.write(this.#connection, {
        round,
        tempDirectory,
        signal,
      });
      return { rows, evidence: await putting };
    } finally {
      stop.abort();
      await Promise.allSettled([putting]);
    }
  }

  #retry<T>(work: () => Promise<T>, signal = this.#options.signal): Promise<T> {
    const { clock, metrics, log } = this.#context;
    return retry(work, {
      clock,
      signal,
      attemptsMax: COMMIT_ATTEMPTS_MAX,
      backoff: COMMIT_BACKOFF,
      isTransient: (error) => !(error instanceof RangeError || error instanceof TypeError),
      onFailure: (error, waitMs) => {
        metrics.failed();
        log.warn("the commit is tried again", { error: String(error), waitMs });
      },
    });
  }

  /** A broker that lost its tail may have filled its place with other messages since they were read. */
  async #requireSameStream(round: Round): Promise<void> {
    const { clock } = this.#context;
    const { signal } = this.#options;
    const { created } = this.#start;
    const retrying = { clock, signal, attemptsMax: ASK_ATTEMPTS_MAX, backoff: COMMIT_BACKOFF };
    for (const { sequence, digest } of [this.#state, round.state]) {
      const expected = { created, sequence, digest };
      if (await retry(() => isSameMessage(this.#context, expected), retrying)) continue;
      throw new StreamChangedError(
        `Cannot commit the round: the stream has another message at ${sequence} than was read`,
      );
    }
  }
}

/** Counts that are not nought, for the log. */
function shown(counts: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}
