/**
 * Which data files a statement can leave unread: DuckDB itself says which filters reach its reads of events, after all
 * that its optimizer made of views, subqueries and expressions of constants; here they meet the statistics of files.
 *
 * Invariant: a file is left out only when a filter that was understood in full rules it out. What is not understood
 * rules out nothing.
 */
import { type Column, findColumn } from "../../event/columns.ts";
import { formatTime } from "../../event/event.ts";
import type { DataFile } from "../../storage/table.ts";
import type { Comparison, Condition, FilterValue, Match } from "../filter.ts";
import { parseTime } from "../time-text.ts";
import type { HotRange } from "../read-view.ts";
import { mayHoldColumn } from "./pruning.ts";

/** Files that some read may find a row in. `scans`: of each read its filters, one per line as DuckDB shows them. */
export function filesOfScans(
  files: readonly DataFile[],
  scans: readonly string[],
): readonly DataFile[] {
  // No read at all may mean that the answer comes from statistics of files.
  if (scans.length === 0) return files;
  const wanted = scans.map(conditionsOf);
  return files.filter((file) =>
    wanted.some((conditions) => conditions.every((each) => mayHoldColumn(file, each)))
  );
}

/** Hot rows among which some read may find one: those that are not all later than what it asks for. */
export function hotOfScans(
  hot: readonly HotRange[],
  scans: readonly string[],
): readonly HotRange[] {
  if (scans.length === 0) return hot;
  const wanted = scans.map((scan) =>
    conditionsOf(scan).filter(({ column }) => column.name === "time")
  );
  return hot.filter(({ firstUs }) => {
    if (firstUs === undefined || !Number.isFinite(firstUs)) return true;
    const rows = { ...ANY_ROWS, minimum: { time: formatTime(firstUs) } };
    return wanted.some((conditions) => conditions.every((each) => mayHoldColumn(rows, each)));
  });
}

/** Rows of which nothing is known. */
const ANY_ROWS = { rows: 1, eventDate: "", minimum: {}, maximum: {}, nullCount: {} };

/** What the filters of one read ask for, as far as it is understood. */
export function conditionsOf(filters: string): readonly Condition[] {
  const tokens = tokensOf(filters);
  if (tokens === undefined) return [];
  return split(tokens, "\n").flatMap((line) => {
    const alternatives = split(line, "OR");
    // DuckDB writes no brackets here: what AND and OR mean together cannot be told.
    if (alternatives.length > 1) return line.includes("AND") ? [] : anyOf(alternatives);
    return split(line, "AND").flatMap((term) => anyOf([term]));
  });
}

/** One condition that a row meets when it meets one of the terms; none if a term is not understood. */
function anyOf(terms: readonly (readonly string[])[]): Condition[] {
  const found = terms.map(comparisonOf);
  const [first] = found;
  if (first === undefined || found.some((each) => each?.column !== first.column)) return [];
  const matches = found.flatMap((each) => each?.matches ?? []);
  return [{ column: first.column, isNegated: false, matches }];
}

interface ColumnMatches {
  readonly column: Column;
  readonly matches: readonly Match[];
}

const OPERATORS: readonly Comparison[] = [">=", ">", "<=", "<"];

/** `name>='x'`, `name IN ('x', 'y')`. `optional:` is before what DuckDB checks again by itself. */
function comparisonOf(term: readonly string[]): ColumnMatches | undefined {
  const [name = "", operator, ...rest] = term[0] === "optional" && term[1] === ":"
    ? term.slice(2)
    : term;
  const column = findColumn(name);
  if (column === undefined) return undefined;
  if (operator === "IN") {
    if (rest[0] !== "(" || rest.at(-1) !== ")") return undefined;
    const values = split(rest.slice(1, -1), ",").map((each) => valueOf(column, each));
    if (values.includes(undefined) || values.length === 0) return undefined;
    const known = values.filter((value) => value !== undefined);
    return { column, matches: known.map((value) => ({ kind: "equal", value })) };
  }
  const value = valueOf(column, rest);
  if (value === undefined) return undefined;
  if (operator === "=") return { column, matches: [{ kind: "equal", value }] };
  const known = OPERATORS.find((each) => each === operator);
  return known && { column, matches: [{ kind: "compare", operator: known, value }] };
}

/** DuckDB's text of a time with a zone, in UTC. */
const TIME = /^'([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)\+00'$/;
const TIME_TYPE = ":: TIMESTAMP WITH TIME ZONE";

function valueOf({ type }: Column, tokens: readonly string[]): FilterValue | undefined {
  const [first = "", ...rest] = tokens;
  switch (type) {
    case "string":
      // DuckDB splits its text at line ends and drops what is empty: a value with one may have had more of them.
      return rest.length === 0 && first.startsWith("'") && !first.includes("\n")
        ? first.slice(1, -1).replaceAll("''", "'")
        : undefined;
    case "integer":
    case "long":
      return rest.length === 0 && /^-?[0-9]{1,15}$/.test(first) ? Number(first) : undefined;
    case "timestamp": {
      const [, day, clock] = TIME.exec(first) ?? [];
      if (day === undefined || rest.join(" ") !== TIME_TYPE) return undefined;
      return parseTime(`${day}T${clock}Z`, { nowUs: 0, bootUs: 0 });
    }
    default:
      return undefined;
  }
}

/** Texts in quotes, which may hold anything; names and words; numbers; signs; ends of lines. */
const TOKEN = /'(?:[^']|'')*'|[A-Za-z_][A-Za-z_0-9]*|-?[0-9][0-9.]*|[<>!]=|::|[\n(),:=<>]|[^\s]/gy;

/** What stands in brackets becomes one token of no meaning, unless it follows IN; undefined when a text does not end. */
function tokensOf(text: string): readonly string[] | undefined {
  const flat: string[] = [];
  let depth = 0;
  let isList = false;
  const trimmed = text.replaceAll(/[ \t]+$/g, "");
  TOKEN.lastIndex = 0;
  for (let at = 0; at < trimmed.length;) {
    if (/[ \t\r]/.test(trimmed.charAt(at))) {
      at += 1;
      continue;
    }
    TOKEN.lastIndex = at;
    const [token] = TOKEN.exec(trimmed) ?? [];
    if (token === undefined || token === "'") return undefined;
    at += token.length;
    if (token === "(" && depth === 0) isList = flat.at(-1) === "IN";
    if (token === ")") depth -= 1;
    if (depth < 0) return undefined;
    if (depth === 0 || isList) flat.push(token);
    if (token === "(") depth += 1;
  }
  return depth === 0 ? flat : undefined;
}

function split(tokens: readonly string[], by: string): readonly (readonly string[])[] {
  const parts: string[][] = [[]];
  for (const token of tokens) {
    if (token === by) parts.push([]);
    else parts.at(-1)?.push(token);
  }
  return parts;
}
