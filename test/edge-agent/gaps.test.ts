import { describe, expect, it } from "vitest";
import { type AgentGap, createGapLedger } from "../../src/edge-agent/gaps.ts";

const gap: AgentGap = {
  class: "ring_full",
  source: "file",
  count: 2,
  reason: "the ring was full",
  fromUs: 1_000_000,
  toUs: 2_000_000,
};

describe("the gap ledger", () => {
  it("makes one event of what a class lost", () => {
    const ledger = createGapLedger();
    ledger.add(gap);
    ledger.add({ ...gap, source: "process", count: 3, fromUs: 500_000, reason: "another" });
    expect(ledger.due(3_000_000)).toEqual([{
      timeUs: 3_000_000,
      topic: "agent/gap",
      severity: "high",
      message: "5 events are missing: the ring was full; another.",
      detail: {
        class: "ring_full",
        count: 5,
        reason: "the ring was full; another",
        from: "1970-01-01T00:00:00.500000Z",
        to: "1970-01-01T00:00:02.000000Z",
        sources: ["file", "process"],
      },
    }]);
    expect(ledger.due(9_000_000)).toEqual([]);
  });

  it("tells the first loss at once and a flood once per class and second, losing no count", () => {
    const ledger = createGapLedger();
    const told: (readonly [number, unknown])[] = [];
    for (let nowUs = 0; nowUs < 3_500_000; nowUs += 100_000) {
      ledger.add({ ...gap, count: 1 });
      for (const event of ledger.due(nowUs)) told.push([nowUs, event.detail?.["count"]]);
    }
    for (const event of ledger.rest(3_500_000)) told.push([3_500_000, event.detail?.["count"]]);
    expect(told).toEqual([
      [0, 1],
      [1_000_000, 10],
      [2_000_000, 10],
      [3_000_000, 10],
      [3_500_000, 4],
    ]);
  });

  it("keeps classes apart", () => {
    const ledger = createGapLedger();
    ledger.add(gap);
    ledger.add({ ...gap, class: "overflow", count: null });
    expect(ledger.due(0).map(({ detail }) => detail?.["class"])).toEqual(["ring_full", "overflow"]);
  });

  it("knows no sum of which a part is unknown", () => {
    const ledger = createGapLedger();
    ledger.add(gap);
    ledger.add({ ...gap, count: null });
    ledger.add(gap);
    const [event] = ledger.due(0);
    expect(event?.detail?.["count"]).toBeNull();
    expect(event?.message).toBe("An unknown number of events are missing: the ring was full.");
  });

  it("bounds the reasons of one event", () => {
    const ledger = createGapLedger();
    for (let each = 0; each < 1000; each += 1) ledger.add({ ...gap, reason: `reason ${each}` });
    const [event] = ledger.due(0);
    expect(event?.message?.length).toBeLessThan(500);
    expect(event?.detail?.["count"]).toBe(2000);
  });
});
