import { describe, expect, it } from "vitest";
import type { ClosedLines } from "../../src/producer/batcher.ts";
import { createLanes, type Lanes } from "../../src/producer/lanes.ts";
import type { Clock } from "../../src/runtime/clock.ts";

/** A clock that stands until it is moved. */
function createHandClock(): Clock & { readonly advance: (ms: number) => Promise<void> } {
  let nowMs = 0;
  let sleepers: { readonly untilMs: number; readonly resolve: () => void }[] = [];
  return {
    nowUs: () => nowMs * 1_000,
    elapsedMs: () => nowMs,
    sleep(ms) {
      const { promise, resolve } = Promise.withResolvers<void>();
      sleepers.push({ untilMs: nowMs + ms, resolve });
      return promise;
    },
    async advance(ms) {
      nowMs += ms;
      const woken = sleepers.filter(({ untilMs }) => untilMs <= nowMs);
      sleepers = sleepers.filter(({ untilMs }) => untilMs > nowMs);
      for (const { resolve } of woken) resolve();
      await new Promise(setImmediate);
    },
  };
}

const SPACING_MS = 3;

function openRig(unpublished = 0) {
  const clock = createHandClock();
  const closed: ClosedLines[] = [];
  const lanes: Lanes = createLanes({
    ...{ clock, signal: new AbortController().signal, flushMs: 1_000 },
    unpublished: () => unpublished,
    onClosing: () => undefined,
    onClosed: (lines) => closed.push(lines),
    onRefused: () => undefined,
  });
  const counts = (): readonly number[] => closed.map(({ fields }) => fields.length);
  const ask = (): void => {
    lanes.critical.append("x", 0);
    lanes.hurry("critical", SPACING_MS);
  };
  return { clock, lanes, counts, ask };
}

describe("a batch that somebody waits for", () => {
  it("closes at once when the disk has nothing to do", () => {
    const { counts, ask } = openRig();
    ask();
    expect(counts()).toEqual([1]);
  });

  it("takes along all that comes while the one before is on its way, and closes when that has arrived", async () => {
    const { clock, lanes, counts, ask } = openRig();
    ask();
    for (let each = 0; each < 5; each += 1) {
      await clock.advance(SPACING_MS);
      ask();
    }
    expect(counts()).toEqual([1]);
    lanes.arrived();
    expect(counts()).toEqual([1, 5]);
    lanes.arrived();
    expect(counts()).toEqual([1, 5]);
  });

  it("closes no sooner after the one before than it was asked to, however quick the disk is", async () => {
    const { clock, lanes, counts, ask } = openRig();
    ask();
    lanes.arrived();
    ask();
    ask();
    expect(counts()).toEqual([1]);
    await clock.advance(SPACING_MS - 1);
    expect(counts()).toEqual([1]);
    await clock.advance(1);
    expect(counts()).toEqual([1, 2]);
  });

  it("waits for a disk that is busy with the other lane no longer than one write takes", () => {
    const { lanes, counts, ask } = openRig();
    lanes.bulk.append("y", 0);
    lanes.closeAll();
    lanes.bulk.append("yy", 0);
    lanes.closeAll();
    ask();
    expect(counts()).toEqual([1, 1]);
    lanes.arrived();
    expect(counts()).toEqual([1, 1, 1]);
  });

  it("closes less often the more waits for the broker, and within 60 ms still", async () => {
    const spacingsMs: number[] = [];
    for (const unpublished of [0, 5_000, 25_000, 400_000]) {
      const { clock, lanes, counts, ask } = openRig(unpublished);
      ask();
      lanes.arrived();
      ask();
      let waitedMs = 0;
      for (; counts().length === 1 && waitedMs < 1_000; waitedMs += 1) await clock.advance(1);
      spacingsMs.push(waitedMs);
    }
    expect(spacingsMs).toEqual([3, 6, 18, 60]);
  });

  it("is a batch like others when nobody waits: it stays open for its interval", async () => {
    const { clock, lanes, counts } = openRig();
    lanes.critical.append("x", 0);
    await clock.advance(999);
    expect(counts()).toEqual([]);
    await clock.advance(1);
    expect(counts()).toEqual([1]);
  });
});
