import { describe, expect, test } from "vitest";
import { WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import type { Subscription } from "../../src/storage/subscription.ts";
import {
  isExpired,
  isFarBehind,
  isRead,
  lagOf,
  readByAll,
} from "../../src/storage/subscription-lag.ts";
import { subscriptionAt } from "../support/subscriptions.ts";

const NOW_US = 1_800_000_000_000_000;
const DAY_US = 86_400_000_000;
const [ONE, TWO, OLD] = ["aaaaaaaa", "bbbbbbbb", "cccccccc"];
const END = { upper: new Map([[ONE, 100], [TWO, 7]]), nowUs: NOW_US };

function at(
  streams: Readonly<Record<string, number>>,
  more: Partial<Subscription> & { readonly reachedUs?: number } = {},
): Subscription {
  const { reachedUs = NOW_US, ...fields } = more;
  const places = Object.entries(streams).map(([name, sequence]) =>
    [name, { sequence, idx: WHOLE_MESSAGE }] as const
  );
  const place = { streams: Object.fromEntries(places), reached: {}, knownUs: 0, reachedUs };
  return subscriptionAt(NOW_US, { place, ...fields });
}

function lowest(...all: readonly Subscription[]): Readonly<Record<string, number>> {
  return Object.fromEntries(readByAll(all, END));
}

const ALL = { [ONE]: 100, [TWO]: 7 };

describe("up to where all subscriptions have read", () => {
  test("is the end of every stream when there is none", () => {
    expect(lowest()).toEqual(ALL);
  });

  test("is the lowest of them, in each stream by itself", () => {
    expect(lowest(at({ [ONE]: 40, [TWO]: 7 }), at({ [ONE]: 90, [TWO]: 3 })))
      .toEqual({ [ONE]: 40, [TWO]: 3 });
  });

  test("is nothing of a stream that one of them has not seen, and never beyond its end", () => {
    expect(lowest(at({ [ONE]: 40 }), at({ [ONE]: 90, [TWO]: 3 }))).toEqual({ [ONE]: 40, [TWO]: 0 });
    expect(lowest(at({ [ONE]: 999, [TWO]: 7, [OLD]: 5 }))).toEqual(ALL);
  });

  test("ends before a message that was read in part", () => {
    const place = {
      ...at({ [TWO]: 7 }).place,
      streams: { [ONE]: { sequence: 40, idx: 3 }, [TWO]: { sequence: 7, idx: WHOLE_MESSAGE } },
    };
    expect(lowest(subscriptionAt(NOW_US, { place }))).toEqual({ [ONE]: 39, [TWO]: 7 });
  });

  test("leaves out what was given ahead of the commit, which a broker can still lose", () => {
    const { place } = at({ [ONE]: 40, [TWO]: 7 });
    const reached = { [ONE]: { sequence: 80, idx: WHOLE_MESSAGE } };
    expect(lowest(subscriptionAt(NOW_US, { place: { ...place, reached } })))
      .toEqual({ [ONE]: 40, [TWO]: 7 });
  });

  test.each(["pause", "skip"] as const)(
    "does not wait for one that is further behind than it may be: %s",
    (whenBehind) => {
      const policy = { whenBehind, lagMaxMs: 3_600_000, expireMs: 90 * 86_400_000 };
      const behind = (reachedUs: number) => at({ [ONE]: 40, [TWO]: 7 }, { policy, reachedUs });
      expect(lowest(behind(NOW_US - 3_600_000_000))).toEqual({ [ONE]: 40, [TWO]: 7 });
      expect(lowest(behind(NOW_US - 3_600_000_001))).toEqual(ALL);
    },
  );

  test("does not wait for one that nobody has read for too long, but for one that is being read", () => {
    const seenUs = NOW_US - 91 * DAY_US;
    expect(lowest(at({ [ONE]: 40, [TWO]: 7 }, { seenUs }))).toEqual(ALL);
    const reader = { session: "s", untilUs: NOW_US + 1 };
    expect(lowest(at({ [ONE]: 40, [TWO]: 7 }, { seenUs, reader }))).toEqual({
      [ONE]: 40,
      [TWO]: 7,
    });
  });
});

describe("a subscription", () => {
  test("is behind by messages, and by time only while there are any", () => {
    const streams = { [ONE]: 100, [TWO]: 7 };
    const reachedUs = NOW_US - 60_000_000;
    expect(lagOf(at(streams, { reachedUs }), END)).toEqual({ messages: 0, seconds: 0 });
    expect(lagOf(at({ ...streams, [ONE]: 90 }, { reachedUs }), END))
      .toEqual({ messages: 10, seconds: 60 });
    expect(isFarBehind(at({ [ONE]: 90 }, { reachedUs: NOW_US + DAY_US }), END)).toBe(false);
  });

  test("is not expired by a clock that was ahead when it was seen", () => {
    expect(isExpired(at({}, { seenUs: NOW_US + DAY_US }), NOW_US)).toBe(false);
    expect(isExpired(at({}, { seenUs: NOW_US - 90 * DAY_US }), NOW_US)).toBe(false);
    expect(isExpired(at({}, { seenUs: NOW_US - 90 * DAY_US - 1 }), NOW_US)).toBe(true);
  });

  test("is not held by a turn that only a wrong clock can have given", () => {
    const until = (untilUs: number) => at({}, { reader: { session: "s", untilUs } });
    expect(isRead(until(NOW_US), NOW_US)).toBe(false);
    expect(isRead(until(NOW_US + 30_000_000), NOW_US)).toBe(true);
    expect(isRead(until(NOW_US + DAY_US), NOW_US)).toBe(false);
    expect(isRead(at({}), NOW_US)).toBe(false);
  });
});
