/**
 * One batch on its way to a sink: offered until it is taken. What the other side refuses is narrowed down to the events
 * it is about, and those become dead letters after so many attempts; an other side that is away is waited for.
 *
 * Invariant: when it resolves, every event was taken or is a dead letter.
 */
import type { Clock } from "../../runtime/clock.ts";
import { backoffMs } from "../../runtime/retry.ts";
import { timeLimit } from "../../runtime/time-limit.ts";
import { LaterError, RefusedError, type SinkEvent, type SinkTarget } from "./target.ts";

export interface DeliveryOptions {
  readonly target: SinkTarget;
  readonly attemptsMax: number;
  /** {@link ATTEMPT_LIMIT_MS} unless told otherwise. */
  readonly attemptLimitMs?: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told of every attempt that failed. */
  readonly onFailure: (reason: string) => void;
  /** Keeps an event that nobody takes; throws when it cannot. */
  readonly bury: (event: SinkEvent, reason: string) => Promise<void>;
}

/** An attempt that takes longer has failed, in milliseconds. */
export const ATTEMPT_LIMIT_MS = 60_000;
/** Waits between attempts, in milliseconds. */
const BACKOFF = { firstMs: 500, maximumMs: 60_000 };
/** Longest wait that the other side may ask for, in milliseconds. */
const LATER_MAX_MS = 3_600_000;
/** Longest reason that is kept, in characters. */
const REASON_LENGTH_MAX = 300;

export async function deliverBatch(
  events: readonly SinkEvent[],
  options: DeliveryOptions,
  attemptsLeft = options.attemptsMax,
): Promise<void> {
  const { target, clock, signal, onFailure, bury, attemptLimitMs = ATTEMPT_LIMIT_MS } = options;
  let refusalsLeft = attemptsLeft;
  for (let failures = 1;; failures++) {
    signal.throwIfAborted();
    const limit = timeLimit(attemptLimitMs);
    try {
      await target.deliver(events, AbortSignal.any([signal, limit]));
      return;
    } catch (error) {
      signal.throwIfAborted();
      const reason = reasonOf(error);
      onFailure(reason);
      const isRefused = error instanceof RefusedError;
      if (isRefused) refusalsLeft -= 1;
      if ((isRefused || limit.aborted) && events.length > 1) {
        // One event may be to blame for all, or all are too many for one attempt: the halves have the attempts that are
        // left.
        const middle = Math.ceil(events.length / 2);
        await deliverBatch(events.slice(0, middle), options, Math.max(1, refusalsLeft));
        await deliverBatch(events.slice(middle), options, Math.max(1, refusalsLeft));
        return;
      }
      const [event] = events;
      if (isRefused && refusalsLeft <= 0 && event !== undefined) {
        if (await buried(() => bury(event, reason), onFailure)) return;
      }
      const laterMs = error instanceof LaterError ? Math.min(error.waitMs, LATER_MAX_MS) : 0;
      const waitMs = backoffMs(failures, { backoff: BACKOFF });
      await clock.sleep(Math.max(laterMs, waitMs), signal);
    }
  }
}

async function buried(
  bury: () => Promise<void>,
  onFailure: (reason: string) => void,
): Promise<boolean> {
  try {
    await bury();
    return true;
  } catch (error) {
    onFailure(reasonOf(error));
    return false;
  }
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/[\p{Cc}]+/gu, " ").slice(0, REASON_LENGTH_MAX);
}
