import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/runtime/clock.ts";

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
});
