/**
 * How much of the service each principal has had: the time of connections that their queries held, over all pools. What
 * was had a while ago counts less and less, so that only those who ask for much at present stand behind others.
 *
 * Invariant: what is kept is bounded, however many principals there are.
 */

export interface Budgets {
  /** Time that the principal's queries have had and are having, in milliseconds, that of long ago counted less. */
  usedMs(principal: string): number;
  /** Counts from now on; the function that is returned states the end. */
  begin(principal: string): () => void;
}

export interface BudgetsOptions {
  readonly elapsedMs: () => number;
}

/** After so long, time that was had counts half, in milliseconds. */
export const HALF_LIFE_MS = 60_000;
/** Principals whose use is kept. */
const PRINCIPALS_MAX = 4_096;

interface Account {
  /** Of queries that have ended, as it counted at {@link Account.atMs}. */
  usedMs: number;
  atMs: number;
  /** When each running query began. */
  readonly running: Set<{ readonly sinceMs: number }>;
}

export function createBudgets({ elapsedMs }: BudgetsOptions): Budgets {
  const accounts = new Map<string, Account>();

  const decayed = ({ usedMs, atMs }: Account, nowMs: number): number =>
    usedMs * 0.5 ** ((nowMs - atMs) / HALF_LIFE_MS);
  const forgetLeast = (nowMs: number): void => {
    const idle = [...accounts].filter(([, { running }]) => running.size === 0)
      .toSorted(([, one], [, other]) => decayed(one, nowMs) - decayed(other, nowMs));
    for (const [name] of idle.slice(0, Math.ceil(idle.length / 2))) accounts.delete(name);
  };
  return {
    usedMs(principal) {
      const account = accounts.get(principal);
      if (account === undefined) return 0;
      const nowMs = elapsedMs();
      let usedMs = decayed(account, nowMs);
      for (const { sinceMs } of account.running) usedMs += nowMs - sinceMs;
      return usedMs;
    },
    begin(principal) {
      const beganMs = elapsedMs();
      if (accounts.size >= PRINCIPALS_MAX && !accounts.has(principal)) forgetLeast(beganMs);
      const account = accounts.get(principal) ?? { usedMs: 0, atMs: beganMs, running: new Set() };
      accounts.set(principal, account);
      const query = { sinceMs: beganMs };
      account.running.add(query);
      return () => {
        if (!account.running.delete(query)) return;
        const nowMs = elapsedMs();
        account.usedMs = decayed(account, nowMs) + nowMs - query.sinceMs;
        account.atMs = nowMs;
      };
    },
  };
}
