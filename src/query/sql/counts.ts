/**
 * Statements that count events by nothing but their topic and host: tallies know those numbers, so that no event has to
 * be read. Decided from the syntax tree, and answered by running the same statement over rows that stand for many events
 * each, `count(*)` being the sum of what they stand for.
 *
 * Invariant: the vocabulary is closed, and each word of it means the same of a row that stands for many events as of
 * each of these. A statement with any other word is run over events.
 */
import { COLUMNS } from "../../event/columns.ts";
import type { KindColumn } from "../metric/kind-rows.ts";
import { viewColumnsOf } from "../planner/topic-view.ts";
import { EVENTS, TOPIC_VIEWS } from "./views.ts";

export interface CountStatement {
  /** The view whose events are counted, in lower case. */
  readonly table: string;
  /** Columns that the statement uses. */
  readonly columns: ReadonlySet<KindColumn>;
  /** The statement's tree over rows with these columns and {@link STANDS_FOR}. */
  readonly tree: string;
}

/** How many events a row stands for; no statement that is taken can name it. */
export const STANDS_FOR = "events it stands for";

/** What `count(*)` is called where it is called nothing else. */
const COUNT_NAME = "count_star()";

/** Longest tree that is looked at, in characters: nobody else is served meanwhile. */
const TREE_LENGTH_MAX = 200_000;

/** The tree's text is DuckDB's, and the gate has passed it. Undefined for a statement that needs more than tallies. */
export function countStatementOf(treeText: string): CountStatement | undefined {
  if (treeText.length > TREE_LENGTH_MAX) return undefined;
  // Places in the text have more digits than JavaScript's numbers, and mean nothing here.
  const plain = treeText.replaceAll(/"query_location":[0-9]+/g, '"query_location":0');
  const tree: unknown = JSON.parse(plain);
  // A number that JavaScript does not have would be another one afterwards.
  if (JSON.stringify(tree) !== plain) return undefined;
  const [statement, ...others] = listOf(fieldsOf(tree)["statements"]);
  const node = fieldsOf(fieldsOf(statement)["node"]);
  const reading = others.length === 0 ? readingOf(node) : undefined;
  if (reading === undefined) return undefined;
  const found: Found = { ...reading, columns: new Set(), counts: 0 };
  const { select_list, modifiers, where_clause, group_expressions, having } = node;
  const selected = listOf(select_list).map(fieldsOf);
  const isTaken = selected.every((each) => isNamed(each) && isCountable(each, found)) &&
    found.counts > 0 &&
    listOf(modifiers).every((each) => isPlainModifier(fieldsOf(each), found)) &&
    [where_clause, having, ...listOf(group_expressions)]
      .every((each) => each === null || isCountable(fieldsOf(each), found));
  if (!isTaken) return undefined;
  const named = selected.map((each) =>
    isCount(each) && each["alias"] === "" ? { ...each, alias: COUNT_NAME } : each
  );
  const counted = { ...node, select_list: named };
  return {
    table: reading.table,
    columns: found.columns,
    tree: JSON.stringify({
      ...fieldsOf(tree),
      statements: [{ ...fieldsOf(statement), node: summed(counted) }],
    }),
  };
}

type Fields = Readonly<Record<string, unknown>>;

interface Reading {
  readonly table: string;
  /** What may stand before the name of a column. */
  readonly qualifier: string;
  /** Names given to results, in lower case. */
  readonly aliases: ReadonlySet<string>;
}

interface Found extends Reading {
  readonly columns: Set<KindColumn>;
  counts: number;
}

/** A SELECT over one view and nothing else; undefined for any other. */
function readingOf(node: Fields): Reading | undefined {
  const { type, cte_map, from_table, sample, qualify } = node;
  if (type !== "SELECT_NODE" || sample !== null || qualify !== null) return undefined;
  if (listOf(fieldsOf(cte_map)["map"]).length > 0) return undefined;
  const table = fieldsOf(from_table);
  if (table["type"] !== "BASE_TABLE" || table["sample"] !== null) return undefined;
  if (table["at_clause"] !== null || listOf(table["column_name_alias"]).length > 0) {
    return undefined;
  }
  const name = textOf(table["table_name"]);
  const aliases = listOf(node["select_list"]).map((each) => textOf(fieldsOf(each)["alias"]));
  const names = namesOf(name);
  // A name that is a column's, too: which of them is meant depends on where it stands.
  if (aliases.some((alias) => names.has(alias))) return undefined;
  return {
    table: name,
    qualifier: textOf(table["alias"]) || name,
    aliases: new Set(aliases.filter((alias) => alias !== "")),
  };
}

/** Names of columns that are not there when rows stand for many events, and the one that is there then alone. */
function namesOf(table: string): ReadonlySet<string> {
  const topic = TOPIC_VIEWS.get(table);
  const more = table === EVENTS || topic === undefined ? [] : viewColumnsOf(topic);
  const names = [...COLUMNS.map(({ name }) => name), ...more.map(({ column }) => column)];
  return new Set(
    ["id", STANDS_FOR, ...names.filter((name) => name !== "topic" && name !== "host")]
      .map((name) => name.toLowerCase()),
  );
}

