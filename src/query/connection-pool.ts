/**
 * Connections for queries: a bounded number, each used by one query at a time. Who gets one, and who must give one back,
 * is decided by {@link createTurns}.
 */
import type { Connection, Database } from "../storage/duckdb.ts";
import type { Budgets } from "./budgets.ts";
import type { Principal } from "./principal.ts";
import { ProblemError } from "./problem.ts";
import { createTurns } from "./turns.ts";

/** Connections, those of one principal at most, and the queries that wait for one. */
export interface PoolLimits {
  readonly size: number;
  readonly share: number;
  readonly waitingMax: number;
  /** A query is not ended for another principal's that waits sooner than this, in milliseconds. */
  readonly guaranteedMs: number;
}

/** What a query needs: the hot rows and all threads, or one thread and nothing but data files. */
export type Width = "whole" | "narrow";

/** For whom, and until when, a connection is wanted. */
export interface Asker {
  readonly principal: Pick<Principal, "name">;
  readonly signal: AbortSignal;
}

export interface ConnectionLease extends Disposable {
  readonly connection: Connection;
  /** Aborted when the connection has to be given back for another principal's query. */
  readonly lost: AbortSignal;
}

export interface ConnectionPool extends AsyncDisposable {
  /**
   * A connection of one's own until it is disposed of, to the whole database unless told. Throws {@link ProblemError}
   * 429 or 503 when too many wait.
   */
  acquire(asker: Asker, width?: Width): Promise<ConnectionLease>;
  /** Ends a query of the principal that has used the most, if that is more than the named one; tells whether one ends. */
  relieve(principal: string): boolean;
  /** Queries that run and that wait. */
  readonly load: { readonly running: number; readonly waiting: number };
}

export interface PoolOptions extends PoolLimits {
  readonly database: Database;
  readonly narrow: Database;
  readonly budgets: Budgets;
  readonly elapsedMs: () => number;
}

export function createConnectionPool(options: PoolOptions): ConnectionPool {
  const databases = { whole: options.database, narrow: options.narrow };
  const turns = createTurns(options);
  const idle: Record<Width, Connection[]> = { whole: [], narrow: [] };
  const all = new Set<Connection>();
  let isClosed = false;

  return {
    get load() {
      return turns.load;
    },
    relieve: turns.relieve,
    async acquire({ principal, signal }, width = "whole") {
      if (isClosed) throw new ProblemError(503, "The service is stopping");
      const turn = await turns.take(principal.name, signal);
      let connection: Connection;
      try {
        connection = idle[width].pop() ?? await databases[width].connect();
      } catch (error) {
        turn[Symbol.dispose]();
        throw error;
      }
      all.add(connection);
      let isReturned = false;
      return {
        connection,
        lost: turn.lost,
        [Symbol.dispose]() {
          if (isReturned) return;
          isReturned = true;
          idle[width].push(connection);
          turn[Symbol.dispose]();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await Promise.all([...all].map((each) => each[Symbol.asyncDispose]()));
    },
  };
}
