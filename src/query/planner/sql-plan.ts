/**
 * The plan of people's SQL: their statement, as the gate passed it, over common table expressions that hold what the
 * principal may see. Those stand before anything else that a name could mean.
 */
import type { SqlValue } from "../../storage/duckdb.ts";
import { identifierOf, listOf, literalOf } from "../../storage/sql-text.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { KindRows } from "../metric/kind-rows.ts";
import { STANDS_FOR } from "../sql/counts.ts";
import { EVENTS, TOPIC_VIEWS } from "../sql/views.ts";
import { type Binder, createBinder, type Statement } from "./binder.ts";
import { scopePredicates } from "./predicate.ts";
import { sourceOf, storedRowsOf } from "./rows.ts";
import { topicView } from "./topic-view.ts";

export interface SqlRequest {
  /** The statement, with its parameters numbered from `$1`. */
  readonly statement: string;
  readonly parameters: readonly SqlValue[];
  /** Tables that it reads. */
  readonly tables: ReadonlySet<string>;
  /** At most this many rows are wanted. */
  readonly limit: number;
}

/** Where the rows of events are. */
export interface SqlSource {
  readonly hasFiles: boolean;
  /** Parquet files with the stored columns, beside those of the table; each list is read as one. */
  readonly others: readonly (readonly string[])[];
}

export function planSql(request: SqlRequest, principal: Principal, source: SqlSource): Statement {
  const binder = createBinder(request.parameters);
  const tables = request.tables.size === 0 ? "" : tablesOf(request.tables, source, {
    ...{ principal, binder },
  });
  return { sql: answerOf(tables, request, binder), parameters: binder.parameters };
}

/**
 * A statement of `countStatementOf` over rows that stand for many events each, and over the source's, each of which
 * stands for itself.
 */
export function planCounts(
  request: SqlRequest,
  principal: Principal,
  { kinds: { columns, rows }, source }: {
    readonly kinds: Pick<KindRows, "columns" | "rows">;
    readonly source: SqlSource;
  },
): Statement {
  const binder = createBinder(request.parameters);
  const names = columns.map(identifierOf);
  const values = columns.map((name, at) => `row ->> ${at} AS ${identifierOf(name)}`);
  const stands = identifierOf(STANDS_FOR);
  const counted = `SELECT ${
    [...values, `(row ->> ${columns.length})::BIGINT AS ${stands}`].join(", ")
  } FROM (SELECT unnest(${binder.text(JSON.stringify(rows))}::JSON[]) AS row)`;
  const [name = EVENTS] = request.tables;
  const hasSource = source.hasFiles || source.others.length > 0;
  const others = hasSource
    ? [
      `${tablesOf(request.tables, source, { principal, binder })}SELECT ${
        [...names, `1::BIGINT AS ${stands}`].join(", ")
      } FROM ${name}`,
    ]
    : [];
  const both = [counted, ...others].map((each) => `(\n${each}\n)`).join(" UNION ALL ");
  const tables = `WITH ${inlined(name, both)}\n`;
  return { sql: answerOf(tables, request, binder), parameters: binder.parameters };
}

function tablesOf(
  tables: ReadonlySet<string>,
  source: SqlSource,
  { principal, binder }: { readonly principal: Principal; readonly binder: Binder },
): string {
  const events = sourceOf({
    hasFiles: source.hasFiles,
    hot: [],
    relations: source.others.map((paths) => `read_parquet(${listOf(paths)})`),
    detail: "json",
    predicates: scopePredicates(principal.scopes, binder),
  }, binder);
  const views = [...tables].filter((name) => name !== EVENTS)
    .map((name) => inlined(name, topicView(topicOf(name))));
  return `WITH ${[inlined(EVENTS, events), ...views].join(",\n")}\n`;
}

function answerOf(tables: string, { statement, limit }: SqlRequest, binder: Binder): string {
  return `${tables}SELECT * FROM (\n${statement}\n) AS answer LIMIT ${binder.integer(limit)}`;
}

/**
 * A file of no rows in the place of all others, to ask DuckDB what it would read. Two relations, since over one it would
 * answer from statistics, or read a row's other columns in a second read without filters; each of two files, since the
 * statistics of one it takes for true.
 */
export function standInSource(path: string): SqlSource {
  const twice = [path, path];
  return { hasFiles: false, others: [twice, twice] };
}

/** Writes the hot rows that a principal may see to a file; undefined when there are none. */
export function planHotRows(
  path: string,
  principal: Principal,
  view: Pick<ReadView, "hot">,
): Statement | undefined {
  if (view.hot.length === 0) return undefined;
  const binder = createBinder();
  const rows = storedRowsOf(view.hot, scopePredicates(principal.scopes, binder), binder);
  const sql = `COPY (${rows}) TO ${literalOf(path)} (FORMAT parquet, CODEC uncompressed)`;
  return { sql, parameters: binder.parameters };
}

/** One row with `tree`: the syntax tree of a text, which is not run. */
export function planParse(text: string): Statement {
  return { sql: "SELECT json_serialize_sql($1::VARCHAR)::VARCHAR AS tree", parameters: [text] };
}

/** One row with `statement`: a syntax tree written as SQL. */
export function planWrite(treeText: string): Statement {
  return { sql: "SELECT json_deserialize_sql($1::JSON) AS statement", parameters: [treeText] };
}

/** Not materialised, so that what a statement asks for reaches the files. */
function inlined(name: string, query: string): string {
  return `${name} AS NOT MATERIALIZED (\n${query}\n)`;
}

function topicOf(view: string): string {
  const topic = TOPIC_VIEWS.get(view);
  if (topic === undefined) throw new RangeError("Cannot plan an unknown view");
  return topic;
}
