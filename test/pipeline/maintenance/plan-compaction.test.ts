import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  COMPACTION_SIZES,
  OPEN_DAY_FILES_MIN,
  planCompaction,
} from "../../../src/pipeline/maintenance/plan-compaction.ts";
import type { DataFile } from "../../../src/storage/table.ts";
import { dataFile } from "../../support/shard-work.ts";

const { smallFileBytes: SMALL_FILE_BYTES, groupBytesMax: GROUP_BYTES_MAX } = COMPACTION_SIZES;
const DAY = "2026-03-02";
const LATER = Date.parse("2026-03-10T00:00:00Z");
const THAT_DAY = Date.parse("2026-03-02T18:00:00Z");

function file(minute: number, sizeBytes: number, name = `roll-${minute}`): DataFile {
  const time = new Date(Date.parse(`${DAY}T00:00:00Z`) + minute * 60_000).toISOString();
  return {
    ...dataFile(`event_date=${DAY}/${name}.parquet`),
    eventDate: DAY,
    sizeBytes,
    minimum: { time, host: "a" },
    maximum: { time, host: "b" },
  };
}

const plan = (files: readonly DataFile[], nowMs = LATER) =>
  planCompaction(files, { holds: [], nowMs }).map((group) =>
    group.files.map(({ path }) => path.slice(DAY.length + 12, -8))
  );

describe("the plan of a compaction", () => {
  test("takes small files of a day in order of time, and leaves one alone", () => {
    expect(plan([file(2, 5), file(1, 5), file(3, SMALL_FILE_BYTES)])).toEqual([[
      "roll-1",
      "roll-2",
    ]]);
    expect(plan([file(1, 5)])).toEqual([]);
    expect(plan([file(1, 5), { ...file(2, 5), eventDate: "2026-03-03" }])).toEqual([]);
  });

  test("of a day that grows waits until there is enough that is new", () => {
    const some = Array.from({ length: OPEN_DAY_FILES_MIN - 1 }, (_, place) => file(place, 100));
    expect(plan(some, THAT_DAY)).toEqual([]);
    expect(plan([...some, file(50, 100)], THAT_DAY)[0]).toHaveLength(OPEN_DAY_FILES_MIN);
    const sorted = (bytes: number) => file(0, bytes, "compact-a");
    const more = [...some, file(50, 100)];
    expect(plan([sorted(2_400), ...more], THAT_DAY)[0]).toContain("compact-a");
    expect(plan([sorted(2_500), ...more], THAT_DAY)[0]).not.toContain("compact-a");
    expect(plan([sorted(1e8), file(1, 1)], LATER)[0]).toHaveLength(2);
  });

  test("makes groups of 128 to 512 MB where there is as much, and comes to an end", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: SMALL_FILE_BYTES - 1 }), { maxLength: 60 });
    fc.assert(fc.property(sizes, (bytes) => {
      const files = bytes.map((size, place) => file(place, size));
      const groups = planCompaction(files, { holds: [], nowMs: LATER });
      const sums = groups.map((group) =>
        group.files.reduce((sum, each) => sum + each.sizeBytes, 0)
      );
      expect(groups.every((group) => group.files.length > 1)).toBe(true);
      expect(sums.every((sum) => sum <= GROUP_BYTES_MAX)).toBe(true);
      // Only what is left at the end may be smaller.
      expect(sums.slice(0, -1).every((sum) => sum >= SMALL_FILE_BYTES)).toBe(true);
      const taken = groups.flatMap((group) => group.files);
      expect(new Set(taken).size).toBe(taken.length);
      expect(files.length - taken.length).toBeLessThanOrEqual(1);
    }));
  });

  test("leaves files that are held", () => {
    const files = [file(1, 5), file(2, 5), file(3, 5)];
    const hold = { reason: "x", hosts: [], fromMs: undefined };
    const toMs = Date.parse("2026-03-02T00:01:00.001Z");
    const groups = planCompaction(files, { holds: [{ ...hold, toMs }], nowMs: LATER });
    expect(groups[0]?.files).toEqual(files.slice(1));
  });
});
