import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstKept } from "../../src/pipeline/truncation.ts";

describe("the first message that stays", () => {
  test.each([
    ["the committed one", { committed: 10, young: undefined, needed: undefined }, 10],
    ["the first one before any commit", { committed: 0, young: undefined, needed: undefined }, 1],
    ["the first young one", { committed: 10, young: 4, needed: undefined }, 4],
    ["the committed one, however old all are", { committed: 10, young: 99, needed: undefined }, 10],
    ["the first that somebody needs", { committed: 10, young: 8, needed: 3 }, 3],
    ["never one before the first", { committed: 10, young: 0, needed: undefined }, 1],
  ])("is %s", (_, bounds, expected) => {
    expect(firstKept(bounds)).toBe(expected);
  });

  test("is never beyond the commit, nor beyond what is young or needed", () => {
    const bound = fc.option(fc.nat(50), { nil: undefined });
    fc.assert(
      fc.property(
        fc.record({ committed: fc.nat(50), young: bound, needed: bound }),
        (bounds) => {
          const kept = firstKept(bounds);
          for (const each of [bounds.committed, bounds.young, bounds.needed]) {
            expect(kept).toBeLessThanOrEqual(Math.max(1, each ?? Infinity));
          }
        },
      ),
    );
  });
});
