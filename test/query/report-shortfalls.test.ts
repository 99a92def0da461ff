/** What was not watched, as a reader gets it: joined where it is one, and never without a reason. */
import { expect, test } from "vitest";
import { type Missing, shortfallTable } from "../../src/query/reports/report.ts";

const MINUTE_US = 60_000_000;
const missing = (from: number, to: number, more: Partial<Missing> = {}): Missing => ({
  ...{ host: "web-1", fromUs: from * MINUTE_US, toUs: to * MINUTE_US, sources: ["services"] },
  ...{ state: "unwatched", cause: "off", reason: undefined, count: undefined },
  ...more,
});
const rowsOf = (...all: readonly Missing[]): readonly (readonly unknown[])[] => {
  const { columns, rows } = shortfallTable(all);
  const [from, to, reason] = ["from", "to", "reason"].map((name) =>
    columns.findIndex((column) => column.name === name)
  );
  const minuteOf = (cell: unknown) => Date.parse(String(cell)) / 60_000;
  return rows.map((row) => [
    ...[minuteOf(row[from ?? 0]), minuteOf(row[to ?? 0]), row[reason ?? 0]],
  ]);
};

test("ranges that follow upon each other are one, with the reason that one of them has", () => {
  const reason = "no systemd";
  expect(rowsOf(missing(0, 1), missing(1, 2, { reason }), missing(2, 3)))
    .toEqual([[0, 3, reason]]);
  expect(rowsOf(missing(0, 1, { reason }), missing(1, 2, { reason }))).toEqual([[0, 2, reason]]);
});

test("what differs in anything, or does not follow, stays apart", () => {
  const others: readonly Missing[] = [
    missing(1, 2, { host: "db-1" }),
    missing(1, 2, { sources: ["logins"] }),
    missing(1, 2, { cause: "stopped" }),
    missing(1, 2, { state: "unknown", cause: undefined }),
    missing(1, 2, { count: 3 }),
    missing(1, 2, { reason: "another" }),
    missing(2, 3),
  ];
  for (const other of others) {
    expect(rowsOf(missing(0, 1, { reason: "one" }), other)).toHaveLength(2);
  }
});

test("a reason is given also where nobody gave one", () => {
  expect(rowsOf(missing(0, 1))).toEqual([[0, 1, "the source is off"]]);
  expect(rowsOf(missing(0, 1, { state: "unknown", cause: undefined })))
    .toEqual([[0, 1, "no agent of this host was heard of"]]);
});
