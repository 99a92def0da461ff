/**
 * Parameters of the methods: read once, strictly. Names and forms are those of Polykey's audit domain, with times as
 * people write them and places of a tail beside.
 */
import { findColumn } from "../../event/columns.ts";
import { type EventPlace, parseEventId } from "../../event/event-id.ts";
import { isTopic } from "../../event/topic.ts";
import type { Condition } from "../filter.ts";
import { ProblemError } from "../problem.ts";
import { decodeTailPlace, type TailPlace } from "../tail-place.ts";
import { parseTime, TIME_FORMS, type TimeContext } from "../time-text.ts";

/** One end of what is asked for. */
export type Seek =
  | { readonly kind: "time"; readonly timeUs: number }
  | { readonly kind: "event"; readonly place: EventPlace };

export interface EventsParams {
  /** Undefined when every event is meant; none when no event is. */
  readonly topics: readonly string[] | undefined;
  /** Inclusive; a place is one to go on after. */
  readonly seek: Seek | { readonly kind: "place"; readonly place: TailPlace } | undefined;
  /** Exclusive. */
  readonly seekEnd: Seek | undefined;
  readonly order: "asc" | "desc";
  readonly limit: number | undefined;
  readonly awaitFutureEvents: boolean;
}

export interface MetricParams {
  readonly topic: string | undefined;
  readonly seek: Seek | undefined;
  readonly seekEnd: Seek | undefined;
}

export const PATHS_MAX = 64;

export function parseEventsParams(params: unknown, context: TimeContext): EventsParams {
  const names = ["paths", "seek", "seekEnd", "order", "limit", "awaitFutureEvents"];
  const { paths, seek, seekEnd, order = "asc", limit, awaitFutureEvents = false } = membersOf(
    params,
    names,
  );
  if (!Array.isArray(paths) || paths.length > PATHS_MAX) {
    throw wrong("paths", `a list of at most ${PATHS_MAX} lists of segments`);
  }
  const topics = paths.map((path) => topicOf("paths", path));
  if (order !== "asc" && order !== "desc") throw wrong("order", `"asc" or "desc"`);
  if (typeof awaitFutureEvents !== "boolean") throw wrong("awaitFutureEvents", "true or false");
  if (awaitFutureEvents && order === "desc") {
    throw wrong("order", `"asc" where future events are awaited`);
  }
  if (limit !== undefined && !(Number.isSafeInteger(limit) && Number(limit) >= 1)) {
    throw wrong("limit", "an integer from 1");
  }
  const place = awaitFutureEvents && typeof seek === "string" ? decodeTailPlace(seek) : undefined;
  return {
    topics: topics.some((topic) => topic === undefined)
      ? undefined
      : topics.flatMap((t) => t ?? []),
    seek: place === undefined ? seekOf("seek", seek, context) : { kind: "place", place },
    seekEnd: seekOf("seekEnd", seekEnd, context),
    order,
    limit: limit === undefined ? undefined : Number(limit),
    awaitFutureEvents,
  };
}

export function parseMetricParams(params: unknown, context: TimeContext): MetricParams {
  const { path, seek, seekEnd } = membersOf(params, ["path", "seek", "seekEnd"]);
  return {
    topic: topicOf("path", path),
    seek: seekOf("seek", seek, context),
    seekEnd: seekOf("seekEnd", seekEnd, context),
  };
}

/** Events of any of the topics. There is one condition, so there is one order and nothing comes twice. */
export function topicsCondition(topics: readonly string[] | undefined): Condition[] {
  const column = findColumn("topic");
  if (topics === undefined || column === undefined) return [];
  const matches = topics.map((value) => ({ kind: "equal", value }) as const);
  return [{ column, isNegated: false, matches }];
}

function membersOf(params: unknown, names: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof params !== "object" || params === null || Array.isArray(params)) {
    throw wrong("params", `an object with ${names.join(", ")}`);
  }
  const entries = Object.entries(params);
  const unknown = entries.find(([name]) => !names.includes(name));
  if (unknown !== undefined) {
    const name = unknown[0].slice(0, 100);
    throw new ProblemError(400, `There is no parameter "${name}" here`, {
      parameter: name,
      accepted: names.join(", "),
    });
  }
  return Object.fromEntries(entries);
}

/** Undefined for the empty path, which contains all topics. */
function topicOf(parameter: string, path: unknown): string | undefined {
  if (Array.isArray(path) && path.length === 0) return undefined;
  const isPath = Array.isArray(path) &&
    path.every((each) => typeof each === "string" && !each.includes("/"));
  const topic = isPath ? path.join("/") : "";
  if (!isPath || !isTopic(topic)) {
    throw wrong(parameter, `segments of a topic, such as ["process", "exec"], or [] for all`);
  }
  return topic;
}

function seekOf(parameter: string, value: unknown, context: TimeContext): Seek | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string") {
    const place = parseEventId(value);
    if (place !== undefined) return { kind: "event", place };
    const timeUs = parseTime(value, context);
    if (timeUs !== undefined) return { kind: "time", timeUs };
  }
  if (typeof value === "number" && value >= 0 && value * 1_000 <= Number.MAX_SAFE_INTEGER) {
    return { kind: "time", timeUs: Math.floor(value * 1_000) };
  }
  const places = parameter === "seek" ? ", or, where future events are awaited, a place" : "";
  throw wrong(parameter, `an event's id, ms since 1970, ${TIME_FORMS}${places}`);
}

function wrong(parameter: string, accepted: string): ProblemError {
  return new ProblemError(400, `The parameter "${parameter}" cannot be used`, {
    parameter,
    accepted,
  });
}
