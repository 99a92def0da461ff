/** A subscription as answers show it: what it asks for, where it is, how far behind, and who was last here. */
import { formatTime } from "../../event/event.ts";
import type { Subscription } from "../../storage/subscription.ts";
import { isFarBehind, isRead, lagOf, type LogEnd } from "../../storage/subscription-lag.ts";
import type { RouteParameter, Schema } from "../route.ts";
import { encodeTailPlace } from "../tail-place.ts";
import type { Entry } from "./subscriptions.ts";
import { tailPlaceOf } from "./progress.ts";

/** `reading` while somebody does, `paused` when it is too far behind for the log to wait, `idle` otherwise. */
export type SubscriptionState = "reading" | "idle" | "paused";

export const NAME_PARAMETER: RouteParameter = {
  name: "name",
  text: "The subscription's name",
  schema: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
};

export const GAP_SCHEMA: Schema = {
  type: "object",
  properties: {
    count: { type: ["integer", "null"], description: "at most so many; null when not known" },
    reason: { type: "string" },
    from: { type: "string" },
    to: { type: "string" },
  },
};

export const SUBSCRIPTION_SCHEMA: Schema = {
  type: "object",
  properties: {
    name: { type: "string" },
    state: { type: "string", enum: ["reading", "idle", "paused"] },
    filters: {
      type: "object",
      additionalProperties: { type: "array", items: { type: "string" } },
    },
    since: { type: "string", format: "date-time" },
    owner: { type: "string" },
    created: { type: "string", format: "date-time" },
    last_seen: { type: "string", format: "date-time" },
    expires: { type: "string", format: "date-time", description: "if nobody reads it until then" },
    when_behind: { type: "string", enum: ["pause", "skip"] },
    lag_max: { type: "string" },
    expire: { type: "string" },
    position: { type: "string", description: "opaque; GET /v1/tail takes it as Last-Event-ID" },
    lag: {
      type: "object",
      properties: {
        messages: { type: "integer", description: "batches of the log that were not looked at" },
        seconds: { type: "number" },
      },
    },
    delivered: { type: "integer" },
    skipped: { type: "integer" },
  },
};

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
