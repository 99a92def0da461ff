import { describe, expect, test } from "vitest";
import { LOOK_STEP_MS, waitUntilDue } from "../../src/edge-agent/look-out.ts";
import type { Clock } from "../../src/runtime/clock.ts";

const never = new AbortController().signal;

/** A clock that is moved by whoever sleeps; it counts how often that is. */
function createSteppedClock(): Clock & { readonly sleeps: number } {
  let nowMs = 1_000;
  let sleeps = 0;
  return {
    nowUs: () => nowMs * 1000,
    elapsedMs: () => nowMs,
    async sleep(ms) {
      sleeps += 1;
      // Not at once: others are to have their turn, as with a real timer.
      await new Promise((resolve) => setImmediate(resolve));
      nowMs += ms;
    },
    get sleeps() {
      return sleeps;
    },
  };
}

describe("waiting until something is due", () => {
  test("ends at the step at which the question is answered with yes", async () => {
    const clock = createSteppedClock();
    let asked = 0;
    await waitUntilDue(clock, { isDue: () => ++asked === 3, limitMs: 10_000 }, never);
    expect(asked).toBe(3);
    expect(clock.elapsedMs()).toBeLessThanOrEqual(1_000 + 4 * LOOK_STEP_MS);
  });

  test("asks who has longer steps less often, and nobody beyond his limit", async () => {
    const clock = createSteppedClock();
    const asked = { often: 0, seldom: 0 };
    const often = () => ++asked.often < 0;
    const seldom = () => ++asked.seldom < 0;
    await Promise.all([
      waitUntilDue(clock, { isDue: often, limitMs: 400 }, never),
      waitUntilDue(clock, { isDue: seldom, limitMs: 400, stepMs: 4 * LOOK_STEP_MS }, never),
    ]);
    expect(asked.often).toBeGreaterThan(10);
    expect(asked.seldom).toBeGreaterThan(2);
    expect(asked.seldom).toBeLessThan(asked.often / 3);
    expect(clock.elapsedMs()).toBeLessThan(1_000 + 400 + 2 * LOOK_STEP_MS);
  });

  test("takes one timer for all who wait", async () => {
    const clock = createSteppedClock();
    const isDue = () => false;
    const all = Array.from({ length: 50 }, () => waitUntilDue(clock, { isDue }, never));
    await Promise.all(all);
    expect(clock.sleeps).toBeLessThan(30);
  });

  test("goes on for others when a question throws, and tells only who asked it", async () => {
    const clock = createSteppedClock();
    const thrown = new Error("no such ring");
    const failing = waitUntilDue(clock, {
      isDue: () => {
        throw thrown;
      },
    }, never);
    let asked = 0;
    const other = waitUntilDue(clock, { isDue: () => ++asked === 5 }, never);
    await expect(failing).rejects.toBe(thrown);
    await other;
    expect(asked).toBe(5);
  });

  test("ends soon after an abort, and can be asked again afterwards", async () => {
    const clock = createSteppedClock();
    const controller = new AbortController();
    const aborted = waitUntilDue(clock, { isDue: () => false, limitMs: 1e9 }, controller.signal);
    controller.abort();
    await aborted;
    expect(clock.elapsedMs()).toBeLessThan(1_000 + 3 * LOOK_STEP_MS);
    await waitUntilDue(clock, { isDue: () => true }, never);
  });
});
