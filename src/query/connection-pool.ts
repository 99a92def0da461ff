/**
 * Connections for queries: a bounded number, each used by one query at a time, and a bounded number of queries that
 * wait for one. More are refused at once rather than queued for ever.
 */
import type { Connection, Database } from "../storage/duckdb.ts";
import { ProblemError } from "./problem.ts";

/** Queries that run at the same time. */
export const QUERIES_MAX = 3;
/** Queries that wait for their turn. */
export const WAITING_MAX = 64;
/** What a client that was refused is told to wait, in seconds. */
const RETRY_AFTER_SECONDS = 2;

export interface ConnectionLease extends Disposable {
  readonly connection: Connection;
}

export interface ConnectionPool extends AsyncDisposable {
  /** A connection of one's own until it is disposed of. Throws {@link ProblemError} 503 when too many wait. */
  acquire(signal: AbortSignal): Promise<ConnectionLease>;
  /** Queries that run and that wait. */
  readonly load: { readonly running: number; readonly waiting: number };
}

export interface PoolOptions {
  readonly database: Database;
  readonly size?: number;
  readonly waitingMax?: number;
}

export function createConnectionPool(options: PoolOptions): ConnectionPool {
  const { database, size = QUERIES_MAX, waitingMax = WAITING_MAX } = options;
  const idle: Connection[] = [];
  const all = new Set<Connection>();
  const waiting = new Set<() => void>();
  let running = 0;
  let isClosed = false;

  const release = (connection: Connection): void => {
    idle.push(connection);
    running -= 1;
    const [next] = waiting;
    next?.();
  };
  const lend = async (): Promise<ConnectionLease> => {
    running += 1;
    const connection = idle.pop() ?? await database.connect().catch((error: unknown) => {
      running -= 1;
      throw error;
    });
    all.add(connection);
    let isReturned = false;
    return {
      connection,
      [Symbol.dispose]() {
        if (!isReturned) release(connection);
        isReturned = true;
      },
    };
  };
  return {
    get load() {
      return { running, waiting: waiting.size };
    },
    async acquire(signal) {
      signal.throwIfAborted();
      if (isClosed) throw new ProblemError(503, "The service is stopping");
      if (running >= size && waiting.size >= waitingMax) {
        throw new ProblemError(503, `More than ${waitingMax} queries are waiting already`, {
          headers: { "Retry-After": String(RETRY_AFTER_SECONDS) },
        });
      }
      while (running >= size) await turn(waiting, signal);
      return await lend();
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await Promise.all([...all].map((each) => each[Symbol.asyncDispose]()));
    },
  };
}

/** Resolves when it is this one's turn; rejects when the signal is aborted first. */
function turn(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      waiting.delete(enter);
      signal.removeEventListener("abort", abort);
    };
    const enter = (): void => {
      leave();
      resolve();
    };
    const abort = (): void => {
      leave();
      reject(signal.reason);
    };
    waiting.add(enter);
    signal.addEventListener("abort", abort);
  });
}
