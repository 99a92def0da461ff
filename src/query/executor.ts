/**
 * Runs plans: brings each step's files to hand, lends a connection, and turns what DuckDB refuses into problems.
 *
 * Invariant: a query that ends, fails, is left or has to leave gives back its connection and its files, a stream whose
 * client reads no further too.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../runtime/clock.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import {
  type Connection,
  SqlError,
  type SqlResult,
  type StatementOptions,
} from "../storage/duckdb.ts";
import { literalOf } from "../storage/sql-text.ts";
import type { DataFile } from "../storage/table.ts";
import type { TextBytes } from "../storage/text-bytes.ts";
import type { Asker, ConnectionLease, ConnectionPool } from "./connection-pool.ts";
import type { DataFiles } from "./data-files.ts";
import type { Step } from "./planner.ts";
import { parametersOf } from "./planner/binder.ts";
import { joinJsonParts } from "./planner/rows.ts";
import { ProblemError } from "./problem.ts";

/** What was read for an answer. */
export interface Scan {
  readonly files: number;
  readonly bytes: number;
}

export interface Executor {
  /** Texts of the statements' only column, step after step, at most `limit` of them in all. */
  texts(steps: readonly Step[], options: RunOptions & { readonly limit?: number }): TextStream;
  /**
   * Blobs of the statements' only column, step after step, joined to large pieces. A step that there is no memory for is
   * run in halves, and those after it are as well.
   */
  bytes(steps: readonly Step[], options: RunOptions): AsyncIterable<TextBytes>;
  /** Rows of one statement. */
  rows(step: Step, options: RunOptions): Promise<SqlResult>;
  /** A Parquet file with a step's rows; the caller removes it. */
  parquet(
    step: Step,
    options: RunOptions,
  ): Promise<{ readonly path: string; readonly rows: number }>;
}

/** For whom a plan is run, in whose budget it counts, and until when. */
export type RunOptions = Asker;

export interface TextStream extends AsyncIterable<readonly string[]> {
  /** What has been read so far. */
  scanned(): Scan;
}

export interface ExecutorOptions {
  readonly pool: ConnectionPool;
  readonly files: DataFiles;
  /** Where Parquet answers are written. */
  readonly scratchDirectory: string;
  /** Ends a query of somebody who has used more than this principal; tells whether one ends. */
  readonly relieve: (principal: string) => boolean;
  readonly clock: Pick<Clock, "sleep">;
}

/** How often a query is tried again that had no memory since others had it, and the pause before, in milliseconds. */
const MEMORY_RETRIES = 3;
const MEMORY_PAUSE_MS = 250;

type Stream<T> = (
  connection: Connection,
  sql: string,
  options: StatementOptions,
) => AsyncIterable<T>;

const TEXTS: Stream<readonly string[]> = (connection, sql, options) =>
  connection.streamText(sql, options);
const BYTES: Stream<TextBytes> = (connection, sql, options) => connection.streamBytes(sql, options);

export function createExecutor(options: ExecutorOptions): Executor {
  const { pool, files, scratchDirectory, relieve, clock } = options;
  let answers = 0;

  const streamStep = async function* <T>(
    { files: wanted, statement, width }: Step,
    asker: Asker,
    stream: Stream<T>,
  ): AsyncGenerator<T> {
    using held = await files.hold(wanted, asker.signal);
    using lease = await pool.acquire(asker, width);
    const parameters = parametersOf(statement, held.paths);
    const signal = AbortSignal.any([asker.signal, lease.lost]);
    const pieces = stream(lease.connection, statement.sql, { parameters, signal });
    yield* leftWhenAborted(pieces, { lease, signal });
  };
  /** Runs one step in one go; again, where others who have used more had the memory that it needs. */
  const runStep = async <T>(
    { files: wanted, statement, width }: Step,
    asker: Asker,
    run: (lease: ConnectionLease, statement: StatementOptions) => Promise<T>,
  ): Promise<T> => {
    for (let attempt = 1;; attempt++) {
      try {
        using held = await files.hold(wanted, asker.signal);
        using lease = await pool.acquire(asker, width);
        const parameters = parametersOf(statement, held.paths);
        const signal = AbortSignal.any([asker.signal, lease.lost]);
        return await run(lease, { parameters, signal });
      } catch (error) {
        const hasHope = isOutOfMemory(error) && attempt <= MEMORY_RETRIES &&
          relieve(asker.principal.name);
        if (!hasHope) throw problemOfQuery(error);
        await clock.sleep(MEMORY_PAUSE_MS, asker.signal);
      }
    }
  };
  return {
    texts(steps, { principal, signal, limit = Infinity }) {
      const scanned = new Set<DataFile>();
      const read = async function* (): AsyncGenerator<readonly string[]> {
        let remaining = limit;
        for (const step of steps) {
          if (remaining <= 0) return;
          for (const file of step.files) scanned.add(file);
          const pieces = streamStep(step, { principal, signal }, TEXTS);
          for await (const piece of withProblems(pieces)) {
            const texts = step.isInParts === true ? piece.map(joinJsonParts) : piece;
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
    async *bytes(steps, asker) {
      let halvings = 0;
      const read = async function* (step: Step, halved: number): AsyncGenerator<TextBytes> {
        let halves = halved < halvings ? step.halves?.() ?? [] : [];
        let hasBegun = false;
        try {
          if (halves.length === 0) {
            for await (const piece of streamStep(step, asker, BYTES)) {
              hasBegun = true;
              yield piece;
            }
          }
        } catch (error) {
          if (!hasBegun && isOutOfMemory(error)) halves = step.halves?.() ?? [];
          if (halves.length === 0) throw error;
          halvings = halved + 1;
        }
        for (const half of halves) yield* read(half, halved + 1);
      };
      for (const step of steps) yield* withProblems(read(step, 0));
    },
    rows: (step, asker) =>
      runStep(
        step,
        asker,
        ({ connection }, options) => connection.query(step.statement.sql, options),
      ),
    async parquet(step, asker) {
      const path = join(scratchDirectory, `answer-${++answers}.parquet`);
      const target = `${literalOf(path)} (FORMAT parquet, CODEC zstd)`;
      try {
        const rows = await runStep(
          // The narrow database writes nowhere.
          { ...step, width: "whole" },
          asker,
          ({ connection }, options) =>
            connection.run(`COPY (${step.statement.sql}) TO ${target}`, options),
        );
        return { path, rows };
      } catch (error) {
        await rm(path, { force: true });
        throw error;
      }
    },
  };
}

/**
 * The same pieces. When the signal is aborted while nobody asks for the next, the statement is left at once: who reads a
 * stream no further shall not keep its connection.
 */
async function* leftWhenAborted<T>(
  pieces: AsyncIterable<T>,
  { lease, signal }: { readonly lease: ConnectionLease; readonly signal: AbortSignal },
): AsyncGenerator<T> {
  const iterator = pieces[Symbol.asyncIterator]();
  const leave = async (): Promise<void> => {
    await Promise.allSettled([iterator.return?.()]);
    lease[Symbol.dispose]();
  };
  const onAbort = (): void => void leave();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    while (true) {
      const { done, value } = await iterator.next();
      signal.throwIfAborted();
      if (done === true) return;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    await leave();
  }
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
  const limit = timeLimit(limitMs);
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
  if (isOutOfMemory(error)) {
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

function isOutOfMemory(error: unknown): boolean {
  return error instanceof SqlError && error.kind === "Out of Memory";
}
