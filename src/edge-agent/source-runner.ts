/**
 * Runs one source: its chunks into the producer, and again from the start when it fails.
 *
 * Invariants: a ring's position becomes durable together with the lines that it covers, never before or after them; a source that is down is a
 * gap from the failure to the next start; what a source read before its end is appended, also while the agent stops.
 */
import type { Producer } from "../producer/producer.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { type Backoff, backoffMs } from "../runtime/retry.ts";
import type { AgentGap } from "./gaps.ts";
import type { Source, SourceChunk } from "./source.ts";

/** Waits between starts of a source that fails. */
const RESTART_BACKOFF: Backoff = { firstMs: 500, maximumMs: 60_000 };
/** A source that ran for this long has recovered: its next failure is a first one. */
const RECOVERED_MS = 60_000;

export interface SourceRunnerOptions {
  readonly source: Source;
  readonly producer: Producer;
  readonly clock: Clock;
  readonly log: Log;
  readonly onGap: (gap: AgentGap) => void;
  /** Told when the source failed, and when it is started again. */
  readonly onState: (name: string, state: "running" | "failed") => void;
}

/** Runs until the signal is aborted and the source has ended; never rejects for what the source does. */
export async function runSource(options: SourceRunnerOptions, signal: AbortSignal): Promise<void> {
  const { source, clock, log, onGap, onState } = options;
  let failures = 0;
  for (;;) {
    const startedMs = clock.elapsedMs();
    const failure = await runOnce(options, signal);
    if (signal.aborted) {
      if (failure !== undefined) log.error("source failed while stopping", textOf(source, failure));
      return;
    }
    const failedUs = clock.nowUs();
    failures = clock.elapsedMs() - startedMs >= RECOVERED_MS ? 1 : failures + 1;
    const waitMs = backoffMs(failures, { backoff: RESTART_BACKOFF });
    log.error("source failed; it will be started again", {
      ...textOf(source, failure ?? new Error("it ended by itself")),
      waitMs,
    });
    onState(source.name, "failed");
    await sleepOrAbort(clock, waitMs, signal);
    onState(source.name, "running");
    onGap({
      class: "outage",
      source: source.name,
      count: null,
      reason: `the ${source.name} source failed and was started again`,
      fromUs: failedUs,
      toUs: clock.nowUs(),
    });
  }
}

/** One run of the source; what it failed with, or undefined when it ended. */
async function runOnce(
  { source, producer }: SourceRunnerOptions,
  signal: AbortSignal,
): Promise<unknown> {
  try {
    for await (const chunk of source.start(signal)) {
      append(producer, source, chunk);
      if (!signal.aborted) await writableOrAbort(producer, source, signal);
    }
    return undefined;
  } catch (error) {
    return error ?? new Error("it failed without an error");
  }
}

function append(producer: Producer, { name, lane }: Source, chunk: SourceChunk): void {
  const { position, spacingMs } = chunk;
  producer.appendAll(chunk, {
    lane,
    ...(spacingMs === undefined ? {} : { spacingMs }),
    ...(position === undefined ? {} : { mark: { name, position } }),
  });
}

/** An abort only ends the waiting: the source still has its end to tell. */
async function writableOrAbort(
  producer: Producer,
  { spoolPartMax }: Source,
  signal: AbortSignal,
): Promise<void> {
  try {
    await producer.writable(signal, spoolPartMax);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function sleepOrAbort(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function textOf(source: Source, error: unknown): { source: string; error: string } {
  return { source: source.name, error: error instanceof Error ? error.message : String(error) };
}
