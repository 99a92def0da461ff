/**
 * Which data files a query can leave unread, judged by the statistics of the table's log.
 *
 * Invariant: a file is left out only when its statistics prove that no row of it can be part of the answer; a bound
 * that is missing proves nothing.
 */
import type { DataFile } from "../../storage/table.ts";
import { parseTime } from "../time-text.ts";
import type { Condition, Match } from "../filter.ts";

export interface Range {
  /** Inclusive. */
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
}

/** Bounds of a file's times, µs, both inclusive; endless where unknown. Bounds in the log are whole milliseconds. */
export function timeRangeOf(file: DataFile, column: "time" | "logged_at" = "time"): Range {
  return {
    from: timeBound(file.minimum[column]) ?? -Infinity,
    to: timeBound(file.maximum[column]) ?? Infinity,
  };
}

/** About how many rows files have of a range of time, as if each had its rows evenly; all where a bound is missing. */
export function rowsWithin(
  files: readonly DataFile[],
  { fromUs, toUs }: { readonly fromUs: number; readonly toUs: number },
): number {
  let rows = 0;
  for (const file of files) {
    const { from, to } = timeRangeOf(file);
    const part = (Math.min(to + 1, toUs) - Math.max(from, fromUs)) / (to + 1 - from);
    rows += file.rows * (Number.isFinite(to - from) ? Math.max(0, part) : 1);
  }
  return rows;
}

/** When the newest message of files was logged, µs; 0 where that is not known. */
export function newestLoggedUs(files: readonly DataFile[]): number {
  let newest = "";
  for (const { maximum: { logged_at: last } } of files) {
    if (typeof last === "string" && last > newest) newest = last;
  }
  return timeBound(newest) ?? 0;
}

/** Bounds of a file's sequences when it holds rows of this incarnation; undefined when it holds none. */
export function sequenceRangeOf(file: DataFile, incarnation: string): Range | undefined {
  const { minimum, maximum } = file;
  const least = minimum["incarnation"];
  const greatest = maximum["incarnation"];
  if (typeof least === "string" && compareText(incarnation, least) < 0) return undefined;
  if (typeof greatest === "string" && compareText(incarnation, greatest) > 0) return undefined;
  const from = minimum["seq"];
  const to = maximum["seq"];
  return {
    from: typeof from === "number" ? from : -Infinity,
    to: typeof to === "number" ? to : Infinity,
  };
}

/** Whether the file holds rows of nothing but this incarnation. */
export function isOnlyOf(file: DataFile, incarnation: string): boolean {
  return file.minimum["incarnation"] === incarnation && file.maximum["incarnation"] === incarnation;
}

/** Whether a row of the file may meet every condition. */
export function mayHold(file: DataFile, conditions: readonly Condition[]): boolean {
  // An event also belongs to the topics of its list, of which the log knows nothing.
  return conditions.every((condition) =>
    condition.column.name === "topic" || mayHoldColumn(file, condition)
  );
}

/** Whether a row of the file may meet a condition that is about the column alone. */
export function mayHoldColumn(
  file: Omit<DataFile, "path" | "sizeBytes" | "sha256">,
  { column, isNegated, matches }: Condition,
): boolean {
  if (file.rows > 0 && file.nullCount[column.name] === file.rows) return column.type === "strings";
  if (isNegated) return true;
  if (column.type === "date") return matches.some((match) => within(match, file.eventDate));
  const minimum = boundOf(column.type, file.minimum[column.name]);
  const maximum = boundOf(column.type, file.maximum[column.name]);
  return matches.some((match) => overlaps(match, minimum, maximum));
}

function within(match: Match, day: string): boolean {
  return overlaps(match, day, day);
}

type Bound = string | number | undefined;

function overlaps(match: Match, minimum: Bound, maximum: Bound): boolean {
  const isAbove = (value: Bound, other: string | number): boolean =>
    value === undefined || compare(value, other) >= 0;
  const isBelow = (value: Bound, other: string | number): boolean =>
    value === undefined || compare(value, other) <= 0;
  switch (match.kind) {
    case "equal":
      return isBelow(minimum, match.value) && isAbove(maximum, match.value);
    case "compare":
      // Bounds may be wider than the data, so that an equal one decides nothing.
      return match.operator.startsWith(">")
        ? isAbove(maximum, match.value)
        : isBelow(minimum, match.value);
    case "glob": {
      const [first] = match.parts;
      if (typeof first !== "string") return true;
      const isPrefixed = typeof minimum === "string" && minimum.startsWith(first);
      return (isPrefixed || isBelow(minimum, first)) && isAbove(maximum, first);
    }
  }
}

function compare(a: string | number, b: string | number): number {
  return typeof a === "number" && typeof b === "number" ? a - b : compareText(String(a), String(b));
}

/** Order by code point, as in the files; JavaScript's own is by UTF-16 unit. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function boundOf(type: string, bound: Bound): Bound {
  return type === "timestamp" ? timeBound(bound) : bound;
}

function timeBound(bound: Bound): number | undefined {
  return typeof bound === "string" ? parseTime(bound, { nowUs: 0, bootUs: 0 }) : undefined;
}
