/** What was not watched, as a reader gets it: joined where it is one, and never without a reason. */
import { expect, test } from "vitest";
import type { ToldGap } from "../../src/query/coverage/told.ts";
import {
  batchTable,
  lossTable,
  type Missing,
  shortfallTable,
} from "../../src/query/reports/report.ts";

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

test("what a source could not read is no break in the chain of its agent's batches", () => {
  const gap = (sources: readonly string[]): ToldGap => ({
    ...{ host: "web-1", isOfAll: false, agent: "a", class: "unreadable", sources },
    ...{ fromUs: 0, toUs: 1, count: 1, reason: "r", events: 1, id: "i" },
  });
  const batch = { host: "web-1", agent: "a", epoch: "e", events: 1, total: 1 };
  const chainOf = (gaps: readonly ToldGap[]) => batchTable([batch], gaps).rows[0]?.at(-1);
  const causeOf = (gaps: readonly ToldGap[]) => lossTable(gaps).rows[0]?.[1];
  expect([chainOf([gap(["logins"])]), causeOf([gap(["logins"])])]).toEqual(["unbroken", "dropped"]);
  expect([chainOf([gap([])]), causeOf([gap([])])]).toEqual(["has a gap", "broken"]);
});
