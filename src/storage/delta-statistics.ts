/**
 * Statistics of a data file: from DuckDB's words into ours, and from ours into the log and back.
 *
 * Invariant: a bound is never narrower than the data. Text is cut to {@link TEXT_BOUND_LENGTH} characters, times are
 * rounded outward to the millisecond that Delta keeps, and a value that a JSON number cannot hold exactly is left
 * out. A missing bound means unknown. Text is ordered by code point, as in Parquet, not by JavaScript's `<`.
 * Source: delta-io/delta PROTOCOL.md, "Per-file Statistics".
 */
import { type Column, findColumn } from "../event/columns.ts";
import { STATISTICS_COLUMNS } from "./delta-schema.ts";
import { isRecord } from "./json-text.ts";
import type { ColumnStatistics, DataFile } from "./table.ts";

/** Longest bound of a text column, in code points. */
export const TEXT_BOUND_LENGTH = 32;

export type FileStatistics = Pick<DataFile, "minimum" | "maximum" | "nullCount">;

/**
 * Statistics of one file from the `column_statistics` of its row in the result of `COPY … (RETURN_STATS)`: per column
 * `min`, `max`, `null_count` and more, all as text. A map may come as an object or as a list of keys and values; names
 * of columns are quoted (`"time"`), and nested ones, which have no bounds here, joined by dots.
 */
export function statisticsOfCopy(columnStatistics: unknown): FileStatistics {
  const copied = mapOf(columnStatistics);
  const minimum: Record<string, string | number> = {};
  const maximum: Record<string, string | number> = {};
  const nullCount: Record<string, number> = {};
  for (const column of STATISTICS_COLUMNS) {
    const found = mapOf(copied.get(`"${column.name}"`));
    const least = boundOf(column, found.get("min"), "minimum");
    const greatest = boundOf(column, found.get("max"), "maximum");
    const nulls = found.get("null_count");
    if (least !== undefined) minimum[column.name] = least;
    if (greatest !== undefined) maximum[column.name] = greatest;
    if (typeof nulls === "string" && isCount(Number(nulls))) {
      nullCount[column.name] = Number(nulls);
    }
  }
  return { minimum, maximum, nullCount };
}

/** Statistics of the rows of several files together. A bound that one of them lacks is unknown, unless it has nulls only. */
export function mergeStatistics(
  parts: readonly (Pick<DataFile, "rows"> & FileStatistics)[],
): FileStatistics {
  const minimum: Record<string, string | number> = {};
  const maximum: Record<string, string | number> = {};
  const nullCount: Record<string, number> = {};
  for (const { name } of STATISTICS_COLUMNS) {
    const bounded = parts.filter((part) => part.rows > 0 && part.nullCount[name] !== part.rows);
    const least = mostOf(bounded.map((part) => part.minimum[name]), -1);
    const greatest = mostOf(bounded.map((part) => part.maximum[name]), 1);
    if (least !== undefined) minimum[name] = least;
    if (greatest !== undefined) maximum[name] = greatest;
    const nulls = parts.map((part) => part.nullCount[name]);
    if (nulls.every((count) => count !== undefined)) {
      nullCount[name] = nulls.reduce((sum, count) => sum + count, 0);
    }
  }
  return { minimum, maximum, nullCount };
}

/** The `stats` text of an `add` action. */
export function encodeStatistics(file: Pick<DataFile, "rows"> & FileStatistics): string {
  const { rows, minimum, maximum, nullCount } = file;
  return JSON.stringify({
    numRecords: rows,
    minValues: minimum,
    maxValues: maximum,
    nullCount,
  });
}

/** Reads a `stats` text; undefined when it does not say how many rows there are. Bounds not understood are left out. */
export function parseStatistics(
  text: string,
): (Pick<DataFile, "rows"> & FileStatistics) | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || !isCount(value.numRecords)) return undefined;
  return {
    rows: value.numRecords,
    minimum: boundsOf(value.minValues),
    maximum: boundsOf(value.maxValues),
    nullCount: countsOf(value.nullCount),
  };
}

/**
 * As {@link parseStatistics}, but where the text begins as ours do, bounds are read when they are first asked for: a
 * table has a hundred thousand files, and who writes to it needs the bounds of none. Where the rest of the text turns
 * out to be damaged, they are unknown.
 */
