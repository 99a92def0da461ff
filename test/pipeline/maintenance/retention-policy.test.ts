import { describe, expect, test } from "vitest";
import {
  cutoffMs,
  expiredFiles,
  keptRows,
  parseKeepRules,
  youngestMs,
} from "../../../src/pipeline/maintenance/retention-policy.ts";
import type { DataFile } from "../../../src/storage/table.ts";
import { dataFile } from "../../support/shard-work.ts";

const DAY = 86_400_000;
const NOW = Date.parse("2026-03-10T06:00:00Z");
const file = (latest: string, loggedAt = latest) => ({
  ...dataFile("event_date=2026-03-01/a.parquet"),
  maximum: { time: latest, logged_at: loggedAt },
});

describe("rules", () => {
  test("decide by topic, then host, then time", () => {
    const rules = parseKeepRules({
      "**": 400 * DAY,
      "**@build-*": 10 * DAY,
      "file/**": 30 * DAY,
      "file/write": 5 * DAY,
      "file/**@web-1": 60 * DAY,
    });
    expect(rules.map(({ pattern }) => pattern)).toEqual([
      "file/write",
      "file/**@web-1",
      "file/**",
      "**@build-*",
      "**",
    ]);
  });

  test.each(["", "*", "/x", "file/*", "**@", "file@we*b", "a//b", "file/**@a b"])(
    "of another form are refused: %j",
    (pattern) => expect(() => parseKeepRules({ [pattern]: DAY })).toThrow(RangeError),
  );

  test("keep a day at least", () => {
    expect(() => parseKeepRules({ "**": DAY - 1 })).toThrow("less than a day");
    expect(() => parseKeepRules({ "**": NaN })).toThrow("less than a day");
  });

  test("cut at the start of a UTC day", () => {
    const [rule] = parseKeepRules({ "**": 3 * DAY });
    expect(rule && new Date(cutoffMs(rule, NOW)).toISOString()).toBe("2026-03-07T00:00:00.000Z");
  });
});

describe("a file is past its time", () => {
  const rules = parseKeepRules({ "**": 3 * DAY, "auth/**": 5 * DAY });
  const find = (
    of: DataFile,
    { cutoffs, addedAtMs = 0 }: {
      readonly cutoffs?: Readonly<Record<string, number>>;
      readonly addedAtMs?: number;
    } = {},
  ) => {
    const settled = cutoffs === undefined ? undefined : { cutoffs, atMs: NOW - DAY };
    return expiredFiles([of], { rules, settled, addedAtMs: () => addedAtMs, nowMs: NOW });
  };

  test("when its youngest row is, by time and by when it was stored", () => {
    expect(find(file("2026-03-06T23:59:59.999Z"))).toMatchObject([{ isWhole: false }]);
    expect(find(file("2026-03-07T00:00:00.000Z"))).toEqual([]);
    expect(find(file("2026-03-01T00:00:00.000Z", "2026-03-08T00:00:00.000Z"))).toEqual([]);
    expect(find(file("2026-03-04T23:59:59.999Z"))).toMatchObject([{ isWhole: true }]);
  });

  test("not when the log does not say how old it is", () => {
    const unknown = { ...file("2026-03-01T00:00:00.000Z"), maximum: {} };
    expect(find(unknown)).toEqual([]);
    expect(youngestMs({ ...file("2026-03-01T00:00:00Z"), rows: 0 })).toBe(Infinity);
    const noLoggedAt = { ...unknown, maximum: { time: "2026-03-01T00:00:00.000Z" } };
    expect(find(noLoggedAt)).toEqual([]);
    expect(find({ ...noLoggedAt, nullCount: { logged_at: 10, time: 0 } })).toHaveLength(1);
  });

  test("and is looked at once for each rule", () => {
    const cutoffs = { "**": Date.parse("2026-03-07"), "auth/**": Date.parse("2026-03-05") };
    expect(find(file("2026-03-06T01:00:00.000Z"), { cutoffs })).toEqual([]);
    expect(find(file("2026-03-06T01:00:00.000Z"), { cutoffs: { "auth/**": 0 } })).toHaveLength(1);
    const before = { ...cutoffs, "auth/**": Date.parse("2026-03-04") };
    expect(find(file("2026-03-04T01:00:00.000Z"), { cutoffs: before })).toHaveLength(1);
  });

  test("and is looked at when it came late, whatever was settled before", () => {
    const cutoffs = { "**": Date.parse("2026-03-07"), "auth/**": Date.parse("2026-03-05") };
    const late = file("2026-03-02T01:00:00.000Z");
    expect(find(late, { cutoffs, addedAtMs: NOW - 2 * DAY - 1 })).toEqual([]);
    expect(find(late, { cutoffs, addedAtMs: NOW - DAY })).toHaveLength(1);
    expect(find(late, { cutoffs, addedAtMs: NOW - 2 * DAY })).toHaveLength(1);
  });

  test("never whole when a row may have no rule", () => {
    const some = parseKeepRules({ "file/**": DAY });
    const found = expiredFiles([file("2026-03-01T00:00:00.000Z")], {
      rules: some,
      settled: undefined,
      addedAtMs: () => 0,
      nowMs: NOW,
    });
    expect(found).toMatchObject([{ isWhole: false }]);
    expect(keptRows([], [])).toBe("true");
  });
});
