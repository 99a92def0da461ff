import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  EVENTS_NAMES,
  FILTER_NAMES,
  parseConditions,
  QUERY_LENGTH_MAX,
  readParameters,
} from "../../src/query/request.ts";
import { gapNotice } from "../../src/query/tail/gap-notice.ts";

const NOW_US = Date.UTC(2026, 0, 31, 10) * 1_000;
const TIME = { nowUs: NOW_US, bootUs: NOW_US - 5_000_000_123 };
/** When the searches are asked for: another day, after another start. */
const LATER = { nowUs: NOW_US + 200_000_000_001, bootUs: NOW_US + 1_000_000 };
const ORIGIN = "http://127.0.0.1";
const RANGE_NAMES = ["incarnation", "seq"];

const row = (sequence: number) => ({ incarnation: "0123abcd", sequence, idx: 0, json: "" });
const times = { earliest: "2026-01-31T09:00:00.000000Z", latest: "2026-01-31T10:00:00.000000Z" };
const skipped = { count: 7, ranges: [{ first: row(5), last: row(9), ...times }] };

/** The parameters of a tail, and those of the search for what it left out. */
function searchFor(filters: readonly (readonly [string, string])[]) {
  const query = new URLSearchParams(filters.map(([name, value]) => [name, value]));
  const parameters = readParameters(new URL(`/v1/tail?${query}`, ORIGIN), FILTER_NAMES);
  const [search = ""] = gapNotice(skipped, { parameters, time: TIME }).searches;
  const names = [...EVENTS_NAMES, ...FILTER_NAMES];
  return { parameters, search, found: readParameters(new URL(search, ORIGIN), names) };
}

const time = fc.constantFrom(
  ...["15m", "2h", "now", "now-2h", "now+1d", "now+11000w", "today", "yesterday", "boot", "1h30m"],
  ...["2026-01-30", "2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000001+02:00"],
);
const operator = fc.constantFrom("", ">=", ">", "<=", "<");
const timeFilter = fc.tuple(
  fc.constantFrom("time", "logged_at"),
  fc.tuple(
    fc.constantFrom("", "!"),
    fc.array(fc.tuple(operator, time).map((each) => each.join("")), { minLength: 1, maxLength: 3 }),
  ).map(([sign, each]) => sign + each.join(",")),
);
const textFilter = fc.tuple(
  fc.constantFrom("user", "path", "topic", "uid"),
  fc.constantFrom("1", "!0,5", "7,8,9"),
);

describe("the searches of a gap", () => {
  test("ask for what the tail asked for, whenever they are asked", () => {
    const filters = fc.array(fc.oneof(timeFilter, textFilter), { maxLength: 5 });
    fc.assert(fc.property(filters, (each) => {
      const { parameters, found } = searchFor(each);
      const own = new Map([...found].filter(([name]) => !RANGE_NAMES.includes(name)));
      expect(parseConditions(own, LATER)).toEqual(parseConditions(parameters, TIME));
    }));
  });

  test("are never longer than what is taken", () => {
    const lengths = [8_000, 14_000, 16_000].map((length) => {
      const filters = [["path", "a/,".repeat(length / 3) + "a"]] as const;
      const query = `path=${filters[0][1]}`;
      const parameters = readParameters(new URL(`/v1/tail?${query}`, ORIGIN), FILTER_NAMES);
      const { searches } = gapNotice(skipped, { parameters, time: TIME });
      const [search = ""] = searches;
      expect(search).toContain("seq=%3E%3D5");
      expect(search.includes("path=")).toBe(length === 8_000 && search.length > length);
      return search.length;
    });
    expect(Math.max(...lengths)).toBeLessThanOrEqual(QUERY_LENGTH_MAX);
  });
});
