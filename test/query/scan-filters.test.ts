import { describe, expect, test } from "vitest";
import { conditionsOf, hotOfScans } from "../../src/query/planner/scan-filters.ts";

const HOUR = Date.UTC(2026, 0, 1, 2) * 1000;

function said(filters: string): string[] {
  return conditionsOf(filters).map(({ column, matches }) =>
    `${column.name}: ${
      matches.map((match) =>
        match.kind === "glob"
          ? "*"
          : `${match.kind === "equal" ? "=" : match.operator}${match.value}`
      ).join(" or ")
    }`
  );
}

describe("the filters of a read, as DuckDB shows them", () => {
  test.each<[string, readonly string[]]>([
    ["", []],
    ["host='db-1'", ["host: =db-1"]],
    ["host='a''b AND time>''x'''", ["host: =a'b AND time>'x'"]],
    ["pid=7", ["pid: =7"]],
    ["pid>=-3 AND pid<9", ["pid: >=-3", "pid: <9"]],
    [
      "time>='2026-01-01 02:00:00+00'::TIMESTAMP WITH TIME ZONE\nhost='a'",
      [`time: >=${HOUR}`, "host: =a"],
    ],
    ["time<'2026-01-01 02:00:00.000001+00'::TIMESTAMP WITH TIME ZONE", [`time: <${HOUR + 1}`]],
    ["optional: host IN ('a', 'b', 'c,d')", ["host: =a or =b or =c,d"]],
    ["optional: host='a' OR host='b'", ["host: =a or =b"]],
    [
      "time>='2026-01-01 02:00:00+00'::TIMESTAMP WITH TIME ZONE AND optional: Dynamic Filter (time)",
      [
        `time: >=${HOUR}`,
      ],
    ],
    [
      "topic>='file' AND topic<'file0' AND ((topic = 'file') OR starts_with(topic, 'file/'))",
      ["topic: >=file", "topic: <file0"],
    ],
    // A line within a text is no filter of its own, and how many line ends the text has is not told.
    ["host='\ntime>'\npid=5", ["pid: =5"]],
    ["host='x\ntime>''2026-01-01 02:00:00+00''::TIMESTAMP WITH TIME ZONE'", []],
    ["optional: host IN ('a', 'b\nc')\npid=5", ["pid: =5"]],
    // What AND and OR mean together is not told.
    ["host<'x' AND optional: host='a' OR host='c'", []],
    ["host='a' OR pid=3", []],
    ["(host IS NOT NULL)", []],
    ["(host IS NOT NULL)\npid=5", ["pid: =5"]],
    ["host IS NOT NULL AND pid=5", ["pid: =5"]],
    ["uid!=5", []],
    ["host NOT IN ('a')", []],
    ["host IN ('a', pid)", []],
    ["time>'infinity'::TIMESTAMP WITH TIME ZONE", []],
    ["time>'2026-01-01'::DATE", []],
    ["time>'2026-01-01 02:00:00+01'::TIMESTAMP WITH TIME ZONE", []],
    ["nothing='x'", []],
    ["uid=1.5", []],
    ["host='never ends", []],
    ["host=('a'", []],
    ["host='a')", []],
    ["starts_with(host, 'a')", []],
    ["host='a' || 'b'", []],
  ])("%j", (filters, conditions) => {
    expect(said(filters)).toEqual(conditions);
  });
});

test("hot rows are handed over unless every read asks for what is earlier than all of them", () => {
  const range = { table: "hot.a", incarnation: "0a1b2c3d", after: 0, upTo: 1 };
  const before = (time: string) => `time<'2026-01-01 ${time}+00'::TIMESTAMP WITH TIME ZONE`;
  const isHeld = (scans: readonly string[], firstUs?: number) =>
    hotOfScans([{ ...range, ...(firstUs === undefined ? {} : { firstUs }) }], scans).length === 1;
  expect(isHeld([before("01:00:00")], HOUR)).toBe(false);
  expect(isHeld([before("03:00:00")], HOUR)).toBe(true);
  expect(isHeld([before("01:00:00"), before("03:00:00")], HOUR)).toBe(true);
  expect(isHeld([before("01:00:00"), ""], HOUR)).toBe(true);
  // What is not of a time says nothing of them, and what is not known rules out nothing.
  expect(isHeld(["host='a'"], HOUR)).toBe(true);
  expect(isHeld([], HOUR)).toBe(true);
  expect(isHeld([before("01:00:00")])).toBe(true);
  expect(isHeld([before("01:00:00")], -Infinity)).toBe(true);
});
