/**
 * The one typed read: how lines of payloads become rows, for the archive, the hot table and the live tail alike.
 * Derived from {@link COLUMNS}; what it cannot take whole is refused, never turned into nulls.
 *
 * Payloads lie unopened in files named by a number, their sequence or another one; what a message says of all its rows lies in a table of
 * messages that is joined to them. Gap rows, which acceptance makes, are further files of the same read.
 *
 * Invariant: the columns `incarnation`, `seq`, `logged_at`, `host`, `agent`, `epoch` and `batch` come from the message
 * and never from a line. Source: DuckDB 1.5 `read_json`.
 */
import { type Column, type ColumnName, COLUMNS } from "../event/columns.ts";
import { BATCH_SPAN_US, PAYLOAD_JSON_BYTES_MAX } from "../event/wire.ts";
import type { SqlValue } from "./duckdb.ts";
import { identifierOf, listOf, literalOf } from "./sql-text.ts";

/** A message whose lines are read: what its rows have in common. */
export interface PlacedMessage {
  readonly incarnation: string;
  readonly sequence: number;
  readonly loggedAtUs: number;
  /** Null where the message's headers could not be trusted and it has gap rows only. */
  readonly host: string | null;
  readonly agent: string | null;
  readonly epoch: string | null;
  readonly batch: number | null;
  /** `Probity-Last`: no line is later; µs since the Unix epoch. */
  readonly lastUs: number;
  /** How many rows it must have, lines and gap rows together, with `idx` from 0 on without a hole. */
  readonly rows: number;
  /** Number that its files are named by, of those read together; its sequence when it is left out. */
  readonly file?: number;
}

/** Name of the file that holds a payload, in the folder of those read together. */
export function payloadFileName(file: number): string {
  return `${file}.ndjson.zst`;
}

/** Name of the file that holds a message's gap rows, as text of `gapLines`. */
export function gapFileName(file: number): string {
  return `${file}${GAP_SUFFIX}`;
}

const GAP_SUFFIX = ".gap.ndjson";

/** SQL type of a column in tables and in Parquet; JSON is text. */
export function sqlTypeOf({ type }: Pick<Column, "type">): string {
  switch (type) {
    case "string":
    case "json":
      return "VARCHAR";
    case "integer":
      return "INTEGER";
    case "long":
      return "BIGINT";
    case "timestamp":
      return "TIMESTAMPTZ";
    case "date":
      return "DATE";
    case "strings":
      return "VARCHAR[]";
  }
}

/** Statement that makes the table of messages; rows by {@link messageRow}. */
export function createMessageTable(table: string): string {
  return `CREATE OR REPLACE TEMP TABLE ${identifierOf(table)} (
    incarnation VARCHAR, seq BIGINT, logged_at TIMESTAMPTZ, host VARCHAR, agent VARCHAR, epoch VARCHAR, batch BIGINT,
    earliest TIMESTAMPTZ, latest TIMESTAMPTZ, row_count BIGINT, file BIGINT)`;
}

/** A message as a row of the table of messages, for `Connection.append`. */
export function messageRow(message: PlacedMessage): readonly SqlValue[] {
  const { incarnation, sequence, loggedAtUs, host, agent, epoch, batch, lastUs, rows } = message;
  const earliestUs = lastUs - BATCH_SPAN_US;
  return [
    incarnation,
    sequence,
    loggedAtUs,
    host,
    agent,
    epoch,
    batch,
    earliestUs,
    lastUs,
    rows,
    message.file ?? sequence,
  ];
}

export interface TypedReadOptions {
  /** Paths of payload and gap files; rows come in this order. */
  readonly files: readonly string[];
  /** Name of the table that holds their messages. */
  readonly messages: string;
}

/**
 * SELECT of all columns of {@link COLUMNS}, in order, for the lines of the files. It fails as a whole when any line is
 * not JSON or does not fit its columns; a file cut short may read as empty, so check frames before and rows after.
 *
 * A line whose time is more than 64 days before its message's last or after it takes the last as its time and keeps
 * its own in `detail.claimed_time`; one without a time takes the last. Gap rows keep theirs.
 */
