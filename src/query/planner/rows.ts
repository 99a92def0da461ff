/**
 * Rows as SQL: where they come from (data files and hot rows, as one relation with all columns and the computed `id`)
 * and how they are written in answers. Derived from the list of columns alone.
 */
import { type Column, COLUMNS, type ColumnType } from "../../event/columns.ts";
import { FILE_SCHEMA } from "../../storage/data-rows.ts";
import { identifierOf, literalOf } from "../../storage/sql-text.ts";
import type { HotRange } from "../read-view.ts";
import type { Binder } from "./binder.ts";

/** Columns that are stored; the others are computed from them. */
const STORED = COLUMNS.filter(({ origin }) => origin !== "derived");

export interface SourceOptions {
  readonly hasFiles: boolean;
  readonly hot: readonly HotRange[];
  /** Whether the column `detail` is JSON, as in people's SQL, rather than text. */
  readonly detail: "json" | "text";
  /** Further relations that have the stored columns. */
  readonly relations?: readonly string[];
  /** Further predicates on stored columns, for rows of data files and for hot rows alike. */
  readonly predicates: readonly string[];
}

/** The relation of a view's rows, of no row when it has none. */
export function sourceOf(options: SourceOptions, binder: Binder): string {
  return relationOf(options, binder, columnList(options.detail));
}

/**
 * The same without what is computed: for whoever takes a few rows of many, and computes that of them alone by
 * {@link withComputed}.
 */
export function storedSourceOf(options: Omit<SourceOptions, "detail">, binder: Binder): string {
  return relationOf(options, binder, STORED.map(({ name }) => identifierOf(name)).join(", "));
}

/** All columns of a relation that has the stored ones, `detail` as text. */
export function withComputed(relation: string): string {
  return `SELECT ${columnList("text")} FROM (\n${relation}\n)`;
}

function relationOf(
  { hasFiles, hot, predicates, relations = [] }: Omit<SourceOptions, "detail">,
  binder: Binder,
  columns: string,
): string {
  const parts = hot.map((range) => `SELECT ${columns} FROM ${hotRows(range, predicates, binder)}`);
  parts.push(
    ...relations.map((each) => `SELECT ${columns} FROM ${each} ${where(predicates)}`),
  );
  if (hasFiles || parts.length === 0) {
    const files = hasFiles
      ? `read_parquet(${binder.files()}, schema = ${FILE_SCHEMA})`
      : `(SELECT ${STORED.map(emptyColumn).join(", ")} LIMIT 0)`;
    parts.unshift(`SELECT ${columns} FROM ${files} ${where(predicates)}`);
  }
  return parts.join("\nUNION ALL\n");
}

/** Hot rows with the stored columns alone. */
export function storedRowsOf(
  hot: readonly HotRange[],
  predicates: readonly string[],
  binder: Binder,
): string {
  const columns = STORED.map(({ name }) => identifierOf(name)).join(", ");
  return hot.map((range) => `SELECT ${columns} FROM ${hotRows(range, predicates, binder)}`)
    .join("\nUNION ALL\n");
}

function hotRows(
  { table, after, upTo }: HotRange,
  predicates: readonly string[],
  binder: Binder,
): string {
  const range = [`seq > ${binder.integer(after)}`, `seq <= ${binder.integer(upTo)}`];
  return `${table} ${where([...range, ...predicates])}`;
}

export function where(predicates: readonly string[]): string {
  return predicates.length === 0 ? "" : `WHERE ${predicates.join(" AND ")}`;
}

function columnList(detail: "json" | "text"): string {
  const names = COLUMNS.map(({ name, type, origin }) => {
    if (origin === "derived") return `${DAY} AS ${identifierOf(name)}`;
    const column = identifierOf(name);
    return type === "json" && detail === "json" ? `${column}::JSON AS ${column}` : column;
  });
  return [`${ID} AS id`, ...names].join(", ");
}

const ID = "incarnation || '-' || seq || '-' || idx";
/** SQL of `event_date`. As a number of microseconds, since `AT TIME ZONE` asks a calendar for each row: 14 times slower. */
export const DAY = `make_timestamp(epoch_us("time"))::DATE`;

function emptyColumn({ name, type }: Column): string {
  return `NULL::${sqlTypeOf(type)} AS ${identifierOf(name)}`;
}

export function sqlTypeOf(type: ColumnType): string {
  switch (type) {
    case "string":
    case "json":
      return "VARCHAR";
    case "integer":
      return "INTEGER";
    case "long":
      return "BIGINT";
    case "timestamp":
      return "TIMESTAMP WITH TIME ZONE";
    case "date":
      return "DATE";
    case "strings":
      return "VARCHAR[]";
  }
}

const DETAIL = COLUMNS.findIndex(({ type }) => type === "json");

/** A row as one JSON object: `id` first, absent fields left out. */
export const JSON_LINE = jsonObject("'}'");

