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
    expect(ledger.take(3_000_000)).toEqual([{
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
    expect(ledger.take(9_000_000)).toEqual([]);
  });

  it("tells a flood in one event, losing no count", () => {
    const ledger = createGapLedger();
    for (let each = 0; each < 10_000; each += 1) ledger.add({ ...gap, count: 1 });
    expect(ledger.take(0).map(({ detail }) => detail?.["count"])).toEqual([10_000]);
    ledger.add({ ...gap, count: 1 });
    expect(ledger.take(1).map(({ detail }) => detail?.["count"])).toEqual([1]);
  });

  it("begins before it ends, also where the clock was set back meanwhile", () => {
    const ledger = createGapLedger();
    ledger.add({ ...gap, fromUs: 5_000_000, toUs: 2_000_000 });
    ledger.add({ ...gap, fromUs: 3_000_000, toUs: 1_000_000 });
    expect(ledger.take(0)).toMatchObject([{
      detail: { from: "1970-01-01T00:00:01.000000Z", to: "1970-01-01T00:00:05.000000Z" },
    }]);
  });

  it("keeps classes apart", () => {
    const ledger = createGapLedger();
    ledger.add(gap);
    ledger.add({ ...gap, class: "overflow", count: null });
    expect(ledger.take(0).map(({ detail }) => detail?.["class"])).toEqual([
      "ring_full",
      "overflow",
    ]);
  });

  it("knows no sum of which a part is unknown", () => {
    const ledger = createGapLedger();
    ledger.add(gap);
    ledger.add({ ...gap, count: null });
    ledger.add(gap);
    const [event] = ledger.take(0);
    expect(event?.detail?.["count"]).toBeNull();
    expect(event?.message).toBe("An unknown number of events are missing: the ring was full.");
  });

  it("bounds the reasons of one event", () => {
    const ledger = createGapLedger();
    for (let each = 0; each < 1000; each += 1) ledger.add({ ...gap, reason: `reason ${each}` });
    const [event] = ledger.take(0);
    expect(event?.message?.length).toBeLessThan(500);
    expect(event?.detail?.["count"]).toBe(2000);
  });
});
