import { describe, expect, test } from "vitest";
import { parseSubscription, type Subscription } from "../../src/storage/subscription.ts";
import { subscriptionAt } from "../support/subscriptions.ts";

const FULL: Subscription = subscriptionAt(1_800_000_000_000_000, {
  filters: { topic: ["auth"], uid: [">=1000", "<2000"] },
  sinceUs: 5,
  place: {
    streams: { aaaaaaaa: { sequence: 4, idx: 2 } },
    reached: { aaaaaaaa: { sequence: 9, idx: 0 } },
    knownUs: 1,
    reachedUs: 2,
  },
  reader: { session: "s", untilUs: 3 },
  reserved: { count: 2, after: "aaaaaaaa-3-0", from: "aaaaaaaa-4-0", to: "aaaaaaaa-9-0" },
  lastId: "aaaaaaaa-9-0",
  ahead: { "a/e": { incarnation: "aaaaaaaa", sequence: 9, batch: 3, idx: 0 } },
});

const through = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("a subscription at rest", () => {
  test.each([
    ["with everything", FULL],
    ["that nobody has read", subscriptionAt(0)],
    ["with a block of unknown size", {
      ...FULL,
      reserved: { count: undefined, after: undefined, from: "aaaaaaaa-4-0", to: "aaaaaaaa-9-0" },
    }],
  ])("is read back as it was written: %s", (_, subscription) => {
    expect(parseSubscription(through(subscription))).toEqual(subscription);
  });

  test.each([
    ["", []],
    ["policy", { ...FULL.policy, whenBehind: "stop" }],
    ["policy", { ...FULL.policy, expireMs: -1 }],
    ["filters", { topic: "auth" }],
    ["filters", { topic: ["auth", 1] }],
    ["place", { ...FULL.place, streams: { aaaaaaaa: { sequence: 1.5, idx: 0 } } }],
    ["reserved", { count: 1, to: "aaaaaaaa-9-0" }],
    ["reader", "s"],
    ["lastId", 7],
    ["id", undefined],
  ])("is refused when its %s is %j", (name, value) => {
    const body = name === "" ? value : { ...FULL, [name]: value };
    expect(() => parseSubscription(through(body))).toThrow(SyntaxError);
  });
});
