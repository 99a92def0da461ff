/**
 * Filters: a parameter named like a column, and what its value asks for.
 *
 * `a,b` any of · `!a,b` none of (an absent field matches no negation) · `*` any text and `?` one character, across `/`
 * · `>=1000`, `<1024` comparisons · `\` before `, ! * ? < > \` takes it as it is. A parameter given twice asks for both.
 * Severities are compared by how grave they are: what a comparison holds for is named, since their texts sort otherwise.
 *
 * Invariant: a parsed condition holds typed values only; nothing after this file looks at the text again.
 */
import { type Column, type ColumnType, findColumn } from "../event/columns.ts";
import { SEVERITIES } from "../event/event.ts";
import { ProblemError } from "./problem.ts";
import { parseTime, TIME_FORMS, type TimeContext } from "./time-text.ts";

export type Comparison = ">=" | ">" | "<=" | "<";

/** Text for text columns and days, an integer for numbers, µs since the Unix epoch for times. */
export type FilterValue = string | number;

/** A run of text that is meant literally, any text (`*`), or one character (`?`). */
export type GlobPart = string | { readonly wildcard: "*" | "?" };

export type Match =
  | { readonly kind: "equal"; readonly value: FilterValue }
  | { readonly kind: "glob"; readonly parts: readonly GlobPart[] }
  | { readonly kind: "compare"; readonly operator: Comparison; readonly value: FilterValue };

/** Any of the matches, or, when negated, none of them. */
export interface Condition {
  readonly column: Column;
  readonly isNegated: boolean;
  readonly matches: readonly Match[];
}

/** At most this many alternatives in one value. */
export const ALTERNATIVES_MAX = 1_000;

export const VALUE_FORMS =
  "a,b (any of), !a,b (none of), a*b? (pattern), >=n, >n, <=n, <n; \\ escapes , ! * ? < >";

/** The condition that a parameter of a column's name asks for. Throws {@link ProblemError} 400 on a malformed value. */
export function parseCondition(name: string, text: string, context: TimeContext): Condition {
  const column = findColumn(name);
  if (column === undefined) throw new RangeError(`Cannot filter by "${name}": no such column`);
  const characters = unescape(name, text);
  const isNegated = isSign(characters[0], "!");
  const alternatives = split(isNegated ? characters.slice(1) : characters);
  if (alternatives.length > ALTERNATIVES_MAX) {
    throw malformed(name, `has more than ${ALTERNATIVES_MAX} alternatives`, VALUE_FORMS);
  }
  return {
    column,
    isNegated,
    matches: alternatives.flatMap((each) => parseMatch(column, each, context)),
  };
}

/** What a condition on a column is, without what it matches. Throws RangeError when there is no such column. */
export function conditionOn(name: string): Omit<Condition, "matches"> {
  const column = findColumn(name);
  if (column === undefined) throw new RangeError(`Cannot plan by "${name}": no such column`);
  return { column, isNegated: false };
}

/** One character of a value, and whether it may have a meaning of its own. */
interface Character {
  readonly text: string;
  readonly isPlain: boolean;
}

const ESCAPABLE = new Set([",", "!", "*", "?", "<", ">", "\\"]);

function unescape(name: string, text: string): Character[] {
  const characters: Character[] = [];
  let isEscaped = false;
  for (const each of text) {
    if (isEscaped && !ESCAPABLE.has(each)) {
      throw malformed(name, `escapes "${each}", which has no meaning of its own`, VALUE_FORMS);
    }
    if (each === "\\" && !isEscaped) {
      isEscaped = true;
      continue;
    }
    characters.push({ text: each, isPlain: isEscaped });
    isEscaped = false;
  }
  if (isEscaped) throw malformed(name, "ends in a single \\", VALUE_FORMS);
  return characters;
}

function isSign(character: Character | undefined, ...signs: readonly string[]): boolean {
  return character !== undefined && !character.isPlain && signs.includes(character.text);
}

function split(characters: readonly Character[]): Character[][] {
  const alternatives: Character[][] = [[]];
  for (const each of characters) {
    if (isSign(each, ",")) alternatives.push([]);
    else alternatives.at(-1)?.push(each);
  }
  return alternatives;
}

