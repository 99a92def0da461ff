/**
 * What the members of a program's JSON object mean, and how an object is read that a look does not suffice for.
 *
 * Invariants: what comes out is JSON on one line with valid text and every name once; of a name that is there twice the
 * last value counts, as everywhere. Numbers keep every digit: one that a double changes becomes a text.
 */
import type { Severity } from "../../../event/event.ts";
import { jsonInner } from "../../decode-text.ts";

/** Names in `detail` that Probity itself gives: a sender's member of such a name gets an underscore before it. */
export const RESERVED_NAMES: readonly string[] = [
  "__proto__",
  "claimed",
  "claimed_time",
  "escaped",
  "part",
  "sample",
];

/** Objects and lists inside each other; deeper text is kept whole as a message. */
export const DEPTH_MAX = 64;

/** Further topics that an event may have. */
const TOPICS_MAX = 16;

/** An object taken apart; undefined where it has no such member. */
export interface ObjectParts {
  readonly topic: string | undefined;
  /** The inside of a JSON string. */
  readonly message: string | undefined;
  readonly level: string | undefined;
  /** The inside of a JSON string. */
  readonly user: string | undefined;
  readonly service: string | undefined;
  /** Further topics, as the sender calls them; never an empty list. */
  readonly topics?: readonly string[] | undefined;
  /** JSON text of all members but topic, topics and message, without braces. */
  readonly rest: string;
}

/** The parts of the JSON object that a text is; undefined when it is none, or too deep. */
export function partsOfText(text: string): ObjectParts | undefined {
  const value = parseExact(text);
  return isObject(value) && depthOf(value) <= DEPTH_MAX ? partsOf(value) : undefined;
}

/** The value of a JSON text, with numbers as text that a double would change; undefined when it is no JSON. */
export function parseExact(text: string): unknown {
  try {
    return JSON.parse(text, /[0-9.]{16}|[0-9][eE]/.test(text) ? keepDigits : undefined);
  } catch {
    return undefined; // Whoever asked says what becomes of it.
  }
}

/** The parts of a parsed object that is not too deep. */
export function partsOf(value: Readonly<Record<string, unknown>>): ObjectParts {
  const textOf = (name: string): string | undefined => {
    const member = Object.hasOwn(value, name) ? value[name] : undefined;
    return typeof member === "string" ? member.toWellFormed() : undefined;
  };
  const levelOf = (name: string): string | undefined => {
    const member = Object.hasOwn(value, name) ? value[name] : undefined;
    return typeof member === "number" ? String(member) : textOf(name);
  };
  const topic = textOf("topic");
  const messageName = textOf("message") === undefined ? "msg" : "message";
  const message = textOf(messageName);
  const user = textOf("user");
  const topics = topicsOf(value);
  const taken = [
    topic === undefined ? [] : ["topic"],
    topics === undefined ? [] : ["topics"],
    message === undefined ? [] : [messageName],
  ];
  return {
    topic,
    message: message === undefined ? undefined : jsonInner(message),
    level: levelOf("level") ?? levelOf("severity"),
    user: user === undefined ? undefined : jsonInner(user),
    service: textOf("service"),
    topics,
    rest: membersOf(value, taken.flat()),
  };
}

/** JSON text of an object's members, without braces and without some. */
export function membersOf(
  value: Readonly<Record<string, unknown>>,
  without: readonly string[],
): string {
  return Object.entries(value).filter(([name]) => !without.includes(name))
    .map(([name, member]) => `${JSON.stringify(memberName(name))}:${jsonOf(member)}`).join(",");
}

function topicsOf(value: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  const topics = Object.hasOwn(value, "topics") ? value["topics"] : undefined;
  if (!Array.isArray(topics) || topics.length === 0 || topics.length > TOPICS_MAX) return undefined;
  return topics.every((topic) => typeof topic === "string")
    ? topics.map((topic) => topic.toWellFormed())
    : undefined;
}

/** How deep objects and lists lie in each other; counts no further than needed. */
export function depthOf(value: unknown): number {
  let depth = 0;
  let layer: readonly unknown[] = [value];
  while (depth <= DEPTH_MAX && layer.length > 0) {
    const containers = layer.filter((each) => typeof each === "object" && each !== null);
    if (containers.length > 0) depth += 1;
    layer = containers.flatMap((each) => Object.values(each ?? {}));
  }
  return depth;
}

const SEVERITIES: ReadonlyMap<string, Severity> = new Map([
  ...(["trace", "debug", "verbose", "info", "information", "notice"] as const).map((name) =>
    [name, "info"] as const
  ),
  ...(["low", "warn", "warning"] as const).map((name) => [name, "low"] as const),
  ...(["medium", "err", "error"] as const).map((name) => [name, "medium"] as const),
  ...(["high", "crit", "fatal", "alert"] as const).map((name) => [name, "high"] as const),
  ...(["critical", "emerg", "emergency", "panic"] as const).map((name) =>
    [name, "critical"] as const
  ),
  // Numbers as pino and bunyan give them.
  ["40", "low"],
  ["50", "medium"],
  ["60", "high"],
]);
const LEVEL_LENGTH_MAX = 16;

/** Severity of a level by the names that loggers give it; undefined for others. */
export function severityOfLevel(level: string): Severity | undefined {
  if (level.length > LEVEL_LENGTH_MAX) return undefined;
  return SEVERITIES.get(level) ?? SEVERITIES.get(level.toLowerCase());
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Name of a sender's member in `detail`: none of Probity's own. */
export function memberName(name: string): string {
  const wellFormed = name.toWellFormed();
  return RESERVED_NAMES.includes(wellFormed) ? `_${wellFormed}` : wellFormed;
}

function jsonOf(value: unknown): string {
  const text = JSON.stringify(value);
  // JSON.stringify writes lone surrogates, and no others, as escapes.
  return text.includes("\\ud") ? JSON.stringify(wellFormed(value)) : text;
}

function wellFormed(value: unknown): unknown {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name.toWellFormed(), wellFormed(each)]),
  );
}

/** Keeps a number's own text where a double is another number. */
function keepDigits(
  _name: string,
  value: unknown,
  context?: { readonly source?: string },
): unknown {
  const source = context?.source;
  if (typeof value !== "number" || source === undefined) return value;
  const digits = source.replace(/[eE].*$/, "").replaceAll(/[^0-9]/g, "").replace(/^0+/, "");
  const isExact = Number.isFinite(value) && (digits.length <= 15 || String(value) === source) &&
    (value !== 0 || digits === "");
  return isExact ? value : source;
}
