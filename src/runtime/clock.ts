/** Time as an argument: code that waits or stamps takes a clock, so that tests and simulations can move it. */
import { setTimeout as delay } from "node:timers/promises";

export interface Clock {
  /** Microseconds since the Unix epoch, UTC. */
  nowUs(): number;
  /** Milliseconds since some moment, evenly, however the time of day is corrected: what waits or paces measures by it. */
  elapsedMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

const startedUs = performance.timeOrigin * 1000;

/** The system's clock. Wall time is read anew at every call, so that corrections of the clock show. */
export const systemClock: Clock = {
  nowUs: () => {
    const wallUs = Date.now() * 1000;
    const fineUs = Math.floor(startedUs + performance.now() * 1000);
    return Math.abs(fineUs - wallUs) < 1000 ? fineUs : wallUs;
  },
  elapsedMs: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // Node rejects with an AbortError of its own.
      signal?.throwIfAborted();
      throw error;
    }
  },
};