/** One match, or, of a comparison of severities, one for each that it holds for. */
function parseMatch(
  column: Column,
  characters: readonly Character[],
  context: TimeContext,
): Match | Match[] {
  const [first, second] = characters;
  const isComparison = isSign(first, "<", ">");
  const operator = isComparison && isSign(second, "=")
    ? comparisonOf(`${first?.text}=`)
    : isComparison
    ? comparisonOf(String(first?.text))
    : undefined;
  const rest = operator === undefined ? characters : characters.slice(operator.length);
  const text = rest.map((each) => each.text).join("");
  if (text === "") throw malformed(column.name, "has an empty alternative", VALUE_FORMS);
  const hasWildcard = rest.some((each) => isSign(each, "*", "?"));
  if (operator !== undefined) {
    if (hasWildcard) throw malformed(column.name, "compares with a pattern", VALUE_FORMS);
    if (column.type === "strings") {
      throw malformed(column.name, "compares a list", "a,b (any of), !a,b (none of), a* (pattern)");
    }
    if (column.name === "severity") return severitiesOf(operator, text);
    return { kind: "compare", operator, value: parseValue(column, text, context) };
  }
  if (!hasWildcard) return { kind: "equal", value: parseValue(column, text, context) };
  if (!TEXT_TYPES.has(column.type)) {
    throw malformed(column.name, "is a pattern, and the column is not text", acceptedOf(column));
  }
  return { kind: "glob", parts: globOf(rest) };
}

const TEXT_TYPES: ReadonlySet<ColumnType> = new Set(["string", "strings", "json"]);

function comparisonOf(text: string): Comparison | undefined {
  return text === ">=" || text === ">" || text === "<=" || text === "<" ? text : undefined;
}

function globOf(characters: readonly Character[]): GlobPart[] {
  const parts: GlobPart[] = [];
  for (const each of characters) {
    const last = parts.at(-1);
    if (isSign(each, "*")) parts.push({ wildcard: "*" });
    else if (isSign(each, "?")) parts.push({ wildcard: "?" });
    else if (typeof last === "string") parts[parts.length - 1] = last + each.text;
    else parts.push(each.text);
  }
  return parts;
}

function parseValue(column: Column, text: string, context: TimeContext): FilterValue {
  const value = valueOf(column.type, text, context);
  if (value === undefined) {
    throw malformed(column.name, `has the value "${text}"`, acceptedOf(column));
  }
  return value;
}

function severitiesOf(operator: Comparison, text: string): Match[] {
  const accepted = `${SEVERITIES.join(", ")}; >=, >, <= or < before one of them`;
  const rank = SEVERITIES.findIndex((severity) => severity === text);
  if (rank === -1) throw malformed("severity", `has the value "${text}"`, accepted);
  const found = SEVERITIES.filter((_, other) => compares(other, operator, rank));
  if (found.length === 0) throw malformed("severity", "holds for none", accepted);
  return found.map((value) => ({ kind: "equal", value }));
}

function compares(left: number, operator: Comparison, right: number): boolean {
  switch (operator) {
    case ">=":
      return left >= right;
    case ">":
      return left > right;
    case "<=":
      return left <= right;
    case "<":
      return left < right;
  }
}

function valueOf(type: ColumnType, text: string, context: TimeContext): FilterValue | undefined {
  switch (type) {
    case "string":
    case "strings":
    case "json":
      return text;
    case "integer":
    case "long": {
      const value = /^-?[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
      return Number.isSafeInteger(value) ? value : undefined;
    }
    case "timestamp":
      return parseTime(text, context);
    case "date": {
      const isDay = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text);
      return isDay && parseTime(text, context) !== undefined ? text : undefined;
    }
  }
}

function acceptedOf({ type }: Column): string {
  switch (type) {
    case "integer":
    case "long":
      return "an integer: 22, 22,80, !0, >=1000, <1024";
    case "timestamp":
      return `${TIME_FORMS}; >=, >, <= or < before it`;
    case "date":
      return "a day: 2026-01-31; >=, >, <= or < before it";
    case "string":
    case "strings":
    case "json":
      return VALUE_FORMS;
  }
}

function malformed(name: string, what: string, accepted: string): ProblemError {
  return new ProblemError(400, `The value of "${name}" cannot be used: it ${what}`, {
    parameter: name,
    accepted,
  });
}
