import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatTime } from "../../src/event/event.ts";
import { halvesOf, sliceByTime } from "../../src/query/planner/slices.ts";
import type { DataFile } from "../../src/storage/table.ts";

interface FileFacts {
  readonly name: string;
  readonly time: readonly [fromUs: number, toUs: number];
  readonly rows: number;
}

function file({ name, time: [fromUs, toUs], rows }: FileFacts): DataFile {
  return {
    path: name,
    sizeBytes: 100,
    rows,
    eventDate: "1970-01-01",
    minimum: { time: formatTime(fromUs) },
    maximum: { time: formatTime(toUs) },
    nullCount: {},
    sha256: "",
  };
}

describe("slices", () => {
  const ranges = fc.array(
    fc.tuple(fc.nat({ max: 500 }), fc.nat({ max: 60 }), fc.integer({ min: 1, max: 400 })),
    { maxLength: 60 },
  );

  test("follow each other without a seam and name every file of their range", () => {
    const parts = fc.option(fc.integer({ min: 50, max: 500 }), { nil: undefined });
    fc.assert(fc.property(ranges, fc.constantFrom("asc", "desc"), parts, (given, order, cut) => {
      const files = given.map(([from, length, rows], at) =>
        file({ name: String(at), time: [from * 1_000, (from + length) * 1_000], rows })
      );
      const range = { fromUs: 50_000, toUs: 450_000 };
      const limits = { filesMax: 3, rowsMax: 500, growth: 2, ...(cut && { partRows: cut }) };
      const slices = sliceByTime(files, { ...range, ...limits, order });
      const inOrder = order === "asc" ? slices : slices.toReversed();
      expect(inOrder[0]?.fromUs).toBe(range.fromUs);
      expect(inOrder.at(-1)?.toUs).toBe(range.toUs);
      inOrder.forEach(({ toUs }, at) => {
        if (at + 1 < inOrder.length) expect(inOrder[at + 1]?.fromUs).toBe(toUs);
      });
      for (const { fromUs, toUs, files: named } of slices) {
        expect(fromUs).toBeLessThan(toUs);
        given.forEach(([from, length], at) => {
          const holds = (from + length) * 1_000 >= fromUs && from * 1_000 < toUs;
          expect(named.some(({ path }) => path === String(at))).toBe(holds);
        });
      }
    }));
  });

  test("are halved without a seam, until there is no time to share", () => {
    fc.assert(fc.property(ranges, fc.constantFrom("asc", "desc"), (given, order) => {
      const files = given.map(([from, length, rows], at) =>
        file({ name: String(at), time: [from, from + length], rows })
      );
      const [all] = sliceByTime(files, {
        ...{ fromUs: 100, toUs: 140, filesMax: Infinity, rowsMax: Infinity, growth: 1, order },
      });
      if (all === undefined) throw new Error("no slice");
      let [pieces, rest] = [[all], 0];
      while (rest < pieces.length) {
        rest = 0;
        pieces = pieces.flatMap((slice) => {
          const halves = halvesOf(slice, order);
          if (halves.length === 0) rest += 1;
          return halves.length === 0 ? [slice] : halves;
        });
      }
      const inOrder = order === "asc" ? pieces : pieces.toReversed();
      expect(inOrder[0]?.fromUs).toBe(100);
      expect(inOrder.at(-1)?.toUs).toBe(140);
      inOrder.forEach(({ fromUs, toUs, files: named }, at) => {
        if (at > 0) expect(inOrder[at - 1]?.toUs).toBe(fromUs);
        expect(fromUs).toBeLessThan(toUs);
        const holding = given.flatMap(([from, length], place) =>
          from + length >= fromUs && from < toUs ? [String(place)] : []
        );
        expect(named.map(({ path }) => path)).toEqual(holding);
      });
    }));
  });

  test("cut a large file into parts of its time", () => {
    const day = file({ name: "day", time: [1_000, 100_999], rows: 1_000_000 });
    const range = { fromUs: 0, toUs: 1_000_000, order: "asc" } as const;
    const limits = { filesMax: 256, rowsMax: 250_000, growth: 1 };
    const sizes = (more: { readonly partRows?: number }, from = 0) =>
      sliceByTime([day], { ...range, ...limits, ...more, fromUs: from })
        .map(({ fromUs, toUs }) => [fromUs, toUs]);
    expect(sizes({})).toEqual([[0, 1_000_000]]);
    expect(sizes({ partRows: 300_000 }))
      .toEqual([[0, 26_000], [26_000, 51_000], [51_000, 76_000], [76_000, 1_000_000]]);
    // Half of the file is asked for.
    expect(sizes({ partRows: 300_000 }, 51_000)).toEqual([[51_000, 76_000], [76_000, 1_000_000]]);
  });
});
