/**
 * Runs plans: brings each step's files to hand, lends a connection, and turns what DuckDB refuses into problems.
 *
 * Invariant: a query that ends, fails, or is left gives back its connection and its files.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { SqlError, type SqlResult, type SqlValue } from "../storage/duckdb.ts";
import { literalOf } from "../storage/sql-text.ts";
import type { DataFile } from "../storage/table.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import type { DataFiles } from "./data-files.ts";
import type { Step } from "./planner.ts";
import { FILES, type Statement } from "./planner/binder.ts";
import { ProblemError } from "./problem.ts";

/** What was read for an answer. */
export interface Scan {
  readonly files: number;
  readonly bytes: number;
}

export interface Executor {
  /** Texts of the statements' only column, step after step, at most `limit` of them in all. */
  texts(steps: readonly Step[], options: RunOptions & { readonly limit?: number }): TextStream;
  /** Rows of one statement. */
  rows(step: Step, options: RunOptions): Promise<SqlResult>;
  /** A Parquet file with a step's rows; the caller removes it. */
  parquet(
    step: Step,
    options: RunOptions,
  ): Promise<{ readonly path: string; readonly rows: number }>;
}

export interface RunOptions {
  readonly signal: AbortSignal;
}

export interface TextStream extends AsyncIterable<readonly string[]> {
  /** What has been read so far. */
  scanned(): Scan;
}

export interface ExecutorOptions {
  readonly pool: ConnectionPool;
  readonly files: DataFiles;
  /** Where Parquet answers are written. */
  readonly scratchDirectory: string;
}

export function createExecutor({ pool, files, scratchDirectory }: ExecutorOptions): Executor {
  let answers = 0;

  const streamStep = async function* (
    { files: wanted, statement }: Step,
    signal: AbortSignal,
  ): AsyncGenerator<readonly string[]> {
    using held = await files.hold(wanted, signal);
    using lease = await pool.acquire(signal);
    const parameters = parametersOf(statement, held.paths);
    yield* lease.connection.streamText(statement.sql, { parameters, signal });
  };
  return {
    texts(steps, { signal, limit = Infinity }) {
      const scanned = new Set<DataFile>();
      const read = async function* (): AsyncGenerator<readonly string[]> {
        let remaining = limit;
        for (const step of steps) {
          if (remaining <= 0) return;
          for (const file of step.files) scanned.add(file);
          for await (const texts of withProblems(streamStep(step, signal))) {
            if (texts.length >= remaining) {
              yield texts.slice(0, remaining);
              return;
            }
            remaining -= texts.length;
            yield texts;
          }
        }
      };
      return { [Symbol.asyncIterator]: read, scanned: () => scanOf(scanned) };
    },
    async rows({ files: wanted, statement }, { signal }) {
      try {
        using held = await files.hold(wanted, signal);
        using lease = await pool.acquire(signal);
        const parameters = parametersOf(statement, held.paths);
        return await lease.connection.query(statement.sql, { parameters, signal });
      } catch (error) {
        throw problemOfQuery(error);
      }
    },
    async parquet({ files: wanted, statement }, { signal }) {
      const path = join(scratchDirectory, `answer-${++answers}.parquet`);
      try {
        using held = await files.hold(wanted, signal);
        using lease = await pool.acquire(signal);
        const parameters = parametersOf(statement, held.paths);
        const sql = `COPY (${statement.sql}) TO ${literalOf(path)} (FORMAT parquet, CODEC zstd)`;
        const rows = await lease.connection.run(sql, { parameters, signal });
        return { path, rows };
      } catch (error) {
        await rm(path, { force: true });
        throw problemOfQuery(error);
      }
    },
  };
}

export function scanOf(files: Iterable<DataFile>): Scan {
  let count = 0;
  let bytes = 0;
  for (const { sizeBytes } of files) {
    count += 1;
    bytes += sizeBytes;
  }
  return { files: count, bytes };
}

function parametersOf({ parameters }: Statement, paths: readonly string[]): SqlValue[] {
  return parameters.map((each) => each === FILES ? JSON.stringify(paths) : each);
}

async function* withProblems<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* items;
  } catch (error) {
    throw problemOfQuery(error);
  }
}

/** Longest time of a query whose answer is made before it is sent, in milliseconds. */
export const QUERY_LIMIT_MS = 60_000;

/** Ends work that takes too long, as a problem. */
export async function withinTime<T>(
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  limitMs: number = QUERY_LIMIT_MS,
): Promise<T> {
  const limit = AbortSignal.timeout(limitMs);
  try {
    return await work(AbortSignal.any([signal, limit]));
  } catch (error) {
    if (!limit.aborted || signal.aborted) throw error;
    throw new ProblemError(422, `The query took longer than ${limitMs / 1000} s`, {
      accepted: "a shorter range of time, or more filters",
      cause: error,
    });
  }
}

/** An error of DuckDB as a problem that says nothing of the inside; any other error as it is. */
export function problemOfQuery(error: unknown): unknown {
  if (!(error instanceof SqlError)) return error;
  if (error.kind === "Out of Memory") {
    return new ProblemError(422, "The query needs more memory than a query may use", {
      accepted: "a shorter range of time, more filters, or less to sort and group",
      cause: error,
    });
  }
  if (error.kind === "IO" || error.kind === "HTTP") {
    return new ProblemError(503, "A part of the archive cannot be read", { cause: error });
  }
  return error;
}
