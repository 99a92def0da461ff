/** When and whether to open again what broke: a tail, a metric that goes on, a WebSocket. */
import { ProblemError, UnreachableError } from "./problem.ts";

export const RECONNECT_DELAY_MS = 250;
export const RECONNECT_DELAY_MAX_MS = 30_000;
/** The service says something at least every 15 s. */
export const SILENCE_MS = 45_000;
export const GIVE_UP_AFTER_MS = 24 * 3_600_000;

/** Whether trying again may help: an outage, an overload, or a fault inside the service. */
export function isPassing(error: unknown): error is Error {
  if (error instanceof UnreachableError) return true;
  return error instanceof ProblemError &&
    (error.status >= 500 || error.status === 408 || error.status === 429);
}

/** Doubles with every failure and is spread by half, so that many clients do not return at once. */
export function delayOf(
  { retryMs, failures }: { readonly retryMs: number; readonly failures: number },
): number {
  const fullMs = Math.min(retryMs * 2 ** failures, RECONNECT_DELAY_MAX_MS);
  return Math.round(fullMs * (0.5 + Math.random() / 2));
}

/** Calls when it was not armed again for so long. */
export function createSilenceWatch(afterMs: number, onSilence: () => void) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const disarm = (): void => clearTimeout(timer);
  return {
    disarm,
    arm: (): void => {
      disarm();
      timer = setTimeout(onSilence, afterMs);
    },
  };
}

/** Waits; an abort ends the wait without an error. */
export function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (isAborted(signal)) return resolve();
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, delayMs);
    signal?.addEventListener("abort", finish);
  });
}

export function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}
