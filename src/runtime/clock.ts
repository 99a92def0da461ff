/** Time as an argument: code that waits or stamps takes a clock, so that tests and simulations can move it. */
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
  sleep: (ms, signal) => {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const sleepers = signal === undefined ? undefined : sleepersOf(signal);
      const wake = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        sleepers?.delete(wake);
        resolve();
      }, ms);
      sleepers?.add(wake);
    });
  },
};

/** Those who sleep until a signal. It has one listener for all: adding and removing one costs more than a sleep. */
const sleepersBySignal = new WeakMap<AbortSignal, Set<() => void>>();

function sleepersOf(signal: AbortSignal): Set<() => void> {
  const known = sleepersBySignal.get(signal);
  if (known !== undefined) return known;
  const sleepers = new Set<() => void>();
  sleepersBySignal.set(signal, sleepers);
  signal.addEventListener("abort", () => {
    for (const wake of sleepers) wake();
    sleepers.clear();
  }, { once: true });
  return sleepers;
}

/**
 * Milliseconds until the clock next shows a multiple of a step. Those who look again and again wait so: then they wake
 * together, and what waking costs a process, which is more than an idle look, it pays once.
 */
export function untilStepMs(clock: Pick<Clock, "elapsedMs">, stepMs: number): number {
  // Timers count whole milliseconds: one more, or they would end just before it.
  return Math.floor(stepMs - clock.elapsedMs() % stepMs) + 1;
}
