/**
 * Values of DuckDB's client as the rest of the code sees them: what JSON can say exactly stays as it is, all else becomes
 * text.
 */
import {
  DuckDBListValue,
  DuckDBMapValue,
  type DuckDBResult,
  DuckDBStructValue,
  DuckDBTimestampTZValue,
  type DuckDBType,
  type DuckDBValue,
} from "@duckdb/node-api";
import { formatTime } from "../event/event.ts";
import type { JsonValue, SqlResult } from "./duckdb.ts";

/** All rows of a result. */
export async function rowsOf(result: DuckDBResult): Promise<SqlResult> {
  const names = result.deduplicatedColumnNames();
  const columns = names.map((name, place) => ({
    name,
    type: typeNameOf(result.columnType(place)),
  }));
  const rows = await result.getRows();
  return {
    columns,
    rows: rows.map((row) =>
      Object.fromEntries(names.map((name, place) => [name, jsonOf(row[place] ?? null)]))
    ),
  };
}

/** Types made of others, such as JSON of VARCHAR, go by their own name. */
export function typeNameOf(type: DuckDBType): string {
  return type.alias ?? String(type);
}

/** Times beyond these µs are infinite or outside the years that RFC 3339 can write. */
const TIME_US_MAX = 253_402_300_800_000_000n;
const TIME_US_MIN = -62_135_596_800_000_000n;

function jsonOf(value: DuckDBValue): JsonValue {
  switch (typeof value) {
    case "boolean":
    case "string":
      return value;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    default:
      break;
  }
  if (value === null) return null;
  if (value instanceof DuckDBTimestampTZValue) {
    const { micros } = value;
    return micros >= TIME_US_MIN && micros < TIME_US_MAX
      ? formatTime(Number(micros))
      : String(value);
  }
  if (value instanceof DuckDBListValue) return value.items.map(jsonOf);
  if (value instanceof DuckDBMapValue) {
    return value.entries.map((each) => ({ key: jsonOf(each.key), value: jsonOf(each.value) }));
  }
  if (value instanceof DuckDBStructValue) {
    return Object.fromEntries(
      Object.entries(value.entries).map(([name, each]) => [name, jsonOf(each)]),
    );
  }
  return String(value);
}

/** Nothing is an empty text. */
export function textOf(value: DuckDBValue): string {
  return value === null ? "" : String(value);
}
