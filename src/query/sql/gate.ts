/**
 * The gate for people's SQL: looks at the syntax tree of a statement and lets it pass only when everything in it is on
 * a list. Tables are the views of events, common table expressions in scope, and a few functions of their arguments.
 *
 * Invariants: the vocabulary is closed, so what DuckDB may add is refused until it is known here. What passes is what
 * runs: the statement is written anew from the very tree that was looked at, not from the text that was sent.
 */
import type { SqlValue } from "../../storage/duckdb.ts";
import { ProblemError } from "../problem.ts";
import { boundOf } from "./bounds.ts";
import { EXPRESSION_FUNCTIONS, TABLE_FUNCTIONS } from "./functions.ts";
import { nearestName } from "./nearest-name.ts";

/** Longest statement, in characters. */
export const SQL_LENGTH_MAX = 65_536;

export const SQL_FORM = "exactly one SELECT over events and its views, such as process_exec";

/** Expressions within each other; DuckDB takes 21 s, which nothing interrupts, to bind a sum of 900 numbers. */
const DEPTH_MAX = 150;
/** Subqueries within each other in expressions; 25 take 15 s to bind. */
const SUBQUERY_DEPTH_MAX = 8;

export interface GateOptions {
  /** Names of the tables that may be read, in lower case. */
  readonly tables: ReadonlySet<string>;
  /** Values of the statement's parameters. */
  readonly values?: ReadonlyMap<string, SqlValue>;
}

export interface PassedStatement {
  /** Tables that it reads, of those that may be read, in lower case. */
  readonly tables: ReadonlySet<string>;
  /** Names of its parameters (`$name`, or numbers as text), in order of appearance and without repeats. */
  readonly parameters: readonly string[];
}

/** Checks a tree as DuckDB's `json_serialize_sql` gives it. Throws {@link ProblemError} 422. */
export function passGate(
  tree: unknown,
  { tables, values = new Map() }: GateOptions,
): PassedStatement {
  if (!isRecord(tree)) throw refusal("it could not be parsed");
  if (tree["error"] !== false) throw refusalOf(tree);
  const statements = tree["statements"];
  if (!Array.isArray(statements)) throw refusal("it could not be parsed");
  if (statements.length !== 1) {
    throw refusal(`it has ${statements.length} statements`);
  }
  const walk: Walk = {
    depth: 0,
    subqueries: 0,
    allowed: tables,
    values,
    read: new Set(),
    parameters: new Set(),
  };
  const statement: unknown = statements[0];
  if (!isRecord(statement)) throw refusal("it could not be parsed");
  visit(statement["node"], new Set(), walk);
  return { tables: walk.read, parameters: [...walk.parameters] };
}

