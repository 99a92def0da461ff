/**
 * The roll-up of one shard: reads its stream in order, makes rounds of it, commits them, tells the agents, and truncates
 * the stream. Either once, over what is there now, or for as long as it is let.
 *
 * Invariants: where to read on is only ever taken from the table; the stream loses nothing before its commit, and never
 * the message at the committed sequence; whatever fails leaves both as they were, so every step may run twice and two
 * roll-ups at once.
 */
import { systemClock } from "../runtime/clock.ts";
import { backoffMs } from "../runtime/retry.ts";
import { StreamChangedError } from "../runtime/stream-reader.ts";
import { openProducer } from "../producer/open-producer.ts";
import { openTable } from "../storage/delta-table.ts";
import { isShardName } from "../event/wire.ts";
import { watchLag } from "./lag.ts";
import { tellOfRun } from "./own-events.ts";
import { openRollupParts, type RollupParts, type RollupPartsOptions } from "./rollup-parts.ts";
import { RoundTooLargeError } from "./round-rows.ts";
import {
  type MutablePosition,
  type OnceTarget,
  type RollupContext,
  runSession,
  type SessionSummary,
} from "./rollup-session.ts";
import { StreamMismatchError } from "./stream-start.ts";
import { DEFAULT_TRUNCATION, type TruncationPolicy } from "./truncation.ts";
import { OvertakenError } from "./watermarks.ts";

export interface RollupOptions extends RollupPartsOptions {
  readonly shard: string;
  /** What it shares with other roll-ups of the process, which stays the caller's; by default parts of its own. */
  readonly parts?: RollupParts;
  /** Longest time from a round's first message to its commit being made; 10 s by default. */
  readonly intervalMs?: number;
  /** A round ends at this much JSON; 256 MiB by default. */
  readonly segmentMaxBytes?: number;
  /** What leaves the log after a commit; all that is committed, by default. */
  readonly truncation?: TruncationPolicy;
  /** Objects up to this age may become part of a commit; 12 h by default, half of vacuum's least grace. */
  readonly reuseAgeMaxMs?: number | undefined;
  /** Make the stream again where it does not fit the bucket, instead of stopping with an error. */
  readonly acceptNewStream?: boolean;
  /** Spool of the roll-up's own events (start, heartbeat, stop of a run); none are made without one. */
  readonly producer?: {
    readonly directory: string;
    /** Name of this machine in those events. */
    readonly host: string;
    /** Version of the software in them. */
    readonly version: string;
  };
}

export interface Rollup extends AsyncDisposable {
  /**
   * Commits what the stream holds now, in as many rounds as that takes, and resolves with what was done. Rejects when
   * it cannot, with {@link StreamMismatchError} where a person has to decide; nothing is half done then.
   */
  runOnce(signal?: AbortSignal): Promise<SessionSummary>;
  /**
   * Goes on until the signal is aborted, through failures of broker and bucket; resolves then. Rejects with
   * {@link StreamMismatchError} only.
   */
  run(signal: AbortSignal): Promise<void>;
}

export const DEFAULT_INTERVAL_MS = 10_000;
export const DEFAULT_SEGMENT_MAX_BYTES = 256 * 1024 * 1024;
/** A round that took too much memory is followed by one of this part of its JSON, down to a single message. */
const SHRINK = 8;
/** Longest pause after failures that follow each other. */
const FAILURE_BACKOFF = { firstMs: 250, maximumMs: 15_000 };
/** So often one run over what is there starts anew without any progress, its own or that of another roll-up. */
const ONCE_RESTARTS_MAX = 20;

