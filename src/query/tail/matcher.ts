/**
 * Whether a row is one that a client wants and may see: what the plans of a tail say in SQL, said again for rows that
 * are here already, since asking DuckDB once per client and load is what a thousand clients cannot afford.
 *
 * Invariant: it says of every row what {@link planLoaded} says, absent values included (a comparison with nothing is
 * unknown, and so is its negation); both are tried on the same rows in a test.
 */
import { type Column, findColumn } from "../../event/columns.ts";
import type { Comparison, Condition, FilterValue, GlobPart, Match } from "../filter.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { Principal, Scopes } from "../principal.ts";

/** Values of a row by column as they stand in its JSON, `detail` as text; absent ones are null or undefined. */
export type RowValues = Readonly<Record<string, unknown>>;

export type Matcher = (row: RowValues) => boolean;

/** True, false, or null where SQL does not know. */
type Known = boolean | null;
type Test = (value: unknown) => Known;

const TOPIC = findColumn("topic");

/** One of the tests that a row has to pass for a filter. */
export interface FilterTest {
  /** Tests of one key say the same of every row. */
  readonly key: string;
  readonly matches: Matcher;
}

export function createMatcher(request: TailRequest, principal: Principal): Matcher {
  const tests = testsOf(request, principal).map(({ matches }) => matches);
  return (row) => tests.every((test) => test(row));
}

/** All tests of a filter and of its principal's scopes, those first that cost least. */
export function testsOf({ conditions, sinceUs }: TailRequest, { scopes }: Principal): FilterTest[] {
  const since = (row: RowValues): boolean => timeUsOf(row["time"]) >= Number(sinceUs);
  return [
    ...scopeTests(scopes),
    ...(sinceUs === undefined ? [] : [{ key: `since ${sinceUs}`, matches: since }]),
    ...conditions.toSorted((a, b) => costOf([a]) - costOf([b])).map((condition) => ({
      key: keyOf(condition),
      matches: conditionTest(condition),
    })),
  ];
}

function keyOf({ column, isNegated, matches }: Condition): string {
  return JSON.stringify([column.name, isNegated, matches]);
}

/**
 * The topics of which each row that a request wants has one, itself or below; undefined when any row may be wanted.
 * Finds the few requests that a row may be for.
 */
export function topicsOf({ conditions }: TailRequest): readonly string[] | undefined {
  for (const { column, isNegated, matches } of conditions) {
    if (column !== TOPIC || isNegated) continue;
    const topics = matches.flatMap((match) => match.kind === "equal" ? [String(match.value)] : []);
    if (topics.length === matches.length) return topics;
  }
  return undefined;
}

/** What looking at a row for a filter costs at most: runs of text and wildcards of all its patterns. */
export function costOf(conditions: readonly Condition[]): number {
  return conditions.flatMap(({ matches }) => matches)
    .reduce((sum, match) => sum + (match.kind === "glob" ? match.parts.length : 0), 0);
}

/** The topics of a row and all above them. */
export function* topicsAndAbove(topics: readonly unknown[]): Generator<string> {
  for (const each of topics) {
    if (typeof each !== "string") continue;
    for (let end = each.indexOf("/"); end >= 0; end = each.indexOf("/", end + 1)) {
      yield each.slice(0, end);
    }
    yield each;
  }
}

function scopeTests({ hosts, topics }: Scopes): FilterTest[] {
  const tests: FilterTest[] = [];
  if (hosts !== "all") {
    tests.push({
      key: JSON.stringify({ hosts }),
      matches: ({ host }) => hosts.some((each) => isHost(host, each)),
    });
  }
  if (topics !== "all") {
    tests.push({
      key: JSON.stringify({ topics }),
      matches: ({ topic }) => topics.some((each) => isUnder(topic, each) === true),
    });
  }
  return tests;
}

function isHost(host: unknown, wanted: string): boolean {
  if (typeof host !== "string") return false;
  return wanted.endsWith("*") ? host.startsWith(wanted.slice(0, -1)) : host === wanted;
}

function isUnder(topic: unknown, above: string): Known {
  if (typeof topic !== "string") return null;
  return topic === above || topic.startsWith(`${above}/`);
}

type RowTest = (row: RowValues) => Known;

function conditionTest({ column, isNegated, matches }: Condition): Matcher {
  const values = matches.flatMap((match) => match.kind === "equal" ? [match.value] : []);
  const tests = matches.flatMap((match) =>
    match.kind === "equal" ? [] : [matchTest(column, match)]
  );
  if (values.length > 0) tests.unshift(equalTest(column, new Set(values)));
  return (row) => {
    const found = anyOf(tests, row);
    return isNegated ? found === false : found === true;
  };
}

function anyOf(tests: readonly RowTest[], row: RowValues): Known {
  let known: Known = false;
  for (const test of tests) {
    const found = test(row);
    if (found === true) return true;
    if (found === null) known = null;
  }
  return known;
}

