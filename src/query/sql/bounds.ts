/**
 * What DuckDB does without end or measure in one step, where neither a limit of time nor one of memory reaches it, and
 * the gate therefore bounds: patterns of LIKE and GLOB that try every way to match, replacements that are longer than
 * what they replace, and functions over lists that make lists of lists.
 */
import type { SqlValue } from "../../storage/duckdb.ts";

/** Wildcards for any text in one pattern, one at its end not counted: each takes another power of the text's length. */
const WILDCARDS_MAX = 2;
/** Longest text that is put in place of another, in characters. */
const REPLACEMENT_MAX = 100;

type Fields = Readonly<Record<string, unknown>>;

const MATCHERS = new Set(
  "~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape".split(" "),
);
const REPLACERS = new Set(["replace", "regexp_replace"]);
const MAPPERS = new Set(["list_transform", "list_apply", "array_transform", "array_apply"]);
const FILTERS = new Set(["list_filter", "array_filter", "filter"]);

/** Why a call may not be made; undefined when it may. */
export function boundOf(call: Fields, values: ReadonlyMap<string, SqlValue>): string | undefined {
  const name = String(call["function_name"]).toLowerCase();
  const children = Array.isArray(call["children"]) ? call["children"].filter(isRecord) : [];
  if (MATCHERS.has(name)) return patternFault(name, children[1], values);
  if (REPLACERS.has(name)) return replacementFault(name, children[2], values);
  if (MAPPERS.has(name) || FILTERS.has(name)) {
    return children.map((each) => lambdaFault(each, MAPPERS.has(name)))
      .find((fault) => fault !== undefined);
  }
  return undefined;
}

/** With a constant that has no `_`, LIKE looks for its parts one after the other. */
function patternFault(
  name: string,
  pattern: Fields | undefined,
  values: ReadonlyMap<string, SqlValue>,
): string | undefined {
  const text = textOf(pattern, values);
  if (text === undefined) {
    return "it matches a pattern that is no constant: use contains, starts_with or regexp_matches";
  }
  const isPlain = pattern?.["class"] === "CONSTANT" && /^!?~~$/.test(name) && !text.includes("_");
  const wildcard = name === "~~~" ? "*" : "%";
  const parts = text.replace(/[%*]+$/, "").split(wildcard).length - 1;
  if (isPlain || parts <= WILDCARDS_MAX) return undefined;
  return `it matches a pattern with more than ${WILDCARDS_MAX} ${wildcard}: use regexp_matches`;
}

function replacementFault(
  name: string,
  replacement: Fields | undefined,
  values: ReadonlyMap<string, SqlValue>,
): string | undefined {
  const text = textOf(replacement, values);
  if (text !== undefined && text.length <= REPLACEMENT_MAX) return undefined;
  return `the third argument of ${name} is no constant of at most ${REPLACEMENT_MAX} characters`;
}

/** A lambda of its own parameters alone; JSON's arrow is no lambda, but looks like one that captures nothing. */
function lambdaFault(lambda: Fields, isMapper: boolean): string | undefined {
  if (lambda["class"] !== "LAMBDA") return undefined;
  if (some(lambda["expr"], isListFunction)) return "it has a lambda within a lambda";
  if (!isMapper) return undefined;
  const own = new Set<string>();
  some(lambda["lhs"], (part) => {
    own.add(nameOf(part));
    return false;
  });
  const isForeign = some(
    lambda["expr"],
    (part) => part["class"] === "COLUMN_REF" && !own.has(nameOf(part)),
  );
  return isForeign ? "the lambda of a list that it makes uses a column" : undefined;
}

function isListFunction({ class: kind, function_name: name }: Fields): boolean {
  const lower = String(name).toLowerCase();
  return kind === "FUNCTION" && (MAPPERS.has(lower) || FILTERS.has(lower));
}

function nameOf({ class: kind, column_names: names }: Fields): string {
  return kind === "COLUMN_REF" && Array.isArray(names) ? String(names[0]).toLowerCase() : "";
}

function textOf(
  part: Fields | undefined,
  values: ReadonlyMap<string, SqlValue>,
): string | undefined {
  if (part?.["class"] === "PARAMETER") return String(values.get(String(part["identifier"])) ?? "");
  const value = part?.["class"] === "CONSTANT" ? part["value"] : undefined;
  return isRecord(value) ? String(value["value"] ?? "") : undefined;
}

/** Whether some part of a tree is of a kind. */
function some(part: unknown, predicate: (part: Fields) => boolean): boolean {
  if (Array.isArray(part)) return part.some((each) => some(each, predicate));
  if (!isRecord(part)) return false;
  return predicate(part) || Object.values(part).some((each) => some(each, predicate));
}

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
