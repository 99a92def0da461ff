/**
 * The executors of the service, over the same databases and one account of what each principal has used: pages, which people
 * wait for; streams, which last as long as their clients read; what tails and subscriptions catch up with; and turns for
 * people's SQL, which has processes of its own.
 *
 * Invariant: none of them can take all places of another, and of each some are free of any one principal.
 */
import type { Clock } from "../runtime/clock.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Database } from "../storage/duckdb.ts";
import { createBudgets } from "./budgets.ts";
import { type ConnectionPool, createConnectionPool, type PoolLimits } from "./connection-pool.ts";
import type { DataFiles } from "./data-files.ts";
import { createExecutor, type Executor } from "./executor.ts";
import { createTurns, type Turns } from "./turns.ts";

export interface Executors extends AsyncDisposable {
  readonly pages: Executor;
  readonly streams: Executor;
  readonly backlogs: Executor;
  /** Of processes for people's SQL. */
  readonly sql: Turns;
}

export interface ExecutorsOptions {
  readonly database: Database;
  /** Of one thread, for steps that say that it is enough for them. */
  readonly narrow: Database;
  readonly files: DataFiles;
  readonly scratchDirectory: string;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Instead of {@link POOL_LIMITS}. */
  readonly limits?: Partial<Record<keyof typeof POOL_LIMITS, PoolLimits>>;
}

export const POOL_LIMITS = {
  pages: { size: 4, share: 2, waitingMax: 64, guaranteedMs: 10_000 },
  streams: { size: 16, share: 8, waitingMax: 64, guaranteedMs: 300_000 },
  backlogs: { size: 3, share: 2, waitingMax: 1_024, guaranteedMs: 30_000 },
  sql: { size: 3, share: 2, waitingMax: 64, guaranteedMs: 10_000 },
} as const satisfies Record<string, PoolLimits>;

export function openExecutors(options: ExecutorsOptions): Executors {
  const { database, narrow, files, scratchDirectory, metrics, clock } = options;
  const elapsedMs = () => clock.elapsedMs();
  const budgets = createBudgets({ elapsedMs });
  const pools = new Map<string, ConnectionPool>();
  const relieve = (principal: string) =>
    [...pools.values()].some((each) => each.relieve(principal));

  const executorOf = (name: Exclude<keyof typeof POOL_LIMITS, "sql">): Executor => {
    const limits = options.limits?.[name] ?? POOL_LIMITS[name];
    const pool = createConnectionPool({ database, narrow, budgets, elapsedMs, ...limits });
    pools.set(name, pool);
    return createExecutor({ pool, files, scratchDirectory, relieve, clock });
  };
  const sql = createTurns({ budgets, elapsedMs, ...options.limits?.sql ?? POOL_LIMITS.sql });
  const executors = {
    sql,
    pages: executorOf("pages"),
    streams: executorOf("streams"),
    backlogs: executorOf("backlogs"),
  };
  const loads = (of: "running" | "waiting") =>
    [...pools, ["sql", sql] as const].map(([pool, { load }]) => [{ pool }, load[of]] as const);
  const labels = ["pool"];
  metrics.observedEach(
    "probity_queries_running",
    { help: "Queries that hold a connection, or a process for SQL.", labels },
    () => loads("running"),
  );
  metrics.observedEach(
    "probity_queries_waiting",
    { help: "Queries that wait for a connection.", labels },
    () => loads("waiting"),
  );
  return {
    ...executors,
    async [Symbol.asyncDispose]() {
      await Promise.all([...pools.values()].map((each) => each[Symbol.asyncDispose]()));
    },
  };
}
