/**
 * The plan of people's SQL: their statement, as the gate passed it, over common table expressions that hold what the
 * principal may see. Those stand before anything else that a name could mean.
 */
import type { SqlValue } from "../../storage/duckdb.ts";
import type { DataFile } from "../../storage/table.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { EVENTS, TOPIC_VIEWS } from "../sql/views.ts";
import { createBinder, type Statement } from "./binder.ts";
import { scopePredicates } from "./predicate.ts";
import { sourceOf } from "./rows.ts";
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

export interface SqlPlan {
  readonly files: readonly DataFile[];
  readonly statement: Statement;
  readonly prunedFiles: number;
  readonly missing: readonly string[];
}

export function planSql(request: SqlRequest, principal: Principal, view: ReadView): SqlPlan {
  const { statement, parameters, tables, limit } = request;
  const binder = createBinder(parameters);
  const files = tables.size === 0 ? [] : view.files;
  const prefix = tables.size === 0 ? "" : `WITH ${
    [
      inlined(
        EVENTS,
        sourceOf({
          hasFiles: files.length > 0,
          hot: view.hot,
          detail: "json",
          predicates: scopePredicates(principal.scopes, binder),
        }, binder),
      ),
      ...[...tables].filter((name) => name !== EVENTS)
        .map((name) => inlined(name, topicView(topicOf(name)))),
    ].join(",\n")
  }\n`;
  const sql = `${prefix}SELECT * FROM (\n${statement}\n) AS answer LIMIT ${binder.integer(limit)}`;
  return {
    files,
    statement: { sql, parameters: binder.parameters },
    prunedFiles: view.files.length - files.length,
    missing: tables.size === 0 ? [] : view.missing,
  };
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