/** {@link JSON_LINE} and the end of a line, as a blob; never null. */
export const JSON_BYTES = `encode(${jsonObject("E'}\\n'")})`;

/**
 * `concat` leaves out what is null and puts texts together column by column, which takes a fifth less processor time
 * than `concat_ws`. Every row has its place, and so an `id`.
 */
function jsonObject(end: string): string {
  const members = COLUMNS.map((column) =>
    `${literalOf(`,"${column.name}":`)} || ${jsonValue(column)}`
  );
  return `concat('{"id":"', id, '"', ${members.join(", ")}, ${end})`;
}

function jsonValue({ name, type }: Column): string {
  const column = identifierOf(name);
  switch (type) {
    case "string":
    case "strings":
      return `to_json(${column})`;
    case "integer":
    case "long":
    case "json":
      return column;
    case "timestamp":
      return `'"' || ${timeText(column)} || '"'`;
    case "date":
      return `'"' || ${column} || '"'`;
  }
}

/**
 * The same text as {@link JSON_LINE} in two lines and a rest, which {@link joinJsonParts} puts together: members that
 * are not null before `detail`, those behind it, then `detail` as it is. A third of the work of DuckDB, which pays for
 * each function of each column: for pages, single events and the live tail, which are planned often and have few rows.
 */
export const JSON_PARTS = jsonParts("id");

/** A row as plans of the live tail give it: `<seq> <idx> <parts of JSON>`. */
export const TAIL_ROW = `seq || ' ' || idx || ' ' || ${JSON_PARTS}`;
/** The same of a row of a hot table, where nothing is computed. */
export const HOT_TAIL_ROW = `seq || ' ' || idx || ' ' || ${jsonParts(ID)}`;

function jsonParts(id: string): string {
  return [
    objectOf(COLUMNS.slice(0, DETAIL), [`'id': ${id}`]),
    objectOf(COLUMNS.slice(DETAIL + 1), []),
    `coalesce(${identifierOf("detail")}, '')`,
  ].join(" || chr(10) || ");
}

function objectOf(columns: readonly Column[], first: readonly string[]): string {
  const members = columns.map((column) => {
    const value = identifierOf(column.name);
    return `${literalOf(column.name)}: ${column.type === "timestamp" ? timeText(value) : value}`;
  });
  return `to_json({${[...first, ...members].join(", ")}})::VARCHAR`;
}

/** A quote inside a string follows a backslash, so that `,"` and a name and `":` can only be a member. */
const NULL_MEMBERS = /,"[a-z0-9_]+":null/g;

/** The JSON of a row whose {@link JSON_PARTS} this is. */
export function joinJsonParts(text: string): string {
  const first = text.indexOf("\n");
  const second = text.indexOf("\n", first + 1);
  const before = text.slice(0, first - 1).replaceAll(NULL_MEMBERS, "");
  const behind = `,${text.slice(first + 2, second - 1)}`.replaceAll(NULL_MEMBERS, "");
  const detail = second + 1 === text.length ? "" : `,"detail":${text.slice(second + 1)}`;
  return `${before}${detail}${behind}}`;
}

/** The values of a row by column, from its {@link JSON_PARTS}: `detail` as text, absent ones null or left out. */
export function readTailValues(text: string): Readonly<Record<string, unknown>> {
  const first = text.indexOf("\n");
  const second = text.indexOf("\n", first + 1);
  const detail = second + 1 === text.length ? null : text.slice(second + 1);
  return {
    ...JSON.parse(text.slice(0, first)),
    ...JSON.parse(text.slice(first + 1, second)),
    detail,
  };
}

/** RFC 3339 with six decimals and Z. `AT TIME ZONE` asks a calendar for each row, a count of microseconds does not. */
export function timeText(column: string): string {
  return `strftime(make_timestamp(epoch_us(${column})), '%Y-%m-%dT%H:%M:%S.%fZ')`;
}

/** Names of the fields of {@link CSV_LINE}. */
export const CSV_HEADER = ["id", ...COLUMNS.map(({ name }) => name)].join(",");

/** A row as one line of CSV (RFC 4180): text in quotes, absent fields empty. */
export const CSV_LINE = csvFields("''");

/** {@link CSV_LINE} and the end of a line, as a blob. */
export const CSV_BYTES = `encode(${csvFields("E'\\r\\n'")})`;

function csvFields(end: string): string {
  return `concat(id, ${COLUMNS.map((column) => `',', ${csvValue(column)}`).join(", ")}, ${end})`;
}

function csvValue({ name, type }: Column): string {
  const column = identifierOf(name);
  switch (type) {
    case "string":
    case "json":
      return quoted(column);
    case "strings":
      return quoted(`to_json(${column})::VARCHAR`);
    case "integer":
    case "long":
    case "date":
      return `${column}::VARCHAR`;
    case "timestamp":
      return timeText(column);
  }
}

function quoted(text: string): string {
  return `'"' || replace(${text}, '"', '""') || '"'`;
}
