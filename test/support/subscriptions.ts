/** Subscriptions as they rest, for tests of what is done with them. */
import type { Subscription } from "../../src/storage/subscription.ts";

const DAY_MS = 86_400_000;

/** One that nobody has read yet. */
export function subscriptionAt(nowUs: number, more: Partial<Subscription> = {}): Subscription {
  return {
    id: "0123456789abcdef",
    owner: "admin",
    createdUs: nowUs,
    filters: {},
    filterTime: { nowUs, bootUs: nowUs },
    sinceUs: undefined,
    policy: { whenBehind: "pause", lagMaxMs: 7 * DAY_MS, expireMs: 90 * DAY_MS },
    place: { streams: {}, reached: {}, knownUs: 0, reachedUs: nowUs },
    reader: undefined,
    reserved: undefined,
    lastId: undefined,
    ahead: {},
    seenUs: nowUs,
    delivered: 0,
    skipped: 0,
    ...more,
  };
}
