/**
 * Trying again: exponential backoff with jitter, bounded in every direction, and ended by a signal.
 * Whether an error is worth another attempt is the caller's rule, given as a function.
 */
import type { Clock } from "./clock.ts";

export interface Backoff {
  /** Longest wait after the first failure, in milliseconds. */
  readonly firstMs: number;
  /** Longest wait at all, in milliseconds. */
  readonly maximumMs: number;
}

export const DEFAULT_BACKOFF: Backoff = { firstMs: 100, maximumMs: 10_000 };

export interface RetryOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  readonly backoff?: Backoff;
  /** At most this many attempts; without it, until the signal is aborted. */
  readonly attemptsMax?: number;
  /** Whether another attempt makes sense; by default always. */
  readonly isTransient?: (error: unknown) => boolean;
  /** Told of every failure that is followed by another attempt. */
  readonly onFailure?: (error: unknown, waitMs: number) => void;
  /** Between 0 and 1; `Math.random` by default. */
  readonly random?: () => number;
}

/** Wait before attempt `failures` + 1: doubles with every failure, between half of it and the whole by chance. */
export function backoffMs(
  failures: number,
  options: { readonly backoff?: Backoff; readonly random?: () => number } = {},
): number {
  const { backoff = DEFAULT_BACKOFF, random = Math.random } = options;
  const wholeMs = Math.min(backoff.maximumMs, backoff.firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.round(wholeMs * (0.5 + random() / 2));
}

/**
 * The result of `work`, tried until it succeeds. Rejects with the error of the last attempt, or with the signal's
 * reason once it is aborted.
 */
export async function retry<T>(
  work: (attempt: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { clock, signal, attemptsMax = Infinity, isTransient = () => true } = options;
  for (let attempt = 1;; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (signal?.aborted || attempt >= attemptsMax || !isTransient(error)) throw error;
      const waitMs = backoffMs(attempt, options);
      options.onFailure?.(error, waitMs);
      await clock.sleep(waitMs, signal);
    }
  }
}
