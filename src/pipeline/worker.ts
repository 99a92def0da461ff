/**
 * A worker: rolls up its share of the shards, as many workers as there may be. Shards are handed on when workers come,
 * leave or die.
 *
 * Invariant: one writer per shard is what leases aim at, and what the conditional commit makes sure of.
 */
import { LEASE_BUCKET } from "../event/wire.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { ensureBucket } from "../runtime/nats.ts";
import { outcomeOf } from "../runtime/outcome.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import { createLeaseKeeper, type LeaseKeeper } from "./lease-keeper.ts";
import { openRollup, type RollupOptions } from "./rollup.ts";
import { openRollupParts, type RollupParts } from "./rollup-parts.ts";

export interface WorkerOptions extends Omit<RollupOptions, "shard" | "parts" | "producer"> {
  /** All shards of the log. */
  readonly shards: readonly string[];
  /** A worker that shows no life for so long loses its shards to others; 6 s by default, at least 1 s. */
  readonly leaseMs?: number;
}

export interface Worker extends AsyncDisposable {
  /** Its name among the workers. */
  readonly name: string;
  /** Shards that it serves now. */
  shards(): readonly string[];
  /**
   * Serves its share until the signal is aborted; gives it up then, and resolves. Rejects when a shard needs a person
   * (StreamMismatchError).
   */
  run(signal: AbortSignal): Promise<void>;
}

export const DEFAULT_LEASE_MS = 6_000;
const LEASE_MS_LEAST = 1_000;
/** How long a worker that ends waits for the broker to know. */
const LEAVE_LIMIT_MS = 2_000;
/** Looks at the leases within the time after which a worker is dead. */
const LOOKS_PER_LEASE = 6;

/** Opens what the worker needs; it takes no shard before it runs. Rejects as {@link openRollupParts} does. */
export async function openWorker(options: WorkerOptions): Promise<Worker> {
  const { shards, clock = systemClock, log, leaseMs = DEFAULT_LEASE_MS } = options;
  if (leaseMs < LEASE_MS_LEAST) {
    throw new RangeError(`Cannot lease shards for ${leaseMs} ms: less than ${LEASE_MS_LEAST} ms`);
  }
  await using stack = new AsyncDisposableStack();
  const parts = stack.use(await openRollupParts({ ...options, name: "probity rollup" }));
  const openBucket = () => ensureBucket(parts.connection, LEASE_BUCKET);
  const keeper = stack.use(createLeaseKeeper({ openBucket, shards, clock, leaseMs }));
  const resources = stack.move();
  const serving = new Map<string, Serving>();
  return {
    name: keeper.worker,
    shards: () => shards.filter((shard) => serving.has(shard)),
    async run(signal) {
      try {
        await serve({ options, parts, keeper, serving, clock, log, leaseMs }, signal);
      } finally {
        for (const { stop } of serving.values()) stop.abort();
        await Promise.allSettled([...serving.values()].map(({ ended }) => ended));
        serving.clear();
        // Others notice our silence if the broker is away.
        const limit = timeLimit(LEAVE_LIMIT_MS);
        const left = await outcomeOf(keeper.leave(), limit);
        if (left instanceof Error) log.warn("not left in order", { error: String(left) });
      }
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

interface Serving {
  readonly stop: AbortController;
  /** Settles once the shard is served no more. */
  readonly ended: Promise<void>;
}

interface WorkerContext {
  readonly options: WorkerOptions;
  readonly parts: RollupParts;
  readonly keeper: LeaseKeeper;
  readonly serving: Map<string, Serving>;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
}

async function serve(context: WorkerContext, signal: AbortSignal): Promise<void> {
  const { keeper, serving, clock, log, leaseMs } = context;
  const failed = Promise.withResolvers<never>();
  // Whoever waits for it hears of it; nobody else needs to.
  void Promise.allSettled([failed.promise]);
  while (!signal.aborted) {
    const look = await outcomeOf(keeper.look(new Set(serving.keys())), signal);
    if (signal.aborted) return;
    if (look instanceof Error) {
      // Whoever serves a shard goes on: the log is as far away as the leases are.
      log.warn("the leases are not looked at", { error: String(look) });
    } else {
      const mine = new Set(look);
      for (const [shard, { stop }] of serving) if (!mine.has(shard)) stop.abort();
      for (const shard of mine) {
        if (!serving.has(shard)) start(context, { shard, onFailure: failed.reject });
      }
    }
    const pause = clock.sleep(leaseMs / LOOKS_PER_LEASE, signal);
    await Promise.race([Promise.allSettled([pause]), failed.promise]);
  }
}

/** Serves a shard in the background until it is stopped. */
function start(
  { options, parts, serving, log }: WorkerContext,
  { shard, onFailure }: { readonly shard: string; readonly onFailure: (error: unknown) => void },
): void {
  const stop = new AbortController();
  const work = async (): Promise<void> => {
    await using rollup = await openRollup({ ...options, shard, parts });
    log.info("serving shard", { shard });
    await rollup.run(stop.signal);
    log.info("gave up shard", { shard });
  };
  const ended = work().catch(onFailure).finally(() => serving.delete(shard));
  serving.set(shard, { stop, ended });
}
