/**
 * The databases that questions are answered in: one for all, with the hot rows and every thread, and one of a single
 * thread for questions that need a few row groups of data files. Two threads share out such a question at a third more
 * processor time than one takes, and DuckDB's number of threads is a whole database's.
 *
 * Invariant: both together have the memory that one is allowed.
 */
import { join } from "node:path";
import { type Database, openDatabase } from "../storage/duckdb.ts";
import { MACRO_STATEMENTS } from "./sql/macros.ts";

export interface QueryDatabases extends AsyncDisposable {
  readonly whole: Database;
  readonly narrow: Database;
}

export interface QueryDatabasesOptions {
  readonly memoryLimitBytes?: number | undefined;
  readonly threads?: number | undefined;
  /** Of both, for what does not fit in memory. */
  readonly spillDirectory: string;
}

export const MEMORY_LIMIT_BYTES = 1024 * 1024 * 1024;
/** Of the memory, the narrow database's, and as much as it needs at most. */
const NARROW_PART = 0.25;
const NARROW_BYTES_MAX = 256 * 1024 * 1024;
/** Bound of what queries spill to disk. */
const SPILL_LIMIT_BYTES = 8 * 1024 * 1024 * 1024;
const THREADS = 2;

export async function openQueryDatabases(options: QueryDatabasesOptions): Promise<QueryDatabases> {
  const { memoryLimitBytes = MEMORY_LIMIT_BYTES, threads = THREADS, spillDirectory } = options;
  const narrowBytes = Math.floor(Math.min(NARROW_BYTES_MAX, memoryLimitBytes * NARROW_PART));
  await using stack = new AsyncDisposableStack();
  const open = async (
    name: string,
    size: { readonly memoryLimitBytes: number; readonly threads: number },
  ) =>
    stack.use(
      await openDatabase({
        ...size,
        tempDirectory: join(spillDirectory, name),
        tempLimitBytes: SPILL_LIMIT_BYTES,
        hasUnchangingFiles: true,
      }),
    );
  const whole = await open("whole", { memoryLimitBytes: memoryLimitBytes - narrowBytes, threads });
  const narrow = await open("narrow", { memoryLimitBytes: narrowBytes, threads: 1 });
  await using connection = await whole.connect();
  await connection.run(MACRO_STATEMENTS);
  const owned = stack.move();
  return { whole, narrow, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
