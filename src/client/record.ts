/**
 * The recorded event as the service answers it, and the query that asks for events. Both are derived from the list of
 * columns.
 *
 * as: an object with an id is taken for an event; its fields are what the service derives from the same columns
 */
import type { ColumnName, COLUMNS, ColumnType } from "../event/columns.ts";

type ValueOf<T extends ColumnType> = T extends "integer" | "long" ? number
  : T extends "strings" ? readonly string[]
  : T extends "json" ? Readonly<Record<string, unknown>>
  : string;

/** An event of the record. Null fields are left out; times are RFC 3339 with six decimals and Z. */
export type RecordedEvent =
  & { readonly id: string }
  & { readonly [C in typeof COLUMNS[number] as C["name"]]?: ValueOf<C["type"]> };

/**
 * A condition on a column in the service's syntax: `a,b` any of, `!a,b` none of, `/etc/*` glob, `>=1000` comparison;
 * several conditions must all hold. {@link exactly} makes one from any text.
 */
export type Condition = string | number | readonly (string | number)[];

export type Conditions = { readonly [N in Exclude<ColumnName, "time">]?: Condition };

/** Which events; without `from` those of the 24 hours before `to`, without `to` until now. */
export interface EventQuery extends Conditions {
  /** Inclusive: RFC 3339, or relative such as `15m`, `now-2h`, `today`. */
  readonly from?: string;
  /** Exclusive. */
  readonly to?: string;
  /** By time; `desc` unless told. */
  readonly order?: "asc" | "desc";
  /** At most this many events in an answer. */
  readonly limit?: number;
}

/** Which events to follow. */
export interface TailQuery extends Conditions {
  /** Begins in the past: a time, an age or an event id. Without it, now. */
  readonly since?: string;
}

/** The condition that holds for exactly this text, whatever characters it has. */
export function exactly(text: string): string {
  return text.replace(/[\\,!*?<>]/g, (char) => `\\${char}`);
}

/** The event in a value that the service sent. Throws TypeError when it is none. */
export function recordedEvent(value: unknown): RecordedEvent {
  if (typeof value !== "object" || value === null || !("id" in value)) {
    throw new TypeError(`Cannot read an event: ${JSON.stringify(value)?.slice(0, 200)} has no id`);
  }
  if (typeof value.id !== "string") throw new TypeError("Cannot read an event: its id is no text");
  return value as RecordedEvent;
}
