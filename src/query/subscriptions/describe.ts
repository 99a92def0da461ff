/** A subscription as answers show it: what it asks for, where it is, how far behind, and who was last here. */
import { type } from "arktype";
import { formatTime } from "../../event/event.ts";
import type { Subscription } from "../../storage/subscription.ts";
import { isFarBehind, isRead, lagOf, type LogEnd } from "../../storage/subscription-lag.ts";
import { NUMBER, TEXT, TIME, WHOLE } from "../json-schema.ts";
import type { RouteParameter } from "../route.ts";
import { encodeTailPlace } from "../tail-place.ts";
import type { Entry } from "./subscriptions.ts";
import { tailPlaceOf } from "./progress.ts";

/** `reading` while somebody does, `paused` when it is too far behind for the log to wait, `idle` otherwise. */
export type SubscriptionState = "reading" | "idle" | "paused";

export const NAME_PARAMETER: RouteParameter = {
  name: "name",
  text: "The subscription's name",
  schema: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
  example: "siem",
};

export const GAP_SCHEMA = type({
  count: type("number.integer | null").describe("at most so many; null when not known"),
  "reason?": TEXT,
  "from?": TEXT.describe(
    "id of its first event; if retention took them, the id or time to go on from",
  ),
  "to?": TEXT.describe("id of its last event"),
});

export const SUBSCRIPTION_SCHEMA = type({
  name: TEXT,
  state: "'reading' | 'idle' | 'paused'",
  filters: type({ "[string]": "string[]" }),
  "since?": TIME,
  owner: TEXT,
  created: TIME,
  last_seen: TIME,
  expires: TIME.describe("if nobody reads it until then"),
  when_behind: "'pause' | 'skip'",
  lag_max: TEXT,
  expire: TEXT,
  position: TEXT.describe("opaque; GET /v1/tail takes it as Last-Event-ID"),
  lag: {
    messages: WHOLE.describe("batches of the log that were not looked at"),
    seconds: NUMBER,
  },
  delivered: WHOLE,
  skipped: WHOLE,
});

export function describeSubscription({ name, value }: Pick<Entry, "name" | "value">, now: LogEnd) {
  const { policy, place } = value;
  const expiresUs = value.seenUs + policy.expireMs * 1_000;
  return {
    name,
    state: stateOf(value, now),
    filters: value.filters,
    ...(value.sinceUs === undefined ? {} : { since: formatTime(value.sinceUs) }),
    owner: value.owner,
    created: formatTime(value.createdUs),
    last_seen: formatTime(value.seenUs),
    expires: formatTime(expiresUs),
    when_behind: policy.whenBehind,
    lag_max: spanText(policy.lagMaxMs),
    expire: spanText(policy.expireMs),
    position: encodeTailPlace(tailPlaceOf(place)),
    lag: lagOf(value, now),
    delivered: value.delivered,
    skipped: value.skipped,
  };
}

function stateOf(subscription: Subscription, now: LogEnd): SubscriptionState {
  if (isRead(subscription, now.nowUs)) return "reading";
  const isPaused = subscription.policy.whenBehind === "pause" && isFarBehind(subscription, now);
  return isPaused ? "paused" : "idle";
}

/** A span in the largest unit that tells it whole. */
function spanText(spanMs: number): string {
  const units = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1_000]] as const;
  const [name, unitMs] = units.find(([, each]) => spanMs > 0 && spanMs % each === 0) ?? ["ms", 1];
  return `${spanMs / unitMs}${name}`;
}
