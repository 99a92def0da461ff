/**
 * What the service and a process that runs people's SQL say to each other: one JSON object per line; behind an answer
 * that has `bytes`, as many bytes of its body. One request is answered before the next is sent; `cancel` alone may come
 * in between, and has no answer of its own.
 */
import { SqlError, type SqlValue } from "../../../storage/duckdb.ts";
import { ProblemError } from "../../problem.ts";

export type SqlFormat = "json" | "ndjson" | "csv" | "parquet";

/** SQL with `$1`, `$2` …, and their values. */
export interface BoundSql {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
}

export interface AnswerBounds {
  readonly rowsMax: number;
  readonly bytesMax: number;
}

/** What an engine is told when it starts, in its first line. */
export interface EngineSettings {
  readonly memoryLimitBytes: number;
  readonly tempLimitBytes: number;
  readonly threads: number;
  /** Of this engine alone; it spills there and writes Parquet. */
  readonly directory: string;
  /** Folders whose files may be read. */
  readonly readable: readonly string[];
}

export type EngineRequest =
  /** The syntax tree of a text, which is not run. */
  | { readonly do: "parse"; readonly sql: string }
  /** A syntax tree as SQL. */
  | { readonly do: "write"; readonly tree: string }
  /** What DuckDB would ask of each read of the stand-in, and of which file it stands in. */
  | { readonly do: "explain" } & BoundSql
  /** The answer; as of the same moment as the `explain` before it, if it is explained. */
  | {
    readonly do: "answer";
    readonly isExplained: boolean;
    readonly format: SqlFormat;
    readonly bounds: AnswerBounds;
  } & BoundSql
  | { readonly do: "cancel" };

export interface EngineReply {
  readonly text?: string;
  /** Filters of each read. */
  readonly scans?: readonly string[];
  readonly rows?: number;
  readonly isTruncated?: boolean;
  /** Length of the body behind this line. */
  readonly bytes?: number;
  /** Of the file with the answer, which is the reader's to remove. */
  readonly path?: string;
  readonly error?: EngineFault;
}

export type EngineFault =
  | { readonly is: "sql"; readonly kind: string; readonly message: string }
  /** The statement's own fault, 422. */
  | { readonly is: "refused"; readonly detail: string; readonly accepted: string }
  | { readonly is: "cancelled" }
  | { readonly is: "other"; readonly message: string };

export function faultOf(error: unknown): EngineFault {
  if (error instanceof SqlError) {
    return { is: "sql", kind: error.kind, message: error.message };
  }
  if (error instanceof ProblemError) {
    const { detail, accepted = "" } = error.problem;
    return { is: "refused", detail, accepted };
  }
  if (error instanceof DOMException && error.name === "AbortError") return { is: "cancelled" };
  return { is: "other", message: String(error) };
}

export function errorOf(fault: EngineFault): Error {
  switch (fault.is) {
    case "sql":
      return new SqlError(fault.kind, fault.message);
    case "refused":
      return new ProblemError(422, fault.detail, { parameter: "sql", accepted: fault.accepted });
    case "cancelled":
      return new DOMException("The statement was cancelled", "AbortError");
    case "other":
      return new Error(`Cannot run a statement: ${fault.message}`);
  }
}

/** JSON has no integers beyond 2^53. */
export function encode(value: unknown): string {
  return JSON.stringify(
    value,
    (_name, each: unknown) => typeof each === "bigint" ? { integer: String(each) } : each,
  );
}

export function decode(line: string): unknown {
  return JSON.parse(line, (_name, each: unknown) => {
    const isInteger = typeof each === "object" && each !== null && "integer" in each &&
      Object.keys(each).length === 1;
    return isInteger ? BigInt(String(each.integer)) : each;
  });
}
