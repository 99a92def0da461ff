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

/** In rising order. */
export const SEVERITIES = ["info", "low", "medium", "high", "critical"] as const;
export type Severity = typeof SEVERITIES[number];

export interface AuditEvent extends EventFields {
  /** Microseconds since the Unix epoch, UTC; a safe integer until the year 2255. */
  readonly timeUs: number;
  readonly topic: string;
  readonly severity: Severity;
}

/**
 * RFC 3339 with six decimals and Z, in whole microseconds. What is no safe integer from 0 on is cut to one, so until
 * the year 2255: one time that cannot be read would make a whole batch unreadable.
 */
export function formatTime(timeUs: number): string {
  const wholeUs = Math.floor(Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, timeUs || 0)));
  const milliseconds = Math.floor(wholeUs / 1000);
  const rest = wholeUs - milliseconds * 1000;
  return new Date(milliseconds).toISOString().slice(0, -1) + String(rest).padStart(3, "0") + "Z";
}

/**
 * The text of one line after its opening brace and `idx`: `"time":"…",…}`. The batcher puts `{"idx":n,` before it.
 * Lone surrogates, which readers refuse, are written as U+FFFD.
 */
export function lineFields(event: AuditEvent): string {
  const { timeUs, ...fields } = event;
  const line = { time: formatTime(timeUs), ...fields };
  const text = JSON.stringify(line);
  // JSON.stringify writes lone surrogates, and no others, as escapes.
  return (text.includes("\\ud") ? JSON.stringify(wellFormed(line)) : text).slice(1);
}

/** The same value with U+FFFD for every lone surrogate, in keys as well. */
function wellFormed(value: unknown): unknown {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key.toWellFormed(), wellFormed(each)]),
  );
}
