/**
 * The one timer of all who wait for what nothing wakes them for: each gives a question that is cheap to answer, and all
 * are asked together.
 *
 * Invariants: whoever is due is told at the next step of its own, whoever is not at its limit; an abort ends the waiting
 * at the next step. What waking costs a process, which is far more than asking, is paid once a step and not by each.
 */
import { type Clock, untilStepMs } from "../runtime/clock.ts";

/** How often questions are asked, in milliseconds; steps of those who wait are multiples of it. */
export const LOOK_STEP_MS = 20;
/** Longest wait of a source that has nothing to do: what it does by the clock is done as often. */
export const LOOK_LIMIT_MS = 240;

export interface Waiting {
  /** Whether there is something to do. */
  readonly isDue: () => boolean;
  /** A multiple of {@link LOOK_STEP_MS}, which it is by default. */
  readonly stepMs?: number;
  /** {@link LOOK_LIMIT_MS} by default. */
  readonly limitMs?: number;
}

interface Waiter {
  readonly waiting: Waiting;
  readonly signal: AbortSignal;
  readonly untilMs: number;
  nextMs: number;
  readonly done: PromiseWithResolvers<void>;
}

/** Those who wait, by their clock. */
const lookOuts = new WeakMap<Clock, Set<Waiter>>();

/** Resolves when it is due, when its limit has come, or when it is aborted. Rejects with what the question throws. */
export function waitUntilDue(clock: Clock, waiting: Waiting, signal: AbortSignal): Promise<void> {
  const nowMs = clock.elapsedMs();
  const { stepMs = LOOK_STEP_MS, limitMs = LOOK_LIMIT_MS } = waiting;
  const waiter: Waiter = {
    waiting,
    signal,
    untilMs: nowMs + limitMs,
    nextMs: nextOf(nowMs, stepMs),
    done: Promise.withResolvers(),
  };
  const waiters = lookOuts.get(clock);
  if (waiters !== undefined) waiters.add(waiter);
  else {
    const begun = new Set([waiter]);
    lookOuts.set(clock, begun);
    void askAll(clock, begun);
  }
  return waiter.done.promise;
}

/** Asks until nobody waits. */
async function askAll(clock: Clock, waiters: Set<Waiter>): Promise<void> {
  while (waiters.size > 0) {
    await clock.sleep(untilStepMs(clock, LOOK_STEP_MS));
    const nowMs = clock.elapsedMs();
    for (const waiter of waiters) ask(waiter, nowMs, waiters);
    // Those who are told wait again at once, most of them: that goes on with this timer.
    if (waiters.size === 0) await Promise.resolve();
  }
  lookOuts.delete(clock);
}

function ask(waiter: Waiter, nowMs: number, waiters: Set<Waiter>): void {
  const { waiting: { isDue, stepMs = LOOK_STEP_MS }, signal, untilMs, done } = waiter;
  try {
    const isTime = signal.aborted || nowMs >= untilMs;
    if (!isTime && nowMs < waiter.nextMs) return;
    waiter.nextMs = nextOf(nowMs, stepMs);
    if (!isTime && !isDue()) return;
    waiters.delete(waiter);
    done.resolve();
  } catch (error) {
    waiters.delete(waiter);
    done.reject(error);
  }
}

function nextOf(nowMs: number, stepMs: number): number {
  return (Math.floor(nowMs / stepMs) + 1) * stepMs;
}
