import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatTime } from "../../src/event/event.ts";
import { parseTime } from "../../src/query/time-text.ts";

const nowUs = Date.UTC(2026, 2, 14, 15, 9, 26) * 1000 + 535_897;
const context = { nowUs, bootUs: nowUs - 7_000_000 };
const day = Date.UTC(2026, 2, 14) * 1000;

describe("a time", () => {
  test.each([
    ["2026-03-14T15:09:26Z", Date.UTC(2026, 2, 14, 15, 9, 26) * 1000],
    ["2026-03-14t15:09:26.1z", Date.UTC(2026, 2, 14, 15, 9, 26, 100) * 1000],
    ["2026-03-14T15:09:26.123456789Z", Date.UTC(2026, 2, 14, 15, 9, 26) * 1000 + 123_456],
    ["2026-03-14T17:09:26+02:00", Date.UTC(2026, 2, 14, 15, 9, 26) * 1000],
    ["2026-03-14T17:09:26 02:00", Date.UTC(2026, 2, 14, 15, 9, 26) * 1000],
    ["2026-03-14T09:39:26-05:30", Date.UTC(2026, 2, 14, 15, 9, 26) * 1000],
    ["2024-02-29T00:00:00Z", Date.UTC(2024, 1, 29) * 1000],
    ["1970-01-01T00:00:00Z", 0],
    ["2026-03-14", day],
    ["now", nowUs],
    ["15m", nowUs - 900_000_000],
    ["now-2h", nowUs - 7_200_000_000],
    ["now+1s", nowUs + 1_000_000],
    ["now 1s", nowUs + 1_000_000],
    ["1d12h", nowUs - 129_600_000_000],
    ["1w", nowUs - 604_800_000_000],
    ["250ms", nowUs - 250_000],
    ["today", day],
    ["yesterday", day - 86_400_000_000],
    ["boot", nowUs - 7_000_000],
  ])("%s", (text, expected) => expect(parseTime(text, context)).toBe(expected));

  test.each([
    "",
    "soon",
    "15",
    "15 m",
    "-15m",
    "now-",
    "2026-03-14T15:09:26",
    "2026-03-14 15:09:26Z",
    "2026-02-29T00:00:00Z",
    "2026-13-01",
    "2026-03-14T24:00:00Z",
    "2026-03-14T15:60:00Z",
    "2026-03-14T15:09:60Z",
    "2026-03-14T15:09:26+24:00",
    "2026-03-14T15:09:26.Z",
    "1969-12-31T23:59:59Z",
    "99999999w",
    "٢h",
  ])("is none: %j", (text) => expect(parseTime(text, context)).toBeUndefined());

  test("as answers write it is read back to the microsecond", () => {
    fc.assert(fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (timeUs) => {
      expect(parseTime(formatTime(timeUs), context)).toBe(timeUs);
    }));
  });
});
