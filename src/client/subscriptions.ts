/**
 * Subscriptions: durable places in the record, each with a filter. Every event is given at most once, also to a reader
 * that breaks off: what it may have missed is told to the next as a gap.
 */
import { readLines } from "./lines.ts";
import { ProblemError } from "./problem.ts";
import { isPassing } from "./reconnect.ts";
import { type Conditions, type RecordedEvent, recordedEvent } from "./record.ts";
import {
  type AnswerFacts,
  type Connection,
  factsOf,
  jsonOf,
  reading,
  request,
  type RequestOptions,
} from "./request.ts";
import {
  auditItems,
  followStream,
  gapOf,
  type TailGap,
  type TailItem,
  type TailOptions,
} from "./tail.ts";

/** As the service shows it; times are RFC 3339, spans texts such as `7d`. */
export interface SubscriptionInfo {
  readonly name: string;
  /** `paused`: too far behind for the log to wait for it; it reads on from the archive. */
  readonly state: "reading" | "idle" | "paused";
  readonly filters: Readonly<Record<string, readonly string[]>>;
  readonly since?: string;
  readonly owner: string;
  readonly created: string;
  readonly last_seen: string;
  /** Removed if nobody reads it until then. */
  readonly expires: string;
  readonly when_behind: "pause" | "skip";
  readonly lag_max: string;
  readonly expire: string;
  readonly position: string;
  readonly lag: { readonly messages: number; readonly seconds: number };
  readonly delivered: number;
  readonly skipped: number;
}

/** What a subscription is made with; without a policy's part, the service's own. */
export interface SubscriptionQuery extends Conditions {
  /** Where a new one begins: a time, an age or an event id; now without it. */
  readonly since?: string;
  readonly when_behind?: "pause" | "skip";
  readonly lag_max?: string;
  readonly expire?: string;
}

export interface SubscriptionReadOptions extends RequestOptions {
  /** Events in all. */
  readonly limit?: number;
  /** How long a first event is waited for, such as `30s`; 60 s at most. */
  readonly wait?: string;
  /** Ends another reader's turn instead of failing with 409. */
  readonly takesOver?: boolean;
}

export type SubscriptionFollowOptions =
  & Omit<TailOptions, "after">
  & Pick<SubscriptionReadOptions, "takesOver">;

/** `to`: a time, an age or an event id; `events`: the next so many; the present without either. */
export interface SkipTarget {
  readonly to?: string;
  readonly events?: number;
}

export interface Skipped {
  /** Events that were skipped; null when that is not known. */
  readonly count: number | null;
  readonly subscription: SubscriptionInfo;
}

/** Everything up to the present; leaving the loop over `items` ends the reading. */
export interface SubscriptionReading extends AnswerFacts {
  readonly items: AsyncIterable<Extract<TailItem, { readonly kind: "event" | "gap" }>>;
}

export interface SubscriptionClient {
  list(options?: RequestOptions): Promise<readonly SubscriptionInfo[]>;
  get(name: string, options?: RequestOptions): Promise<SubscriptionInfo>;
  /** Makes it, or changes conditions and policy of the one there is; its place stays. */
  put(
    name: string,
    query?: SubscriptionQuery,
    options?: RequestOptions,
  ): Promise<{ readonly subscription: SubscriptionInfo; readonly isNew: boolean }>;
  remove(name: string, options?: RequestOptions): Promise<void>;
  skip(name: string, target?: SkipTarget, options?: RequestOptions): Promise<Skipped>;
  /** Reads on up to the present. */
  read(name: string, options?: SubscriptionReadOptions): Promise<SubscriptionReading>;
  /** Reads on by one answer of at most `limit` events. */
  page(
    name: string,
    options?: SubscriptionReadOptions,
  ): Promise<
    & { readonly events: readonly RecordedEvent[]; readonly gaps: readonly TailGap[] }
    & AnswerFacts
  >;
  /** Reads on live until the signal is aborted, as a tail does: opened again after an outage. */
  follow(name: string, options?: SubscriptionFollowOptions): AsyncIterable<TailItem>;
}

/**
 * After an outage the service may not have seen yet that this reader has gone: its turn ends by itself within 30 s. One
 * that lasts longer is another reader's.
 */
