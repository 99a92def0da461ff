import { describe, expect, test } from "vitest";
import { createRateLimit, KEYS_MAX, TELL_INTERVAL_MS } from "../../src/query/rate-limit.ts";
import { processorMsOf } from "../support/processor-time.ts";

/** A limit at a time that the test moves. */
function setUp(options: { readonly keysMax?: number } = {}) {
  let nowMs = 0;
  const limit = createRateLimit({ burst: 3, perSecond: 0.5, elapsedMs: () => nowMs, ...options });
  const takes = (key: string, count: number) =>
    Array.from({ length: count }, () => limit.take(key).isAllowed);
  return { limit, takes, pass: (ms: number) => nowMs += ms };
}

describe("a limit of how often somebody may", () => {
  test("lets some through at once and the others evenly", () => {
    const { limit, takes, pass } = setUp();
    expect(takes("a", 5)).toEqual([true, true, true, false, false]);
    expect(limit.take("a").retryAfterSeconds).toBe(2);
    pass(1_500);
    expect(limit.take("a")).toMatchObject({ isAllowed: false, retryAfterSeconds: 1 });
    pass(500);
    expect(takes("a", 2)).toEqual([true, false]);
    pass(3_600_000);
    expect(takes("a", 5)).toEqual([true, true, true, false, false]);
  });

  test("counts each key by itself, and looking takes nothing", () => {
    const { limit, takes } = setUp();
    takes("a", 3);
    expect(limit.has("a")).toBe(false);
    for (let round = 0; round < 9; round++) expect(limit.has("b")).toBe(true);
    expect(takes("b", 4)).toEqual([true, true, true, false]);
  });

  test("tells of refusals at once, and then of all of an interval together", () => {
    const { limit, takes, pass } = setUp();
    takes("a", 3);
    expect(limit.take("a").untold).toBe(1);
    expect(limit.take("a").untold).toBe(0);
    expect(limit.refused("a")).toBe(0);
    pass(TELL_INTERVAL_MS);
    expect(limit.refused("a")).toBe(3);
    expect(limit.refused("a")).toBe(0);
  });

  test("keeps so many keys at most, and the others get no more together than one", () => {
    const { takes, pass } = setUp({ keysMax: 100 });
    let allowed = 0;
    for (let key = 0; key < 100_000; key++) allowed += takes(`k${key}`, 1)[0] === true ? 1 : 0;
    expect(allowed).toBe(103);
    expect(takes("k0", 3)).toEqual([true, true, false]);
    // Those who have not come for a while make room.
    pass(TELL_INTERVAL_MS + 10_000);
    expect(takes("new", 4)).toEqual([true, true, true, false]);
  });

  test("takes little time for each of any number of keys", () => {
    const { takes, pass } = setUp();
    const tookMs = processorMsOf(() => {
      for (let key = 0; key < 50 * KEYS_MAX; key++) {
        takes(`k${key}`, 1);
        pass(1);
      }
    });
    expect(tookMs).toBeLessThan(2_000);
  });
});
