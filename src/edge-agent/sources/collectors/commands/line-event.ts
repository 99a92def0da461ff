/**
 * A line that a program wrote, as an event: a JSON object is taken apart, its known fields by name; everything else is kept
 * whole as text. Pure.
 *
 * Invariants: any bytes give exactly one event; a program says nothing of who did something but a name, and no topic beside
 * those that it was given. What it claims and may not is kept in `detail`.
 */
import type { AuditEvent, EventFields, Severity } from "../../../../event/event.ts";
import { isTopic, isTopicUnder } from "../../../../event/topic.ts";
import { textOfBytes } from "../../../byte-text.ts";
import {
  isObject,
  memberName,
  parseExact,
  severityOfLevel,
} from "../../applications/object-members.ts";

/** Longest line that is kept whole; of a longer one, the beginning. */
export const LINE_BYTES_MAX = 64 * 1024;
/** JSON that is nested deeper is kept as text. */
export const JSON_DEPTH_MAX = 32;
/** A time further off is a claim: see the receiver's rule. */
const CLAIM_US_MAX = 64 * 86_400_000_000;

export interface LineOrigin {
  /** Name of the collector. */
  readonly name: string;
  readonly topic: string;
  readonly nowUs: number;
  /** Whether the line went on beyond what was read of it. */
  readonly isCut: boolean;
  /** Columns that are known of it for sure. */
  readonly columns?: Pick<EventFields, "uid" | "user">;
}

/** Texts that an object may give as columns. */
const TEXTS =
  "message user path old_path service unit src_ip dst_ip protocol context parent_context"
    .split(" ");
const PORTS = ["src_port", "dst_port"] as const;
const TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)$/;

export function eventOfLine(bytes: Uint8Array, origin: LineOrigin): AuditEvent {
  const { text, isEscaped } = textOfBytes(bytes);
  const object = origin.isCut || isEscaped ? undefined : parseObject(text);
  if (object !== undefined) return eventOfObject(object, origin);
  const { name, topic, nowUs, isCut, columns } = origin;
  const detail = {
    ...(isCut ? { truncated: true } : {}),
    ...(isEscaped ? { escaped: ["message"] } : {}),
  };
  return {
    timeUs: nowUs,
    topic,
    severity: "info",
    service: name,
    message: text,
    ...columns,
    ...(Object.keys(detail).length === 0 ? {} : { detail }),
  };
}

type Json = Readonly<Record<string, unknown>>;

function eventOfObject(object: Json, origin: LineOrigin): AuditEvent {
  const { name, nowUs, columns = {} } = origin;
  const left = new Map(Object.entries(object));
  /** Takes a member whose value is what it should be. */
  const take = <T>(key: string, read: (value: unknown) => T | undefined): T | undefined => {
    const value = read(left.get(key));
    if (value !== undefined) left.delete(key);
    return value;
  };
  const topic = take("topic", (value) => topicOf(value, origin.topic)) ?? origin.topic;
  const severity = take("severity", severityOf) ?? take("level", severityOf) ?? "info";
  const timeUs = take("time", (value) => timeOf(value, nowUs)) ?? nowUs;
  const outcome = take(
    "outcome",
    (value) => value === "success" || value === "failure" ? value : undefined,
  );
  const texts = TEXTS.filter((key) => !(key in columns)).flatMap((key) => {
    const value = take(key, (each) => typeof each === "string" ? each : undefined);
    return value === undefined ? [] : [[key, value] as const];
  });
  const ports = PORTS.flatMap((key) => {
    const value = take(key, portOf);
    return value === undefined ? [] : [[key, value] as const];
  });
  const own = take("detail", (value) => isObject(value) ? value : undefined) ?? {};
  const claimed = ["topic", "time"].flatMap((key) => {
    const value = left.get(key);
    if (value === undefined) return [];
    left.delete(key);
    return [[`claimed_${key}`, typeof value === "string" ? value : JSON.stringify(value)] as const];
  });
  const said = [...Object.entries(own), ...left].map(([key, value]) => [memberName(key), value]);
  const detail = Object.fromEntries([...said, ...claimed]);
  return {
    timeUs,
    topic,
    severity,
    service: name,
    ...(outcome === undefined ? {} : { outcome }),
    ...Object.fromEntries([...texts, ...ports]),
    ...columns,
    ...(Object.keys(detail).length === 0 ? {} : { detail }),
  };
}

function topicOf(value: unknown, base: string): string | undefined {
  if (typeof value !== "string") return undefined;
  const below = `${base}/${value}`;
  if (isTopicUnder(value, base) && isTopic(value)) return value;
  return isTopic(below) ? below : undefined;
}

function severityOf(value: unknown): Severity | undefined {
  const isLevel = typeof value === "string" || typeof value === "number";
  return isLevel ? severityOfLevel(String(value)) : undefined;
}

function timeOf(value: unknown, nowUs: number): number | undefined {
  if (typeof value !== "string" || !TIME.test(value)) return undefined;
  const ms = Date.parse(value.replace(" ", "T"));
  if (Number.isNaN(ms)) return undefined;
  const fraction = /\.(\d+)/.exec(value)?.[1] ?? "";
  const timeUs = Math.floor(ms / 1000) * 1_000_000 + Number(fraction.padEnd(6, "0").slice(0, 6));
  return Math.abs(nowUs - timeUs) <= CLAIM_US_MAX ? timeUs : undefined;
}

function portOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 65_535
    ? value
    : undefined;
}

function parseObject(text: string): Json | undefined {
  if (!/^\s*\{/.test(text) || isDeep(text)) return undefined;
  // It may be text that begins like JSON.
  const value = parseExact(text);
  return isObject(value) ? value : undefined;
}

/** Counts brackets in texts as well: what is refused so is kept as text. */
function isDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x7b || code === 0x5b) depth += 1;
    else if (code === 0x7d || code === 0x5d) depth -= 1;
    if (depth > JSON_DEPTH_MAX) return true;
  }
  return false;
}
