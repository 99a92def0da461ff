import { describe, expect, test } from "vitest";
import { systemClock, untilStepMs } from "../../src/runtime/clock.ts";

describe("the system's clock", () => {
  test("tells microseconds since the Unix epoch and goes on", async () => {
    const before = systemClock.nowUs();
    expect(Math.abs(before / 1000 - Date.now())).toBeLessThan(1000);
    await systemClock.sleep(5);
    expect(systemClock.nowUs()).toBeGreaterThan(before);
  });

  test("ends a sleep with the reason of its signal, before and during it", async () => {
    const reason = new Error("enough");
    await expect(systemClock.sleep(10_000, AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const sleeping = systemClock.sleep(10_000, controller.signal);
    controller.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
  });

  test("ends every sleep that waits for one signal, and listens to it once", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    Object.defineProperty(signal, "addEventListener", {
      value: (...args: Parameters<typeof add>) => {
        listeners += 1;
        add(...args);
      },
    });
    for (let sleep = 0; sleep < 20; sleep += 1) await systemClock.sleep(1, signal);
    const sleeping = [1, 2, 3].map(() => systemClock.sleep(10_000, signal));
    controller.abort(reason);
    for (const each of sleeping) await expect(each).rejects.toBe(reason);
    expect(listeners).toBe(1);
  });

  test.each([[0, 21], [0.5, 20], [19.2, 1], [40, 21], [59.99, 1]])(
    "waits at %d ms for the next multiple of 20 and no further",
    (nowMs, waitMs) => {
      expect(untilStepMs({ elapsedMs: () => nowMs }, 20)).toBe(waitMs);
    },
  );
});