/** Whether a value is one of many, in one look. */
function equalTest(column: Column, values: ReadonlySet<unknown>): RowTest {
  const { name, type } = column;
  if (column === TOPIC) {
    return ({ topic, topics }) => {
      const own = typeof topic === "string" ? false : null;
      const all = [topic, ...Array.isArray(topics) ? topics : []];
      return topicsAndAbove(all).some((each) => values.has(each)) ? true : own;
    };
  }
  const has: Test = (value) =>
    isAbsent(value) ? null : values.has(type === "timestamp" ? timeUsOf(value) : value);
  return type === "strings" ? (row) => someElement(row[name], has) : (row) => has(row[name]);
}

function matchTest(column: Column, match: Exclude<Match, { kind: "equal" }>): RowTest {
  if (column === TOPIC && match.kind === "glob") {
    const test = topicTest(match.parts);
    return ({ topic, topics }) => {
      const own = test(topic);
      return own === true || someElement(topics, test) ? true : own;
    };
  }
  const test = valueTest(column, match);
  const { name } = column;
  if (column.type === "strings") return (row) => someElement(row[name], test);
  return (row) => test(row[name]);
}

function topicTest(parts: readonly GlobPart[]): Test {
  const own = globTest(parts);
  const below = globTest([...parts, "/", { wildcard: "*" }]);
  return (topic) => own(topic) === true ? true : below(topic);
}

function someElement(list: unknown, test: Test): boolean {
  return Array.isArray(list) && list.some((element) => test(element) === true);
}

function valueTest(column: Column, match: Exclude<Match, { kind: "equal" }>): Test {
  if (match.kind === "glob") return globTest(match.parts);
  const read = column.type === "timestamp" ? timeUsOf : (value: unknown) => value;
  const isRight = COMPARISONS[match.operator];
  return (value) => isAbsent(value) ? null : isRight(orderOf(read(value), match.value));
}

const COMPARISONS: Readonly<Record<Comparison, (order: number) => boolean>> = {
  "<": (order) => order < 0,
  "<=": (order) => order <= 0,
  ">": (order) => order > 0,
  ">=": (order) => order >= 0,
};

function isAbsent(value: unknown): boolean {
  return value === null || value === undefined;
}

const SURROGATE = /[\ud800-\udfff]/;

/** Negative, zero or positive. Text goes by its characters, as its UTF-8 does, not by units of UTF-16. */
function orderOf(value: unknown, wanted: FilterValue): number {
  if (typeof wanted === "number") return Number(value) - wanted;
  const text = String(value);
  if (text === wanted) return 0;
  if (SURROGATE.test(text) || SURROGATE.test(wanted)) {
    return Buffer.compare(Buffer.from(text), Buffer.from(wanted));
  }
  return text < wanted ? -1 : 1;
}

/** µs since the Unix epoch of a time as answers write it, with six decimals. */
function timeUsOf(text: unknown): number {
  if (typeof text !== "string") return NaN;
  const wholeMs = Date.parse(`${text.slice(0, -8)}Z`);
  return wholeMs * 1_000 + Number(text.slice(-7, -1));
}

const REGEXP_SIGN = /[\\^$.*+?()[\]{}|/]/g;

/** What follows a `*` is looked for from the left, once: never more than text times pattern. */
function globTest(parts: readonly GlobPart[]): Test {
  const isPlain = parts.every((part) => typeof part === "string" || part.wildcard === "*");
  return isPlain ? plainGlobTest(parts) : patternTest(parts);
}

/** Of text and `*` alone, as most patterns are: several times faster than expressions. */
function plainGlobTest(parts: readonly GlobPart[]): Test {
  const texts = [""];
  for (const part of parts) {
    if (typeof part === "string") texts.push((texts.pop() ?? "") + part);
    else texts.push("");
  }
  const [head = "", ...middles] = texts;
  const tail = middles.pop();
  return (value) => {
    if (typeof value !== "string") return null;
    if (tail === undefined) return value === head;
    // The end is where most patterns of paths differ.
    const end = value.length - tail.length;
    if (end < head.length || !value.endsWith(tail) || !value.startsWith(head)) return false;
    let at = head.length;
    for (const middle of middles) {
      const found = value.indexOf(middle, at);
      if (found < 0) return false;
      at = found + middle.length;
    }
    return at <= end;
  };
}

function patternTest(parts: readonly GlobPart[]): Test {
  const segments: GlobPart[][] = [[]];
  for (const part of parts) {
    if (typeof part !== "string" && part.wildcard === "*") segments.push([]);
    else segments.at(-1)?.push(part);
  }
  const [first = [], ...others] = segments;
  const last = others.pop();
  const head = new RegExp(`^${patternOf(first)}${last === undefined ? "$" : ""}`, "su");
  const middles = others.map((segment) => new RegExp(patternOf(segment), "gsu"));
  const tail = new RegExp(`${patternOf(last ?? [])}$`, "su");
  return (value) => {
    if (typeof value !== "string") return null;
    const begun = head.exec(value);
    if (begun === null || last === undefined) return begun !== null;
    let at = begun[0].length;
    for (const middle of middles) {
      middle.lastIndex = at;
      const found = middle.exec(value);
      if (found === null) return false;
      at = middle.lastIndex;
    }
    return tail.test(value.slice(at));
  };
}

function patternOf(parts: readonly GlobPart[]): string {
  return parts.map((part) => typeof part === "string" ? part.replace(REGEXP_SIGN, "\\$&") : ".")
    .join("");
}
