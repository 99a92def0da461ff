/**
 * A subscription at rest: what it asks for, how far it was read, and who reads it now. Kept in the registry, so that it
 * outlives every process; the query service moves it, the roll-up looks at it before it truncates the log.
 *
 * Invariant: everything up to its place was handed to its reader, skipped, or is named in a gap: the place moves before
 * an event leaves the service, never after.
 */
import { isRecord } from "./json-text.ts";
import type { ObjectStore } from "./object-store.ts";
import { createRegistry, type Registry } from "./registry.ts";

/** What happens to one that is further behind than it may be. */
export type WhenBehind = "pause" | "skip";

export interface SubscriptionPolicy {
  /** `pause`: the log no longer waits for it, it reads on from the archive; `skip`: it goes on at the present. */
  readonly whenBehind: WhenBehind;
  /** How far behind it may be, by the age of what it reads next, in milliseconds. */
  readonly lagMaxMs: number;
  /** It is removed when nobody has read it for so long, in milliseconds. */
  readonly expireMs: number;
}

/** Last event of one incarnation that was handed out, as places of the live tail have it. */
export interface StreamPlaceAtRest {
  readonly sequence: number;
  readonly idx: number;
}

export interface SubscriptionPlace {
  /** What was handed out or passed over and is in the archive for good, by incarnation: reading goes on after it. */
  readonly streams: Readonly<Record<string, StreamPlaceAtRest>>;
  /** What was handed out or passed over beyond that, before it was committed. */
  readonly reached: Readonly<Record<string, StreamPlaceAtRest>>;
  /** Broker time up to which streams were known then, µs. */
  readonly knownUs: number;
  /** Broker time of the newest event it covers, µs. */
  readonly reachedUs: number;
}

/** What was reserved to be sent, until it is certain that it was. */
export interface ReservedBlock {
  /** Undefined when it is not known. */
  readonly count: number | undefined;
  /** Id of the last event that was given before it; undefined when there is none. */
  readonly after: string | undefined;
  /** Ids of its first and last event. */
  readonly from: string;
  readonly to: string;
}

/** The last event handed out of an agent's epoch before it was committed: a broker may lose it, to be sent it again. */
export interface AheadBatch {
  readonly incarnation: string;
  readonly sequence: number;
  readonly batch: number;
  readonly idx: number;
}

export interface Subscription {
  /** Random; tells it from another of the same name. */
  readonly id: string;
  /** Name of the principal who made it. */
  readonly owner: string;
  readonly createdUs: number;
  /** Conditions by column, in the texts that were given; a column's conditions must all hold. */
  readonly filters: Readonly<Record<string, readonly string[]>>;
  /** What relative times in the filters count from. */
  readonly filterTime: { readonly nowUs: number; readonly bootUs: number };
  /** Earliest time of the events wanted, µs; undefined for all. */
  readonly sinceUs: number | undefined;
  readonly policy: SubscriptionPolicy;
  readonly place: SubscriptionPlace;
  /** Who reads it now; the turn ends by itself. */
  readonly reader: { readonly session: string; readonly untilUs: number } | undefined;
  readonly reserved: ReservedBlock | undefined;
  /** Id of the last event that was given. */
  readonly lastId: string | undefined;
  /** From where on events were gone when it was made, by id or time; until something is handed out or skipped. */
  readonly goneFrom?: string | undefined;
  /** By agent and epoch, as `<agent>/<epoch>`. */
  readonly ahead: Readonly<Record<string, AheadBatch>>;
  /** When a reader was last here, µs. */
  readonly seenUs: number;
  readonly delivered: number;
  readonly skipped: number;
}

/** Kind of the registry. */
const KIND = "subscriptions";

export function createSubscriptionRegistry(
  options: { readonly store: ObjectStore; readonly nowMs?: () => number },
): Registry<Subscription> {
  return createRegistry({ ...options, kind: KIND, parse: parseSubscription });
}

