/**
 * The event as producers know it: the fields of one line, before the log has given it a place.
 * The shape is derived from {@link COLUMNS}; absent fields are left out, never written as null.
 */
import type { COLUMNS, ColumnType } from "./columns.ts";

type ValueOf<T extends ColumnType> = T extends "string" | "timestamp" | "date" ? string
  : T extends "integer" | "long" ? number
  : T extends "strings" ? readonly string[]
  : Readonly<Record<string, unknown>>;

type LineColumn = Extract<typeof COLUMNS[number], { origin: "line" }>;

/** Fields a producer may set; `idx` is given by the batcher, `time` from {@link AuditEvent.timeUs}. */
export type EventFields = {
  readonly [C in LineColumn as Exclude<C["name"], "time" | "idx">]?: ValueOf<C["type"]>;
};

export type Severity = "info" | "low" | "medium" | "high" | "critical";

export interface AuditEvent extends EventFields {
  /** Microseconds since the Unix epoch, UTC; a safe integer until the year 2255. */
  readonly timeUs: number;
  readonly topic: string;
  readonly severity: Severity;
}

/** RFC 3339 with six decimals and Z. */
export function formatTime(timeUs: number): string {
  const milliseconds = Math.floor(timeUs / 1000);
  const rest = timeUs - milliseconds * 1000;
  return new Date(milliseconds).toISOString().slice(0, -1) + String(rest).padStart(3, "0") + "Z";
}

/**
 * The text of one line after its opening brace and `idx`: `"time":"…",…}`. The batcher puts `{"idx":n,` before it.
 * Lone surrogates, which readers refuse, are written as U+FFFD.
 */
export function lineFields(event: AuditEvent): string {
  const { timeUs, ...fields } = event;
  return JSON.stringify({ time: formatTime(timeUs), ...fields }, wellFormed).slice(1);
}

function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.toWellFormed() : value;
}