/** Opens everything a roll-up needs. Rejects when the store does not refuse conditional puts, or the broker refuses us. */
export async function openRollup(options: RollupOptions): Promise<Rollup> {
  const { store, shard, log, metrics, clock = systemClock } = options;
  if (!isShardName(shard)) {
    throw new RangeError(`Cannot roll up shard "${shard}": expected 1 to 16 of a-z and 0-9`);
  }
  await using stack = new AsyncDisposableStack();
  const parts = options.parts ?? stack.use(
    await openRollupParts({ ...options, name: `probity rollup ${shard}` }),
  );
  const { connection, rows, scratch } = parts;
  const producer = options.producer === undefined ? undefined : stack.use(
    await openProducer({ ...options.producer, shard, connection, log, clock, metrics }),
  );
  const totals = { commits: 0, messages: 0, rows: 0 };
  const position: MutablePosition = {
    committedSequence: 0,
    lastSequence: 0,
    oldestUs: undefined,
    waitingSinceUs: undefined,
  };
  const context: RollupContext = {
    store,
    connection,
    rows,
    scratch,
    table: openTable({ store, clock, log }),
    shard,
    intervalMs: options.intervalMs ?? DEFAULT_INTERVAL_MS,
    segmentMaxBytes: options.segmentMaxBytes ?? DEFAULT_SEGMENT_MAX_BYTES,
    acceptNewStream: options.acceptNewStream ?? false,
    truncation: options.truncation ?? DEFAULT_TRUNCATION,
    reuseAgeMaxMs: options.reuseAgeMaxMs,
    log: log.with({ shard }),
    clock,
    position,
    totals,
    metrics: stack.use(parts.figures.ofShard(shard, () => position)),
  };
  const resources = stack.move();
  return {
    runOnce: (onceSignal = new AbortController().signal) => runOnce(context, onceSignal),
    async run(runSignal) {
      const end = new AbortController();
      const version = options.producer?.version ?? "";
      const until = AbortSignal.any([runSignal, end.signal]);
      const telling = producer === undefined
        ? undefined
        : tellOfRun({ producer, shard, version, clock, totals: () => totals }, until);
      const watching = watchLag(context, until);
      try {
        await runOn(context, runSignal);
      } finally {
        end.abort();
        await Promise.all([telling, watching]);
      }
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Sessions one after the other until what was there at the first is committed, whoever commits it. */
async function runOnce(context: RollupContext, signal: AbortSignal): Promise<SessionSummary> {
  const { position, clock } = context;
  let { segmentMaxBytes } = context;
  let reached = 0;
  let target: OnceTarget | undefined;
  for (let restarts = 1;; restarts++) {
    try {
      return await runSession({ ...context, segmentMaxBytes }, {
        signal,
        isOnce: true,
        target,
        onTarget: (first) => target = first,
      });
    } catch (error) {
      signal.throwIfAborted();
      // What others commit is progress too; only standing still is bounded.
      if (position.committedSequence > reached) restarts = 1;
      reached = position.committedSequence;
      if (!isRestart(error) || restarts >= ONCE_RESTARTS_MAX) throw error;
      segmentMaxBytes = nextSegmentBytes(segmentMaxBytes, error);
      noteRestart(context, error);
      // Whoever came first goes on meanwhile, and the work is done once instead of twice.
      if (error instanceof OvertakenError) {
        await clock.sleep(backoffMs(restarts, { backoff: FAILURE_BACKOFF }), signal);
      }
    }
  }
}

async function runOn(context: RollupContext, signal: AbortSignal): Promise<void> {
  let { segmentMaxBytes } = context;
  let failures = 0;
  while (!signal.aborted) {
    try {
      await runSession({ ...context, segmentMaxBytes }, {
        signal,
        isOnce: false,
        onCommit: () => {
          failures = 0;
          segmentMaxBytes = Math.min(context.segmentMaxBytes, segmentMaxBytes * SHRINK);
        },
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof StreamMismatchError) throw error;
      segmentMaxBytes = nextSegmentBytes(segmentMaxBytes, error);
      failures += 1;
      // A single restart is news, not trouble.
      const isNews = isRestart(error) && failures === 1;
      const waitMs = isNews ? 0 : backoffMs(failures, { backoff: FAILURE_BACKOFF });
      if (isRestart(error)) noteRestart(context, error);
      else {
        context.metrics.failed();
        context.log.error("the round failed and is tried again", { error: textOf(error), waitMs });
      }
      // A stop ends the pause as well as the loop.
      await Promise.allSettled([context.clock.sleep(waitMs, signal)]);
    }
  }
}

/** Errors that only say that the state has to be read anew. */
function isRestart(error: unknown): boolean {
  return error instanceof StreamChangedError || error instanceof OvertakenError ||
    error instanceof RoundTooLargeError;
}

function noteRestart({ log, metrics }: RollupContext, error: unknown): void {
  if (error instanceof StreamChangedError) metrics.streamChanged();
  if (error instanceof OvertakenError) metrics.conflicted();
  log.warn("the state is read anew", { error: textOf(error) });
}

function nextSegmentBytes(segmentMaxBytes: number, error: unknown): number {
  if (!(error instanceof RoundTooLargeError)) return segmentMaxBytes;
  return Math.max(1, Math.floor(segmentMaxBytes / SHRINK));
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