/** Whether the result has the same name in both forms of the statement. */
function isNamed(expression: Fields): boolean {
  return expression["alias"] !== "" || expression["class"] === "COLUMN_REF" || isCount(expression);
}

function isCount({ function_name, children, distinct, order_bys }: Fields): boolean {
  return function_name === "count_star" && listOf(children).length === 0 && distinct === false &&
    listOf(fieldsOf(order_bys)["orders"]).length === 0;
}

const PLAIN_CLASSES = new Set(["BETWEEN", "COMPARISON", "CONJUNCTION", "CONSTANT", "PARAMETER"]);
const OPERATORS = new Set([
  "COMPARE_IN",
  "COMPARE_NOT_IN",
  "OPERATOR_COALESCE",
  "OPERATOR_IS_NOT_NULL",
  "OPERATOR_IS_NULL",
  "OPERATOR_NOT",
]);
/** Of one row and of nothing else, and the same each time. */
const FUNCTIONS = new Set(
  "+ - * / // % || ~~ !~~ concat ends_with lower round split_part starts_with topic_under upper"
    .split(" "),
);

/** Whether an expression is made of topic, host, `count(*)` and what is known without an event. */
function isCountable(expression: Fields, found: Found): boolean {
  const kind = textOf(expression["class"]);
  if (kind === "column_ref") return isKnownColumn(listOf(expression["column_names"]), found);
  if (kind === "function") {
    if (isCount(expression)) found.counts += 1;
    else if (!FUNCTIONS.has(textOf(expression["function_name"]))) return false;
    else if (expression["filter"] !== null || expression["distinct"] !== false) return false;
  } else if (kind === "operator") {
    if (!OPERATORS.has(String(expression["type"]))) return false;
  } else if (kind !== "cast" && !PLAIN_CLASSES.has(kind.toUpperCase())) return false;
  return Object.values(expression).every((part) =>
    partsOf(part).every((each) => isCountable(each, found))
  );
}

function isKnownColumn(names: readonly unknown[], { columns, qualifier, aliases }: Found): boolean {
  const [name, ...outer] = names.map(textOf).toReversed();
  if (outer.length > 1 || (outer.length === 1 && outer[0] !== qualifier)) return false;
  if (name !== "topic" && name !== "host") {
    // The name of the view is all of its columns as one value, too.
    return outer.length === 0 && name !== undefined && name !== qualifier && aliases.has(name);
  }
  columns.add(name);
  return true;
}

function isPlainModifier(modifier: Fields, found: Found): boolean {
  switch (modifier["type"]) {
    case "ORDER_MODIFIER":
      return listOf(modifier["orders"])
        .map((each) => fieldsOf(fieldsOf(each)["expression"]))
        .every((each) => isResult(each, found) || isCountable(each, found));
    case "LIMIT_MODIFIER":
      return [modifier["limit"], modifier["offset"]]
        .every((each) => each === null || isCountable(fieldsOf(each), found));
    default:
      return false;
  }
}

/** Whether it is the name of a result and nothing else, which goes before all that it could mean in an order. */
function isResult(expression: Fields, { aliases }: Found): boolean {
  const [name, ...inner] = listOf(expression["column_names"]).map(textOf);
  return expression["class"] === "COLUMN_REF" && inner.length === 0 && name !== undefined &&
    aliases.has(name);
}

/** Expressions directly within a part of an expression. */
function partsOf(part: unknown): readonly Fields[] {
  if (Array.isArray(part)) return part.flatMap(partsOf);
  const fields = fieldsOf(part);
  if (typeof fields["class"] === "string") return [fields];
  return Object.values(fields).flatMap((each) => typeof each === "object" ? partsOf(each) : []);
}

/** The same with the sum of what rows stand for in the place of each `count(*)`. */
function summed(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(summed);
  if (typeof part !== "object" || part === null) return part;
  const fields: Fields = Object.fromEntries(
    Object.entries(part).map(([name, each]) => [name, summed(each)]),
  );
  return isCount(fields) ? sumOf(fields) : fields;
}

/** `coalesce(sum(…) FILTER (…), 0)::BIGINT`: as of no row, zero. */
function sumOf(count: Fields): Fields {
  const none = { alias: "", query_location: 0 };
  const column = { class: "COLUMN_REF", type: "COLUMN_REF", ...none, column_names: [STANDS_FOR] };
  const zero = { type: { id: "INTEGER", type_info: null }, is_null: false, value: 0 };
  return {
    class: "CAST",
    type: "OPERATOR_CAST",
    ...{ ...none, alias: count["alias"] },
    child: {
      class: "OPERATOR",
      type: "OPERATOR_COALESCE",
      ...none,
      children: [
        { ...count, alias: "", function_name: "sum", children: [column] },
        { class: "CONSTANT", type: "VALUE_CONSTANT", ...none, value: zero },
      ],
    },
    cast_type: { id: "BIGINT", type_info: null },
    try_cast: false,
  };
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function fieldsOf(value: unknown): Fields {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? Object.fromEntries(Object.entries(value)) : {};
}

/** Names mean the same in capitals. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value.toLowerCase() : "";
}