/** The subscription in JSON that was read. Throws SyntaxError when it is none. */
export function parseSubscription(value: unknown): Subscription {
  const body = fieldsOf(value, "the subscription");
  const policy = fieldsOf(body["policy"], "policy");
  const filterTime = fieldsOf(body["filterTime"], "filterTime");
  return {
    id: textOf(body, "id"),
    owner: textOf(body, "owner"),
    createdUs: naturalOf(body, "createdUs"),
    filters: mapOf(body["filters"], "filters", textsOf),
    filterTime: {
      nowUs: naturalOf(filterTime, "nowUs"),
      bootUs: naturalOf(filterTime, "bootUs"),
    },
    sinceUs: optional(body["sinceUs"], () => naturalOf(body, "sinceUs")),
    policy: {
      whenBehind: whenBehindOf(policy["whenBehind"]),
      lagMaxMs: naturalOf(policy, "lagMaxMs"),
      expireMs: naturalOf(policy, "expireMs"),
    },
    ...parseReadingPlace(value),
    reader: optional(body["reader"], parseReader),
    reserved: optional(body["reserved"], parseReserved),
    lastId: optional(body["lastId"], () => textOf(body, "lastId")),
    goneFrom: optional(body["goneFrom"], () => textOf(body, "goneFrom")),
    seenUs: naturalOf(body, "seenUs"),
    delivered: naturalOf(body, "delivered"),
    skipped: naturalOf(body, "skipped"),
  };
}

/** How far the record was read, in JSON that holds more than that. Throws SyntaxError when it is not there. */
export function parseReadingPlace(value: unknown): Pick<Subscription, "place" | "ahead"> {
  const body = fieldsOf(value, "what reads");
  const place = fieldsOf(body["place"], "place");
  return {
    place: {
      streams: mapOf(place["streams"], "streams", parseStreamPlace),
      reached: mapOf(place["reached"], "reached", parseStreamPlace),
      knownUs: naturalOf(place, "knownUs"),
      reachedUs: naturalOf(place, "reachedUs"),
    },
    ahead: mapOf(body["ahead"], "ahead", parseAhead),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function parseStreamPlace(value: unknown): StreamPlaceAtRest {
  const body = fieldsOf(value, "a stream");
  return { sequence: naturalOf(body, "sequence"), idx: naturalOf(body, "idx") };
}

function parseReader(value: unknown): { readonly session: string; readonly untilUs: number } {
  const body = fieldsOf(value, "the reader");
  return { session: textOf(body, "session"), untilUs: naturalOf(body, "untilUs") };
}

function parseReserved(value: unknown): ReservedBlock {
  const body = fieldsOf(value, "the block");
  return {
    count: optional(body["count"], () => naturalOf(body, "count")),
    after: optional(body["after"], () => textOf(body, "after")),
    from: textOf(body, "from"),
    to: textOf(body, "to"),
  };
}

function parseAhead(value: unknown): AheadBatch {
  const body = fieldsOf(value, "an agent");
  return {
    incarnation: textOf(body, "incarnation"),
    sequence: naturalOf(body, "sequence"),
    batch: naturalOf(body, "batch"),
    idx: naturalOf(body, "idx"),
  };
}

function optional<T>(value: unknown, parse: (value: unknown) => T): T | undefined {
  return value === undefined ? undefined : parse(value);
}

function mapOf<T>(
  value: unknown,
  name: string,
  parse: (each: unknown) => T,
): Readonly<Record<string, T>> {
  const entries = Object.entries(fieldsOf(value, name));
  return Object.fromEntries(entries.map(([key, each]) => [key, parse(each)]));
}

function fieldsOf(value: unknown, name: string): Fields {
  if (isRecord(value)) return value;
  throw new SyntaxError(`${name} is no object`);
}

function textsOf(value: unknown): readonly string[] {
  const texts = Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
  if (Array.isArray(value) && texts.length === value.length) return texts;
  throw new SyntaxError("a filter is no list of texts");
}

function textOf(body: Fields, name: string): string {
  const value = body[name];
  if (typeof value === "string") return value;
  throw new SyntaxError(`"${name}" is no text`);
}

function whenBehindOf(value: unknown): WhenBehind {
  if (value === "pause" || value === "skip") return value;
  throw new SyntaxError(`"whenBehind" is neither "pause" nor "skip"`);
}

function naturalOf(body: Fields, name: string): number {
  const value = body[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new SyntaxError(`"${name}" is no number from 0 to 2^53`);
}
