/**
 * The only list of columns. The Delta schema, the typed read of lines, Parquet files, filters, OpenAPI,
 * SQL views and the tables in docs are derived from it.
 *
 * Invariants: order and field ids never change; new columns go last and are nullable; the first
 * {@link INDEXED_COLUMNS} carry statistics in the Delta log.
 */

/** Storage type of a column; `strings` is a list of strings, `json` is JSON text. */
export type ColumnType =
  | "string"
  | "integer"
  | "long"
  | "timestamp"
  | "date"
  | "strings"
  | "json";

/**
 * Where a value comes from: `line` the JSON line itself, `batch` the headers of the message that carried it,
 * `place` the message's place in the log, `derived` computed from the others.
 */
export type ColumnOrigin = "line" | "batch" | "place" | "derived";

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  readonly origin: ColumnOrigin;
  readonly text: string;
}

/** How many leading columns carry minimum, maximum and null count in the Delta log. */
export const INDEXED_COLUMNS = 32;

/** The column by which the table is partitioned; not stored inside data files. */
export const PARTITION_COLUMN = "event_date";

export const COLUMNS = [
  column("time", "timestamp", "line", "when it happened, on the host's clock (UTC, µs)"),
  column("incarnation", "string", "place", "the stream's incarnation: 8 hex characters"),
  column("seq", "long", "place", "sequence of the message in its stream"),
  column("idx", "integer", "line", "place of the line in its batch, from 0"),
  column("host", "string", "batch", "the host's enrolled name"),
  column("topic", "string", "line", "what kind of event, as segments joined by /"),
  column("logged_at", "timestamp", "place", "when the broker stored it (UTC, µs)"),
  column("outcome", "string", "line", "success or failure"),
  column("errno", "integer", "line", "error number of a failure"),
  column("severity", "string", "line", "info, low, medium, high or critical"),
  column("user", "string", "line", "name of uid, resolved at the source"),
  column("uid", "long", "line", "real user id"),
  column("euid", "long", "line", "effective user id"),
  column("gid", "long", "line", "real group id"),
  column("auid", "long", "line", "login user id; null when unset"),
  column("auid_user", "string", "line", "name of auid, resolved at the source"),
  column("pid", "long", "line", "process id in the initial namespace"),
  column("ppid", "long", "line", "parent's process id"),
  column("process_id", "string", "line", "process identity, stable over pid reuse"),
  column("parent_process_id", "string", "line", "the parent's process identity"),
  column("exe", "string", "line", "full path of the executable"),
  column("comm", "string", "line", "command name, at most 15 bytes"),
  column("path", "string", "line", "object of a file event"),
  column("src_ip", "string", "line", "source address"),
  column("src_port", "integer", "line", "source port"),
  column("dst_ip", "string", "line", "destination address"),
  column("dst_port", "integer", "line", "destination port"),
  column("protocol", "string", "line", "tcp or udp"),
  column("session", "string", "line", "login session"),
  column("container", "string", "line", "container id"),
  column("service", "string", "line", "application that sent the event"),
  column("context", "string", "line", "span of a crypto or application operation"),
  column("parent_context", "string", "line", "the span above it"),
  column("cmdline", "string", "line", "full command line"),
  column("cwd", "string", "line", "working directory"),
  column("old_path", "string", "line", "source of a rename"),
  column("unit", "string", "line", "systemd unit"),
  column("message", "string", "line", "one English sentence"),
  column("topics", "strings", "line", "further topics the event belongs to"),
  column("detail", "json", "line", "everything else, by topic"),
  column("agent", "string", "batch", "agent that sent the batch"),
  column("epoch", "string", "batch", "the spool's epoch"),
  column("batch", "long", "batch", "number of the batch in its epoch"),
  column("event_date", "date", "derived", "UTC day of time (partition)"),
] as const satisfies readonly Column[];

export type ColumnName = typeof COLUMNS[number]["name"];

/** Parquet field id of a column: its place in {@link COLUMNS}, from 1. */
export function fieldIdOf(name: ColumnName): number {
  return COLUMNS.findIndex((each) => each.name === name) + 1;
}

export function findColumn(name: string): Column | undefined {
  return COLUMNS.find((each) => each.name === name);
}

function column<N extends string, T extends ColumnType, O extends ColumnOrigin>(
  name: N,
  type: T,
  origin: O,
  text: string,
): { readonly name: N; readonly type: T; readonly origin: O; readonly text: string } {
  return { name, type, origin, text };
}
