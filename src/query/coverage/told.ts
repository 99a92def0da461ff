/**
 * Rows of coverage as typed values: what an agent said and which gaps were told. Agents are not believed to keep any
 * form: a member of another type is one that was not told.
 */
import type { JsonValue, SqlRow } from "../../storage/duckdb.ts";
import { SOURCES_MAX } from "./source-coverage.ts";

export interface SourceState {
  readonly source: string;
  readonly state: "on" | "off" | "blind";
  /** Why it is off. */
  readonly reason: string | undefined;
  /** Of a source that is on: what of it is off, and why. */
  readonly missing?: string | undefined;
}

/** A moment at which an edge agent said something of itself. */
export interface Sign {
  readonly host: string;
  readonly agent: string;
  readonly what: "start" | "stop" | "heartbeat" | "config";
  readonly timeUs: number;
  readonly version: string | undefined;
  readonly boot: string | undefined;
  readonly config: string | undefined;
  /** Undefined when it says nothing of them. */
  readonly sources: readonly SourceState[] | undefined;
  /** Whether it named more sources than are followed. */
  readonly isSourcesCut: boolean;
  /** Keys that a new configuration changed. */
  readonly changed: readonly string[];
  readonly outcome: string | undefined;
  /** The sign before it of the agent, whether or not that is among these. */
  readonly before: { readonly timeUs: number; readonly isStop: boolean } | undefined;
}

export interface ToldGap {
  /** Empty while it is not known which hosts there are and all are concerned. */
  readonly host: string;
  /** Whether anyone's events may be missing: the stream lost messages, and nobody knows whose. */
  readonly isOfAll: boolean;
  readonly agent: string;
  readonly class: string;
  /** Empty when all that the agent told of may be concerned. */
  readonly sources: readonly string[];
  readonly fromUs: number;
  readonly toUs: number;
  /** Undefined when unknowable. */
  readonly count: number | undefined;
  readonly reason: string;
  /** Events that told it, and the first of them. */
  readonly events: number;
  readonly id: string;
}

/** Longest name and reason that are taken over, in characters. */
const TEXT_LENGTH_MAX = 300;

export function readSign(row: SqlRow): Sign {
  const beforeUs = row["before_us"] ?? null;
  const sources = parse(row["sources"]);
  return {
    host: String(row["host"]),
    agent: String(row["agent"]),
    what: whatOf(row["topic"]),
    timeUs: Number(row["time_us"]),
    version: textOf(row["version"]),
    boot: textOf(row["boot"]),
    config: textOf(row["config"]),
    sources: sourcesOf(sources),
    isSourcesCut: Array.isArray(sources) && sources.length > SOURCES_MAX,
    changed: textsOf(parse(row["changed"])),
    outcome: textOf(row["outcome"]),
    before: beforeUs === null
      ? undefined
      : { timeUs: Number(beforeUs), isStop: row["before_topic"] === "agent/stop" },
  };
}

export function readGap(row: SqlRow): ToldGap {
  const reason = textOf(row["reason"]) ?? "no reason was told";
  const sources = parse(row["sources"]);
  const others = Number(row["reasons"]) - 1;
  return {
    host: String(row["host"] ?? ""),
    isOfAll: row["host"] === null,
    agent: String(row["agent"]),
    class: textOf(row["class"]) ?? "unknown",
    // Of more than are followed, all may be concerned.
    sources: Array.isArray(sources) && sources.length > SOURCES_MAX ? [] : textsOf(sources),
    fromUs: Number(row["from_us"]),
    toUs: Number(row["to_us"]),
    count: row["lost"] === null ? undefined : Number(row["lost"]),
    reason: others > 0 ? `${reason}; and ${others} more` : reason,
    events: Number(row["events"]),
    id: String(row["id"]),
  };
}

function whatOf(topic: JsonValue | undefined): Sign["what"] {
  switch (topic) {
    case "agent/start":
      return "start";
    case "agent/stop":
      return "stop";
    case "agent/config":
      return "config";
    default:
      return "heartbeat";
  }
}

function sourcesOf(value: unknown): readonly SourceState[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.slice(0, SOURCES_MAX).flatMap((each: unknown): SourceState[] => {
    if (typeof each !== "object" || each === null || !("name" in each)) return [];
    const source = textOf(each.name);
    if (source === undefined) return [];
    const told = "state" in each ? each.state : undefined;
    const state = told === "on" || told === "blind" ? told : "off";
    const reason = textOf("reason" in each ? each.reason : undefined);
    return [{
      source,
      state,
      reason,
      missing: missingOf("hooks" in each ? each.hooks : undefined),
    }];
  });
}

/** Hooks that are off. */
function missingOf(hooks: unknown): string | undefined {
  if (!Array.isArray(hooks)) return undefined;
  const off = hooks.slice(0, SOURCES_MAX).flatMap((each: unknown): string[] => {
    if (typeof each !== "object" || each === null || !("name" in each)) return [];
    if (!("state" in each) || each.state !== "off") return [];
    const reason = textOf("reason" in each ? each.reason : undefined) ?? "no reason was told";
    return [`${textOf(each.name) ?? "a part"} is off: ${reason}`];
  });
  return textOf(off.join("; "));
}

function parse(value: JsonValue | undefined): unknown {
  return typeof value === "string" ? JSON.parse(value) : undefined;
}

function textsOf(value: unknown): readonly string[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, SOURCES_MAX).flatMap((each: unknown) => textOf(each) ?? []);
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value.slice(0, TEXT_LENGTH_MAX) : undefined;
}
