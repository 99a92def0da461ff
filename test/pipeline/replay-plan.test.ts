import { describe, expect, test } from "vitest";
import { firstSegments, planOfCommits, planOfSegments } from "../../src/pipeline/replay-plan.ts";
import { evidenceKey, parseEvidenceKey } from "../../src/storage/layout.ts";
import { processorMsOf } from "../support/processor-time.ts";

const segment = (incarnation: string, first: number, last: number) => {
  const range = { incarnation, first, last };
  return { key: evidenceKey(range, "ab".repeat(32)), range };
};
const placesOf = (plans: ReturnType<typeof planOfSegments>) =>
  plans.map(({ shard, segments }) => [
    shard,
    ...segments.map(({ range: { incarnation, first, last } }) =>
      `${incarnation[0]}${first}-${last}`
    ),
  ]);

const OLD = "aaaaaaaa";
const NEW = "00000000";
const OTHER = "bbbbbbbb";

describe("a plan of commits", () => {
  test("has each shard's segments in the order of its commits", () => {
    const plans = planOfCommits([
      { shard: "1", segments: [segment(OTHER, 1, 4)] },
      { shard: "0", segments: [segment(OLD, 1, 9)] },
      { shard: "0", segments: [segment(NEW, 1, 2)] },
      { shard: "1", segments: [segment(OTHER, 5, 6)] },
    ]);
    expect(placesOf(plans)).toEqual([["0", "a1-9", "01-2"], ["1", "b1-4", "b5-6"]]);
  });
});

describe("a plan of all segments", () => {
  const starts = new Map([
    [OLD, { shard: "0", storedAtUs: 10 }],
    [NEW, { shard: "0", storedAtUs: 20 }],
    [OTHER, { shard: "1", storedAtUs: 15 }],
  ]);

  test("has incarnations by time, segments by place, and the longest of those that begin together first", () => {
    const all = [
      segment(NEW, 1, 2),
      segment(OTHER, 1, 4),
      segment(OLD, 10, 12),
      segment(OLD, 1, 5),
      segment(OLD, 1, 9),
    ];
    expect(placesOf(planOfSegments(all, starts)))
      .toEqual([["0", "a1-9", "a1-5", "a10-12", "01-2"], ["1", "b1-4"]]);
    expect(firstSegments(all).map(({ range }) => range.incarnation)).toEqual([NEW, OTHER, OLD]);
  });

  test("of very many segments takes as long as so many do", () => {
    const count = 200_000;
    const all = Array.from({ length: count }, (_, at) => ({
      key: String(at),
      range: { incarnation: OLD, first: at + 1, last: at + 1 },
    }));
    let plans: ReturnType<typeof planOfSegments> = [];
    const tookMs = processorMsOf(() => plans = planOfSegments(all, starts));
    expect(plans[0]?.segments).toHaveLength(count);
    // A list that is copied for each segment takes minutes.
    expect(tookMs).toBeLessThan(5_000);
  }, 30_000);

  test("cannot be made when nobody knows where an incarnation belongs", () => {
    expect(() => planOfSegments([segment("cccccccc", 1, 1)], starts)).toThrow("cccccccc");
  });
});

test("a segment's key says what it was made of", () => {
  const { key, range } = segment(OLD, 7, 1234);
  expect(parseEvidenceKey(key)).toEqual({ range, sha256Start: "abababababab" });
  for (const other of ["evidence/x", key.replace("segment", "part"), `a/${key}`]) {
    expect(parseEvidenceKey(other)).toBeUndefined();
  }
});
