/**
 * Who serves which shard: one small table that all workers share, and the rule by which a worker changes it. Pure.
 *
 * Leases save work, they keep nothing safe: two workers on one shard are told apart by the conditional commit, and the
 * later one's work is thrown away. So a wrong guess about who is dead costs time, never an event.
 *
 * Invariants: a shard has at most one holder in the table; a live holder is never overruled, it gives up by itself what
 * is more than its share; once all workers have looked, every shard has a holder and shares differ by one at most.
 */

/** The one key of the bucket of leases. */
export const LEASE_KEY = "rollup";

export interface LeaseTable {
  /** Workers, each with a count that goes up as long as it lives. */
  readonly workers: Readonly<Record<string, number>>;
  /** Worker by shard. */
  readonly shards: Readonly<Record<string, string>>;
}

export const NO_LEASES: LeaseTable = { workers: {}, shards: {} };

export interface LookOptions {
  /** Who looks. */
  readonly worker: string;
  /** Shards that are to be served, as the worker is configured. */
  readonly shards: readonly string[];
  /** Those that the worker is serving now, also while it is ending to. */
  readonly running: ReadonlySet<string>;
  /** Workers that were seen to stand still. */
  readonly dead: ReadonlySet<string>;
}

export interface Look {
  readonly table: LeaseTable;
  /** Shards that the worker should serve; what it serves beyond them it ends, and gives up when it looks again. */
  readonly mine: readonly string[];
}

/** One look of a worker at the table: it says that it is there, takes what is free, and gives up what is too much. */
export function lookAtLeases(table: LeaseTable, options: LookOptions): Look {
  const { worker, shards, running, dead } = options;
  const living = Object.entries(table.workers).filter(([name]) => !dead.has(name));
  const workers = Object.fromEntries([...living, [worker, (table.workers[worker] ?? 0) + 1]]);
  const isHeld = (holder: string | undefined): holder is string =>
    holder !== undefined && workers[holder] !== undefined;
  const held = new Map(Object.entries(table.shards).filter(([, holder]) => isHeld(holder)));
  const share = shareOf(worker, { workers: Object.keys(workers), shards: shards.length });
  const before = shards.filter((shard) => held.get(shard) === worker);
  const kept = before.slice(0, share);
  for (const shard of before.slice(share)) if (!running.has(shard)) held.delete(shard);
  const free = shards.filter((shard) => !held.has(shard) && !before.includes(shard));
  const taken = free.slice(0, share - kept.length);
  for (const shard of taken) held.set(shard, worker);
  const mine = new Set([...kept, ...taken]);
  return {
    table: { workers, shards: Object.fromEntries(held) },
    mine: shards.filter((shard) => mine.has(shard)),
  };
}

/** The table after a worker has left in order. */
export function withoutWorker(table: LeaseTable, worker: string): LeaseTable {
  const others = <T>(entries: readonly (readonly [string, T])[]) => Object.fromEntries(entries);
  return {
    workers: others(Object.entries(table.workers).filter(([name]) => name !== worker)),
    shards: others(Object.entries(table.shards).filter(([, holder]) => holder !== worker)),
  };
}

export function encodeLeases(table: LeaseTable): string {
  return JSON.stringify(table);
}

/** The table that a text holds; an empty one when it is none: nothing depends on it. */
export function parseLeases(text: string | undefined): LeaseTable {
  let value: unknown;
  try {
    value = JSON.parse(text ?? "");
  } catch {
    return NO_LEASES; // made anew by the next look
  }
  if (typeof value !== "object" || value === null) return NO_LEASES;
  const { workers, shards }: { workers?: unknown; shards?: unknown } = value;
  return {
    workers: entriesOf(workers, (each) => typeof each === "number"),
    shards: entriesOf(shards, (each) => typeof each === "string"),
  };
}

/** As many as all have, and one more for the first by name while some are left over. */
function shareOf(
  worker: string,
  { workers, shards }: { readonly workers: readonly string[]; readonly shards: number },
): number {
  const rank = workers.toSorted().indexOf(worker);
  return Math.floor(shards / workers.length) + (rank < shards % workers.length ? 1 : 0);
}

function entriesOf<T>(
  value: unknown,
  isKind: (each: unknown) => each is T,
): Readonly<Record<string, T>> {
  if (typeof value !== "object" || value === null) return {};
  const kept = Object.entries(value).flatMap(([name, each]) =>
    isKind(each) ? [[name, each] as const] : []
  );
  return Object.fromEntries(kept);
}
