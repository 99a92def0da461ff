/**
 * What the rows that a filter wants have in common and can be found by: a value of a column, or what its text begins or
 * ends with. Of many filters, those alone need be asked about a row that have one of its marks.
 *
 * Invariant: every row that passes a filter has one of the filter's marks.
 */
import { type Column, findColumn } from "../../event/columns.ts";
import type { Condition, FilterValue, GlobPart, Match } from "../filter.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import { type RowValues, topicsAndAbove } from "./matcher.ts";

export interface Mark {
  readonly column: Column;
  readonly part: "whole" | "begin" | "end";
  readonly value: FilterValue;
}

/** What is known of marks, and of which of them a row has. */
export interface MarkIndex<T> {
  add(mark: Mark, item: T): void;
  remove(mark: Mark, item: T): void;
  /** Sets of those whose mark the row has; one may be in several. */
  of(row: RowValues): Iterable<ReadonlySet<T>>;
}

const TOPIC = findColumn("topic");
/** Longer beginnings and ends are found by so many characters of them: each length is looked up for each row. */
const LENGTH_MAX = 12;

/**
 * Marks of which each row has one that a request wants; undefined when it may be any row. Of several conditions those
 * that say most: the more characters a row must have, the fewer rows have them.
 */
export function marksOf(
  { conditions }: Pick<TailRequest, "conditions">,
): readonly Mark[] | undefined {
  let best: readonly Mark[] | undefined;
  let bestLength = 0;
  for (const condition of conditions) {
    const marks = marksOfCondition(condition);
    const length = Math.min(...marks.map(({ value }) => String(value).length));
    if (length <= bestLength || length === Infinity) continue;
    best = marks;
    bestLength = length;
  }
  return best;
}

export function createMarkIndex<T>(): MarkIndex<T> {
  const kinds = new Map<string, Kind<T>>();
  return {
    add(mark, item) {
      const key = kindOf(mark);
      const kind = kinds.get(key) ?? { values: valuesFor(mark), items: new Map() };
      kinds.set(key, kind);
      const items = kind.items.get(mark.value) ?? new Set();
      kind.items.set(mark.value, items.add(item));
    },
    remove(mark, item) {
      const key = kindOf(mark);
      const kind = kinds.get(key);
      const items = kind?.items.get(mark.value);
      items?.delete(item);
      if (items?.size === 0) kind?.items.delete(mark.value);
      if (kind?.items.size === 0) kinds.delete(key);
    },
    *of(row) {
      for (const { values, items } of kinds.values()) {
        for (const value of values(row)) {
          const found = items.get(value);
          if (found !== undefined) yield found;
        }
      }
    },
  };
}

/** Marks that are looked up in the same way. */
interface Kind<T> {
  /** The values that a row has of this kind. */
  readonly values: (row: RowValues) => Iterable<unknown>;
  readonly items: Map<unknown, Set<T>>;
}

function kindOf({ column, part, value }: Mark): string {
  return part === "whole" ? column.name : `${column.name} ${part} ${String(value).length}`;
}

function valuesFor({ column, part, value }: Mark): Kind<never>["values"] {
  const { length } = String(value);
  switch (part) {
    case "whole":
      return column === TOPIC
        ? (row) => topicsAndAbove(valuesOf(row, column))
        : (row) => valuesOf(row, column);
    case "begin":
      return (row) => textsOf(row, column).map((text) => text.slice(0, length));
    case "end":
      return (row) => textsOf(row, column).map((text) => text.slice(-length));
  }
}

function valuesOf(row: RowValues, column: Column): readonly unknown[] {
  const value = row[column.name];
  const { topics } = row;
  if (column === TOPIC) return Array.isArray(topics) ? [value, ...topics] : [value];
  return Array.isArray(value) ? value : [value];
}

function textsOf(row: RowValues, column: Column): readonly string[] {
  return valuesOf(row, column).filter((value) => typeof value === "string");
}

/** None when rows without any of these marks may be wanted. */
function marksOfCondition({ column, isNegated, matches }: Condition): readonly Mark[] {
  // Times stand in rows as text, in filters as numbers.
  if (isNegated || column.type === "timestamp") return [];
  const marks = matches.flatMap((match) => markOf(column, match) ?? []);
  return marks.length === matches.length ? marks : [];
}

function markOf(column: Column, match: Match): Mark | undefined {
  if (match.kind === "compare") return undefined;
  if (match.kind === "equal") return { column, part: "whole", value: match.value };
  const begin = textAt(match.parts, 0);
  // A pattern of topics is also met by what lies below, and that ends in any way.
  const end = column === TOPIC ? "" : textAt(match.parts, -1);
  if (begin === "" && end === "") return undefined;
  return begin.length >= end.length
    ? { column, part: "begin", value: begin.slice(0, LENGTH_MAX) }
    : { column, part: "end", value: end.slice(-LENGTH_MAX) };
}

function textAt(parts: readonly GlobPart[], place: 0 | -1): string {
  const part = parts.at(place);
  return typeof part === "string" ? part : "";
}
