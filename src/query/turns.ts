/**
 * Whose turn it is: a bounded number of places, of which one principal has a share at most, and a bounded number of
 * those who wait, of whom the principal with the least use goes first.
 *
 * Invariants: while somebody waits who may enter, no place is free; one who keeps a place for longer than is guaranteed
 * loses it when somebody with less use wants it; who asks for more than others is refused before they are.
 */
import type { Budgets } from "./budgets.ts";
import { ProblemError } from "./problem.ts";

export interface TurnsOptions {
  /** Places in all. */
  readonly size: number;
  /** Places of one principal at most. */
  readonly share: number;
  /** Those who wait in all. */
  readonly waitingMax: number;
  /** Nobody loses a place to one who waits for it sooner, in milliseconds. */
  readonly guaranteedMs: number;
  readonly budgets: Budgets;
  readonly elapsedMs: () => number;
}

/** A place until it is disposed of. */
export interface Turn extends Disposable {
  /** Aborted, with a {@link ProblemError} 429, when the place goes to somebody else. */
  readonly lost: AbortSignal;
}

export interface Turns {
  /** Throws {@link ProblemError} 429 when too many of one's own wait, 503 when too many of others do. */
  take(principal: string, signal: AbortSignal): Promise<Turn>;
  /**
   * Takes a place, had for {@link RELIEF_LEAST_MS} at least, from the principal with the most use, if that is more than
   * the named one's; tells whether one leaves.
   */
  relieve(principal: string): boolean;
  readonly load: { readonly running: number; readonly waiting: number };
}

/** What those who are refused are told to wait, in seconds: for a place, and when they have had much. */
const RETRY_AFTER_SECONDS = 2;
export const OVER_BUDGET_RETRY_SECONDS = 15;
/** How often is looked whether somebody has to leave, while somebody waits, in milliseconds. */
const LOOK_MS = 100;
/** Nobody loses a place for somebody's lack of memory sooner, in milliseconds: it is not theirs if they just came. */
export const RELIEF_LEAST_MS = 1_000;
/** For so long nobody else has to leave after one had to, in milliseconds. */
const LEAVING_MS = 2_000;

interface Running {
  readonly principal: string;
  readonly sinceMs: number;
  readonly lost: AbortController;
  /** When it was told to leave. */
  leavingMs: number | undefined;
}

interface Waiting {
  readonly principal: string;
  enter(): void;
  refuse(reason: unknown): void;
}

export function createTurns(options: TurnsOptions): Turns {
  const { size, share, waitingMax, guaranteedMs, budgets, elapsedMs } = options;
  const running = new Set<Running>();
  const waiting = new Set<Waiting>();
  let looking: ReturnType<typeof setInterval> | undefined;

  /** The first to enter once there is a place. */
  const next = (): Waiting | undefined => {
    let found: Waiting | undefined;
    let leastMs = Infinity;
    for (const each of waiting) {
      if (countOf(running, each.principal) >= share) continue;
      const usedMs = budgets.usedMs(each.principal);
      if (usedMs < leastMs) [found, leastMs] = [each, usedMs];
    }
    return found;
  };
  const settle = (): void => {
    while (running.size < size) {
      const first = next();
      if (first === undefined) break;
      waiting.delete(first);
      first.enter();
    }
    if (waiting.size === 0) {
      clearInterval(looking);
      looking = undefined;
    } else looking ??= setInterval(look, LOOK_MS).unref();
  };
  const enter = (principal: string): Turn => {
    const lost = new AbortController();
    const own: Running = { principal, sinceMs: elapsedMs(), lost, leavingMs: undefined };
    running.add(own);
    const end = budgets.begin(principal);
    return {
      lost: lost.signal,
      [Symbol.dispose]() {
        if (!running.delete(own)) return;
        end();
        settle();
      },
    };
  };
  /** Who has to leave for a principal: the longest of the one with the most use, which is more than theirs. */
  const victimFor = (principal: string, leastMs: number): Running | undefined => {
    const nowMs = elapsedMs();
    let found: Running | undefined;
    let mostMs = budgets.usedMs(principal);
    for (const each of running) {
      if (each.leavingMs !== undefined) {
        if (nowMs - each.leavingMs < LEAVING_MS) return undefined;
        continue;
      }
      if (each.principal === principal || nowMs - each.sinceMs < leastMs) continue;
      const usedMs = budgets.usedMs(each.principal);
      if (usedMs > mostMs) [found, mostMs] = [each, usedMs];
    }
    return found;
  };
  const evict = (victim: Running): void => {
    victim.leavingMs = elapsedMs();
    victim.lost.abort(
      new ProblemError(429, "The query was ended since others wait who have asked for less", {
        accepted: "a shorter range of time, more filters, or the same later",
        headers: { "Retry-After": String(OVER_BUDGET_RETRY_SECONDS) },
      }),
    );
  };
  const look = (): void => {
    const first = next();
    const victim = first === undefined ? undefined : victimFor(first.principal, guaranteedMs);
    if (victim !== undefined) evict(victim);
  };
  const wait = (principal: string, signal: AbortSignal): Promise<Turn> =>
    new Promise((resolve, reject) => {
      const abort = (): void => {
        waiting.delete(own);
        reject(signal.reason);
        settle();
      };
      const own: Waiting = {
        principal,
        enter() {
          signal.removeEventListener("abort", abort);
          resolve(enter(principal));
        },
        refuse(reason) {
          signal.removeEventListener("abort", abort);
          reject(reason);
        },
      };
      waiting.add(own);
      signal.addEventListener("abort", abort, { once: true });
      settle();
    });

  return {
    get load() {
      return { running: running.size, waiting: waiting.size };
    },
    async take(principal, signal) {
      signal.throwIfAborted();
      const isFree = running.size < size && countOf(running, principal) < share;
      if (isFree) return enter(principal);
      if (waiting.size >= waitingMax) {
        const greedy = lastOfMost(waiting);
        const isOwn = greedy === undefined ||
          countOf(waiting, principal) + 1 >= countOf(waiting, greedy.principal);
        if (isOwn) throw refusalOf(countOf(waiting, principal), waitingMax);
        waiting.delete(greedy);
        greedy.refuse(refusalOf(countOf(waiting, greedy.principal), waitingMax));
      }
      return await wait(principal, signal);
    },
    relieve(principal) {
      const victim = victimFor(principal, RELIEF_LEAST_MS);
      if (victim !== undefined) evict(victim);
      return [...running].some((each) => each.leavingMs !== undefined);
    },
  };
}

/** The last to come of the principal of whom the most wait. */
function lastOfMost(waiting: ReadonlySet<Waiting>): Waiting | undefined {
  const counts = new Map<string, number>();
  for (const { principal } of waiting) counts.set(principal, (counts.get(principal) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return [...waiting].findLast(({ principal }) => counts.get(principal) === most);
}

function refusalOf(own: number, waitingMax: number): ProblemError {
  const headers = { "Retry-After": String(RETRY_AFTER_SECONDS) };
  return own > 0
    ? new ProblemError(429, "Too many queries of yours are waiting already", { headers })
    : new ProblemError(503, `${waitingMax} queries are waiting already`, { headers });
}

function countOf(all: Iterable<{ readonly principal: string }>, principal: string): number {
  let count = 0;
  for (const each of all) if (each.principal === principal) count += 1;
  return count;
}