export function openStatistics(
  text: string,
): (Pick<DataFile, "rows"> & FileStatistics) | undefined {
  const rows = OWN_ROWS.exec(text)?.[1];
  if (rows === undefined) return parseStatistics(text);
  let left: string | undefined = text;
  let bounds: FileStatistics = { minimum: {}, maximum: {}, nullCount: {} };
  const read = (): FileStatistics => {
    if (left !== undefined) bounds = parseStatistics(left) ?? bounds;
    left = undefined;
    return bounds;
  };
  return {
    rows: Number(rows),
    get minimum() {
      return read().minimum;
    },
    get maximum() {
      return read().maximum;
    },
    get nullCount() {
      return read().nullCount;
    },
  };
}

/** How {@link encodeStatistics} begins. */
const OWN_ROWS = /^\{"numRecords":([0-9]{1,15}),/;

/** Order of text as bounds have it: by code point, which JavaScript's `<` does not keep beyond U+FFFF. */
export function compareText(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** The least (-1) or greatest (1) of bounds; undefined when one of them is unknown, or there are none. */
function mostOf(
  bounds: readonly (string | number | undefined)[],
  side: -1 | 1,
): string | number | undefined {
  const [first, ...others] = bounds;
  let most = first;
  for (const bound of others) {
    if (bound === undefined || most === undefined) return undefined;
    const order = typeof bound === "number" && typeof most === "number"
      ? bound - most
      : compareText(String(bound), String(most));
    if (order * side > 0) most = bound;
  }
  return most;
}

function mapOf(value: unknown): ReadonlyMap<string, unknown> {
  if (isRecord(value)) return new Map(Object.entries(value));
  const map = new Map<string, unknown>();
  for (const entry of Array.isArray(value) ? value : []) {
    if (isRecord(entry) && typeof entry.key === "string") map.set(entry.key, entry.value);
  }
  return map;
}

function boundOf(
  column: Column,
  text: unknown,
  side: "minimum" | "maximum",
): string | number | undefined {
  if (typeof text !== "string") return undefined;
  switch (column.type) {
    case "integer":
    case "long":
      return /^-?[0-9]{1,16}$/.test(text) ? exact(Number(text)) : undefined;
    case "timestamp":
      return timeBound(text, side);
    case "date":
      return /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) ? text : undefined;
    case "string":
    case "json":
      return textBound(text, side);
    case "strings":
      return undefined;
  }
}

function exact(value: number): number | undefined {
  return Number.isSafeInteger(value) ? value : undefined;
}

/** DuckDB's `2026-01-01 00:00:00.123456+00` as ISO 8601 with milliseconds, rounded outward. */
function timeBound(text: string, side: "minimum" | "maximum"): string | undefined {
  const match =
    /^([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(?:\+00(?::00)?|Z)$/
      .exec(text);
  if (match === null) return undefined;
  const [, date, time, fraction = ""] = match;
  const digits = fraction.padEnd(3, "0");
  const isCut = /[1-9]/.test(digits.slice(3));
  const ms = Date.parse(`${date}T${time}.${digits.slice(0, 3)}Z`);
  if (Number.isNaN(ms)) return undefined;
  return new Date(side === "maximum" && isCut ? ms + 1 : ms).toISOString();
}

/** A greatest value that was cut ends in the greatest code point, so that it still bounds what it was cut from. */
function textBound(text: string, side: "minimum" | "maximum"): string | undefined {
  if (!text.isWellFormed() || text.includes("\ufffd")) return undefined;
  const points = Array.from(text);
  if (points.length <= TEXT_BOUND_LENGTH) return text;
  const cut = points.slice(0, TEXT_BOUND_LENGTH).join("");
  if (side === "minimum") return cut;
  return points[TEXT_BOUND_LENGTH] === GREATEST_POINT ? undefined : cut + GREATEST_POINT;
}

const GREATEST_POINT = "\u{10ffff}";

function boundsOf(value: unknown): ColumnStatistics {
  const bounds: Record<string, string | number> = {};
  if (!isRecord(value)) return bounds;
  for (const [name, bound] of Object.entries(value)) {
    const column = findColumn(name);
    if (column !== undefined && isBound(column, bound)) bounds[name] = bound;
  }
  return bounds;
}

function isBound({ type }: Column, bound: unknown): bound is string | number {
  if (type === "integer" || type === "long") return Number.isSafeInteger(bound);
  if (typeof bound !== "string") return false;
  return type !== "timestamp" || !Number.isNaN(Date.parse(bound));
}

function countsOf(value: unknown): Readonly<Record<string, number>> {
  if (!isRecord(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, number] => isCount(entry[1])),
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