const TURN_WAIT_MS = 45_000;

export function createSubscriptions(connection: Connection): SubscriptionClient {
  return {
    async list(options = {}) {
      const { subscriptions } = fieldsOf(await ask(connection, "v1/subscriptions", options));
      return Array.isArray(subscriptions) ? subscriptions.map(infoOf) : [];
    },
    get: async (name, options = {}) => infoOf(await ask(connection, pathOf(name), options)),
    async put(name, query = {}, options = {}) {
      const method = "PUT" as const;
      const parameters = { ...query };
      const response = await request(connection, pathOf(name), { ...options, method, parameters });
      return { subscription: infoOf(await jsonOf(response)), isNew: response.status === 201 };
    },
    async remove(name, options = {}) {
      await request(connection, pathOf(name), { ...options, method: "DELETE" });
    },
    async skip(name, target = {}, options = {}) {
      const parameters = { ...target };
      const path = `${pathOf(name)}/skip`;
      const answer = fieldsOf(
        await ask(connection, path, { ...options, method: "POST", parameters }),
      );
      const { count } = fieldsOf(answer["skipped"]);
      return {
        count: typeof count === "number" ? count : null,
        subscription: infoOf(answer["subscription"]),
      };
    },
    async page(name, { limit, wait, takesOver = false, ...options } = {}) {
      const response = await request(connection, `${pathOf(name)}/events`, {
        ...options,
        parameters: { limit, wait, ...takeOver(takesOver) },
      });
      const { events, gaps } = fieldsOf(await jsonOf(response));
      return {
        ...factsOf(response),
        events: Array.isArray(events) ? events.map(recordedEvent) : [],
        gaps: Array.isArray(gaps) ? gaps.map(gapOf) : [],
      };
    },
    async read(name, { limit, wait, takesOver = false, ...options } = {}) {
      const response = await request(connection, `${pathOf(name)}/events`, {
        ...options,
        parameters: { limit, wait, ...takeOver(takesOver) },
        headers: { accept: "application/x-ndjson" },
      });
      return { ...factsOf(response), items: itemsOf(response, options) };
    },
    follow: (name, { takesOver = false, ...options } = {}) =>
      followStream(connection, {
        path: `${pathOf(name)}/events`,
        since: "",
        // Once it was ours, another that took it over is left in peace.
        parametersOf: ({ lastAliveMs }) => takeOver(takesOver && lastAliveMs === undefined),
        isPassing: isPassingForReader,
        itemOf: auditItems(recordedEvent),
      }, options),
  };
}

async function* itemsOf(
  response: Response,
  options: RequestOptions,
): AsyncGenerator<Extract<TailItem, { readonly kind: "event" | "gap" }>, void, undefined> {
  if (response.body === null) return;
  for await (const line of reading(readLines(response.body), response, options)) {
    if (line === "") continue;
    const value = fieldsOf(JSON.parse(line));
    if ("gap" in value) yield { kind: "gap", gap: gapOf(value["gap"]), place: "" };
    else yield { kind: "event", event: recordedEvent(value), place: String(value["id"]) };
  }
}

function isPassingForReader(error: unknown, silentMs: number): error is Error {
  if (isPassing(error)) return true;
  return error instanceof ProblemError && error.status === 409 && silentMs < TURN_WAIT_MS;
}

async function ask(
  connection: Connection,
  path: string,
  options: Parameters<typeof request>[2],
): Promise<unknown> {
  return await jsonOf(await request(connection, path, options));
}

function pathOf(name: string): string {
  return `v1/subscriptions/${encodeURIComponent(name)}`;
}

function takeOver(does: boolean): { readonly take_over?: string } {
  return does ? { take_over: "true" } : {};
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function infoOf(value: unknown): SubscriptionInfo {
  const { name, state } = fieldsOf(value);
  // as: what has a name and a state is taken for what the service describes in its OpenAPI
  if (typeof name === "string" && typeof state === "string") return value as SubscriptionInfo;
  throw new TypeError(
    `Cannot read a subscription: ${JSON.stringify(value)?.slice(0, 200)} is none`,
  );
}
