import { describe, expect, it } from "vitest";
import type { Clock } from "../../src/runtime/clock.ts";
import { backoffMs, retry } from "../../src/runtime/retry.ts";

function recordedClock(): Clock & { readonly waits: number[] } {
  const waits: number[] = [];
  return {
    waits,
    nowUs: () => 0,
    elapsedMs: () => 0,
    sleep: (ms, signal) => {
      waits.push(ms);
      signal?.throwIfAborted();
      return Promise.resolve();
    },
  };
}

describe("the wait before another attempt", () => {
  it.each([
    [1, 0, 50],
    [1, 1, 100],
    [2, 1, 200],
    [5, 1, 1_600],
    [8, 1, 10_000],
    [4_000, 0, 5_000],
  ])("after %i failures, chance %f, is %i ms", (failures, chance, expected) => {
    expect(backoffMs(failures, { random: () => chance })).toBe(expected);
  });
});

describe("trying again", () => {
  const failing = (times: number) => {
    let attempts = 0;
    return () => {
      attempts += 1;
      return attempts <= times ? Promise.reject(new Error(`${attempts}`)) : Promise.resolve("done");
    };
  };

  it("goes on until it succeeds, waiting longer each time", async () => {
    const clock = recordedClock();
    expect(await retry(failing(3), { clock, random: () => 1 })).toBe("done");
    expect(clock.waits).toEqual([100, 200, 400]);
  });

  it("gives up after the last attempt with its error", async () => {
    const clock = recordedClock();
    await expect(retry(failing(9), { clock, attemptsMax: 3 })).rejects.toThrow("3");
    expect(clock.waits.length).toBe(2);
  });

  it("does not try again what is not transient", async () => {
    const clock = recordedClock();
    await expect(retry(failing(9), { clock, isTransient: () => false })).rejects.toThrow("1");
    expect(clock.waits).toEqual([]);
  });

  it("ends at the signal", async () => {
    const stop = new AbortController();
    const clock = recordedClock();
    const onFailure = () => stop.abort(new Error("stopped"));
    await expect(retry(failing(9), { clock, signal: stop.signal, onFailure })).rejects
      .toThrow("stopped");
    await expect(retry(failing(0), { clock, signal: stop.signal })).rejects.toThrow("stopped");
  });
});
