import { describe, expect, it } from "vitest";
import type { Gap } from "../../src/event/acceptance.ts";
import { gapLines } from "../../src/event/gap.ts";

const GAP: Gap = {
  class: "void",
  count: 3,
  reason: "the spool was full",
  agent: "a",
  epoch: "e1",
  batches: [4, 4],
  times: [2_000_000, 3_000_000],
};

describe("gap rows", () => {
  it("follow the message's own rows, one line each", () => {
    const stream: Gap = {
      class: "stream",
      count: null,
      reason: "the stream has no messages 2 to 3",
      agent: undefined,
      epoch: undefined,
      batches: undefined,
    };
    const lines = gapLines([GAP, stream], 1_000_000, 7).split("\n");
    expect(lines.pop()).toBe("");
    const time = "1970-01-01T00:00:01.000000Z";
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      {
        idx: 7,
        time,
        topic: "agent/gap",
        severity: "high",
        message: "3 events are missing: the spool was full.",
        detail: {
          class: "void",
          count: 3,
          reason: "the spool was full",
          agent: "a",
          epoch: "e1",
          batches: [4, 4],
          from: "1970-01-01T00:00:02.000000Z",
          to: "1970-01-01T00:00:03.000000Z",
        },
      },
      {
        idx: 8,
        time,
        topic: "agent/gap",
        severity: "high",
        message: "An unknown number of events are missing: the stream has no messages 2 to 3.",
        detail: { class: "stream", count: null, reason: "the stream has no messages 2 to 3" },
      },
    ]);
  });

  it("are none for no gaps", () => {
    expect(gapLines([], 0, 0)).toBe("");
  });
});