/** The parameter's name in the tree's text; no text within quotes can look like it, since its quotes are escaped. */
const PARAMETER =
  /("class":"PARAMETER","type":"VALUE_PARAMETER","alias":"(?:[^"\\]|\\.)*","query_location":[0-9]+,"identifier":)"((?:[^"\\]|\\.)*)"/g;

/** The tree's text with its parameters called by other names, all else untouched to the last digit. */
export function renameParameters(treeText: string, names: ReadonlyMap<string, string>): string {
  return treeText.replaceAll(PARAMETER, (_whole, before: string, quoted: string) => {
    const name = names.get(String(JSON.parse(`"${quoted}"`)));
    if (name === undefined) throw refusal(`it uses the parameter "${quoted}", which has no value`);
    return `${before}${JSON.stringify(name)}`;
  });
}

interface Walk {
  depth: number;
  subqueries: number;
  readonly allowed: ReadonlySet<string>;
  readonly values: ReadonlyMap<string, SqlValue>;
  readonly read: Set<string>;
  readonly parameters: Set<string>;
}

/** Names of common table expressions that a part of the statement can see. */
type Scope = ReadonlySet<string>;

const EXPRESSION_CLASSES = new Set([
  "BETWEEN",
  "CASE",
  "CAST",
  "COLLATE",
  "COLUMN_REF",
  "COMPARISON",
  "CONJUNCTION",
  "CONSTANT",
  "FUNCTION",
  "LAMBDA",
  "LAMBDA_REF",
  "OPERATOR",
  "PARAMETER",
  "POSITIONAL_REFERENCE",
  "STAR",
  "SUBQUERY",
  "WINDOW",
]);

/** Parts that are no expressions and need no rule of their own. */
const PLAIN_TYPES = new Set([
  "SELECT_NODE",
  "SET_OPERATION_NODE",
  "CTE_NODE",
  "EMPTY",
  "EXPRESSION_LIST",
  "JOIN",
  "SUBQUERY",
  "ORDER_MODIFIER",
  "LIMIT_MODIFIER",
  "LIMIT_PERCENT_MODIFIER",
  "DISTINCT_MODIFIER",
  "ASCENDING",
  "DESCENDING",
  "ORDER_DEFAULT",
  "ARRAY_TYPE_INFO",
  "DECIMAL_TYPE_INFO",
  "LIST_TYPE_INFO",
  "STRING_TYPE_INFO",
  "STRUCT_TYPE_INFO",
  "UNBOUND_TYPE_INFO",
]);

function visit(part: unknown, scope: Scope, walk: Walk): void {
  if (Array.isArray(part)) {
    for (const each of part) visit(each, scope, walk);
    return;
  }
  if (!isRecord(part)) return;
  const inner = visitCommonTables(part, scope, walk);
  if (typeof part["class"] === "string") visitExpression(part, walk);
  else if (typeof part["type"] === "string") {
    if (part["type"] === "BASE_TABLE") return visitTable(part, inner, walk);
    if (part["type"] === "TABLE_FUNCTION") return visitTableFunction(part, inner, walk);
    if (part["type"] === "RECURSIVE_CTE_NODE") return visitRecursion(part, inner, walk);
    if (!PLAIN_TYPES.has(part["type"])) throw refusal(`it uses ${wordsOf(part["type"])}`);
  }
  const isExpression = typeof part["class"] === "string";
  const isSubquery = part["class"] === "SUBQUERY";
  walk.depth += isExpression ? 1 : 0;
  walk.subqueries += isSubquery ? 1 : 0;
  if (walk.depth > DEPTH_MAX || walk.subqueries > SUBQUERY_DEPTH_MAX) {
    throw refusal("it is nested too deeply");
  }
  for (const [name, each] of Object.entries(part)) {
    if (name !== "cte_map") visit(each, inner, walk);
  }
  walk.depth -= isExpression ? 1 : 0;
  walk.subqueries -= isSubquery ? 1 : 0;
}

/** The scope with the common table expressions of a node: each sees those before it, and never itself. */
function visitCommonTables(node: Fields, scope: Scope, walk: Walk): Scope {
  const tables = node["cte_map"];
  const entries = isRecord(tables) ? tables["map"] : undefined;
  if (!Array.isArray(entries) || entries.length === 0) return scope;
  const inner = new Set(scope);
  for (const entry of entries) {
    if (!isRecord(entry) || typeof entry["key"] !== "string") throw refusal("it could not be read");
    visit(entry["value"], new Set(inner), walk);
    inner.add(entry["key"].toLowerCase());
  }
  return inner;
}

/** The second half of a recursion sees what it makes; the first does not. */
function visitRecursion(node: Fields, scope: Scope, walk: Walk): void {
  const { cte_name: name, left, right, cte_map: _tables, ...others } = node;
  if (typeof name !== "string") throw refusal("it could not be read");
  visit(left, scope, walk);
  visit(right, new Set([...scope, name.toLowerCase()]), walk);
  for (const each of Object.values(others)) visit(each, scope, walk);
}

function visitTable(table: Fields, scope: Scope, walk: Walk): void {
  const { table_name, schema_name, catalog_name, at_clause, sample } = table;
  const name = String(table_name).toLowerCase();
  if (schema_name !== "" || catalog_name !== "") {
    throw refusal(`it names the table "${table_name}" with a schema or catalog`);
  }
  if (at_clause !== null && at_clause !== undefined) throw refusal("it uses AT");
  visit(sample, scope, walk);
  if (scope.has(name)) return;
  if (!walk.allowed.has(name)) {
    const why = `it reads "${table_name}", which is not a view of events`;
    throw refusal(why + meantBy(name, walk.allowed));
  }
  walk.read.add(name);
}

function visitTableFunction(table: Fields, scope: Scope, walk: Walk): void {
  const call = table["function"];
  if (!isRecord(call)) throw refusal("it could not be read");
  requireFunction(call, TABLE_FUNCTIONS);
  const { function: _call, ...others } = table;
  for (const each of Object.values(others)) visit(each, scope, walk);
  for (const each of Object.values(call)) visit(each, scope, walk);
}

function visitExpression(expression: Fields, walk: Walk): void {
  const kind = String(expression["class"]);
  if (!EXPRESSION_CLASSES.has(kind)) throw refusal(`it uses ${wordsOf(kind)}`);
  if (kind === "FUNCTION" || kind === "WINDOW") requireFunction(expression, EXPRESSION_FUNCTIONS);
  const fault = kind === "FUNCTION" ? boundOf(expression, walk.values) : undefined;
  if (fault !== undefined) throw refusal(fault);
  if (kind === "PARAMETER") walk.parameters.add(String(expression["identifier"]));
}

function requireFunction(call: Fields, functions: ReadonlySet<string>): void {
  const { function_name: name, schema, catalog } = call;
  const isBare = (schema ?? "") === "" || schema === "main";
  if (typeof name !== "string" || !isBare || (catalog ?? "") !== "") {
    throw refusal("it calls a function with a schema or catalog");
  }
  if (!functions.has(name.toLowerCase())) {
    const why = `it calls ${JSON.stringify(name)}, which is not allowed here`;
    throw refusal(why + meantBy(name, functions));
  }
}

/** What DuckDB says of a text that is no SELECT, or no SQL. */
function refusalOf(tree: Fields): ProblemError {
  if (tree["error_type"] !== "parser") return refusal("it is not a SELECT");
  const message = String(tree["error_message"]).split("\n")[0];
  const position = Number(tree["position"]);
  return refusal(`${message}${Number.isNaN(position) ? "" : ` at character ${position + 1}`}`);
}

function meantBy(name: string, known: Iterable<string>): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "" : `; did you mean "${nearest}"?`;
}

function refusal(why: string): ProblemError {
  return new ProblemError(422, `The statement cannot be run: ${why}`, {
    parameter: "sql",
    accepted: SQL_FORM,
  });
}

function wordsOf(type: string): string {
  return type.replaceAll("_", " ");
}

type Fields = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