export function typedRead({ files, messages }: TypedReadOptions): string {
  if (files.length === 0) return `SELECT ${COLUMNS.map(emptyColumn).join(", ")} WHERE false`;
  return `SELECT ${COLUMNS.map(outerColumn).join(", ")} FROM (
    SELECT line.* EXCLUDE (time, detail), message.*,
      line.time AS claimed, CAST(line.time AS TIMESTAMPTZ) AS own,
      CASE WHEN starts_with(line.detail, '{') OR line.detail IS NULL THEN line.detail
        ELSE json_object('value', line.detail) END AS said,
      own BETWEEN earliest AND latest OR ends_with(line.filename, ${literalOf(GAP_SUFFIX)})
        AS is_kept
    FROM read_json(${listOf(files)}, format = 'newline_delimited', filename = true,
      maximum_object_size = ${PAYLOAD_JSON_BYTES_MAX}, columns = {${LINE_TYPES}}) AS line
    JOIN ${identifierOf(messages)} AS message
      ON message.file = CAST(split_part(parse_filename(line.filename), '.', 1) AS BIGINT))`;
}

export interface RowFaultsOptions {
  /** SQL of the rows that were read: a table or a subquery with `seq` and `idx`. */
  readonly rows: string;
  /** SQL of what there should be: a table or a subquery with `seq` and `row_count`. */
  readonly expected: string;
}

/** SELECT of `seq` of every message whose rows are not as many as expected, with `idx` 0, 1, 2 … each once. */
export function rowFaults({ rows, expected }: RowFaultsOptions): string {
  return `SELECT seq FROM ${expected} AS expected
    LEFT JOIN (SELECT seq, count(*) AS n, min(idx) AS least, max(idx) AS greatest,
      count(DISTINCT idx) AS different FROM ${rows} GROUP BY seq) AS found USING (seq)
    WHERE coalesce(n, 0) <> row_count
      OR (n > 0 AND (different <> n OR least <> 0 OR greatest <> n - 1))
    ORDER BY seq`;
}

/** A row's place, as it was given back; null where the line says none. */
export interface RowPlace {
  readonly seq: number;
  readonly idx: number | null;
}

/** The same as {@link rowFaults}, of rows that are at hand: those that a statement says it added. */
export function faultsAmong(
  rows: Iterable<RowPlace>,
  expected: Iterable<Pick<PlacedMessage, "sequence" | "rows">>,
): number[] {
  const seen = new Map<number, Set<number>>();
  const faulty = new Set<number>();
  for (const { seq, idx } of rows) {
    const places = seen.get(seq) ?? new Set();
    seen.set(seq, places);
    if (idx === null || idx < 0 || places.has(idx)) faulty.add(seq);
    else places.add(idx);
  }
  // As many different ones as there should be, none of them beyond: then none is missing.
  return [...expected].filter(({ sequence, rows: count }) => {
    const places = seen.get(sequence) ?? new Set();
    return faulty.has(sequence) || places.size !== count ||
      [...places].some((idx) => idx >= count);
  }).map(({ sequence }) => sequence).toSorted((a, b) => a - b);
}

/** What the lines themselves hold; time is text at first, so that a claimed one is kept as it was written. */
const LINE_TYPES = COLUMNS.filter(({ origin }) => origin === "line")
  .map((column) => `${literalOf(column.name)}: ${literalOf(lineTypeOf(column))}`)
  .join(", ");

function lineTypeOf(column: Column): string {
  if (column.type === "timestamp") return "VARCHAR";
  return column.type === "json" ? "JSON" : sqlTypeOf(column);
}

const TIME = "CASE WHEN is_kept THEN own ELSE latest END";

/** Columns that are not simply the line's or the message's. */
const COMPUTED: Readonly<Partial<Record<ColumnName, string>>> = {
  time: TIME,
  // Not json_merge_patch, which recurses (DuckDB 1.5): a line nested deeply enough would end the process.
  detail: `CAST(CASE WHEN is_kept OR claimed IS NULL THEN said
    WHEN coalesce(said, '{}') = '{}' THEN json_object('claimed_time', claimed)
    WHEN json_exists(said, '$.claimed_time') THEN json_object('claimed_time', claimed, 'value', said)
    ELSE '{"claimed_time":' || to_json(claimed) || ',' || substr(CAST(said AS VARCHAR), 2)
    END AS VARCHAR)`,
  event_date: `CAST(${TIME} AS DATE)`,
};

function outerColumn({ name }: { readonly name: ColumnName }): string {
  return `${COMPUTED[name] ?? identifierOf(name)} AS ${identifierOf(name)}`;
}

function emptyColumn(column: Column): string {
  return `CAST(NULL AS ${sqlTypeOf(column)}) AS ${identifierOf(column.name)}`;
}
