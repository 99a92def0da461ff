/** The answer to a statement. Integers beyond 2^53 come as text, so that none is rounded. */
import type { AnswerFacts } from "./request.ts";

export interface SqlColumn {
  readonly name: string;
  /** DuckDB's name of the type. */
  readonly type: string;
}

export type SqlRow = Readonly<Record<string, unknown>>;

export interface SqlResult extends AnswerFacts {
  readonly columns: readonly SqlColumn[];
  readonly rows: readonly SqlRow[];
  /** Whether the service left out rows beyond its limit. */
  readonly isTruncated: boolean;
}

/** Forms of an answer beside the one that is read here. */
export type SqlForm = "ndjson" | "csv" | "parquet";

export interface SqlFile extends AnswerFacts {
  readonly content: Uint8Array<ArrayBuffer>;
  /** Whether the service left out rows beyond its limit. */
  readonly isTruncated: boolean;
}

/** The result in the JSON of an answer. Throws TypeError when it is none. */
export function sqlResult(value: unknown, facts: AnswerFacts): SqlResult {
  const columns = membersOf(value, "columns").filter(isColumn);
  const rows = membersOf(value, "rows").filter(isRow);
  return { ...facts, columns, rows, isTruncated: isRow(value) && value["truncated"] === true };
}

function membersOf(value: unknown, name: string): readonly unknown[] {
  const list = isRow(value) ? value[name] : undefined;
  if (!Array.isArray(list)) throw new TypeError(`Cannot read a result: it has no list of ${name}`);
  return list;
}

function isRow(value: unknown): value is SqlRow {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isColumn(value: unknown): value is SqlColumn {
  return isRow(value) && typeof value["name"] === "string" && typeof value["type"] === "string";
}
