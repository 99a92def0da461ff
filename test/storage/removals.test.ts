import { afterEach, beforeEach, expect, test } from "vitest";
import { retainTable } from "../../src/pipeline/maintenance/retention.ts";
import { parseKeepRules } from "../../src/pipeline/maintenance/retention-policy.ts";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import {
  DAYS_MAX,
  noteRemovals,
  NOTHING_REMOVED,
  readRemovals,
  type Removals,
  RULE_SETS_MAX,
  withEntry,
} from "../../src/storage/removals.ts";
import { deltaLogKey } from "../../src/storage/layout.ts";
import { clockAt, type DataTable, openDataTable } from "../support/data-table.ts";

const DAY = 86_400_000;
const clock = clockAt("2026-03-20T06:00:00Z");
let data: DataTable;
beforeEach(async () => {
  data = await openDataTable();
});
afterEach(() => data[Symbol.asyncDispose]());

const beforeOf = (keepMs: number): number =>
  Math.floor((Date.parse("2026-03-20T06:00:00Z") - keepMs) / DAY) * DAY;
const said = ({ cutoffs, days }: Removals | undefined = NOTHING_REMOVED) => ({
  cutoffs: cutoffs.map((set) => set.map(({ pattern, beforeMs }) => [pattern, beforeMs])),
  days,
});
const entry = (...actions: readonly object[]): string =>
  actions.map((each) => JSON.stringify(each)).join("\n");

test("what left the table is told from its log, by whoever's hand, and kept", async () => {
  for (const day of ["01", "10", "10"]) {
    await data.addRound({ rows: 4, start: `2026-03-${day}T10:00:00Z`, topics: ["a", "b"] });
  }
  const versionOf = async () => (await data.snapshot()).version;
  const read = async () => {
    const upTo = await versionOf();
    return said(await readRemovals(data.store, { upTo, entriesMax: 100 }));
  };
  {
    await using context = await data.context({ clock });
    await compactTable(context, {});
    expect(await read()).toEqual({ cutoffs: [], days: [] });
    const rules = parseKeepRules({ "**": 15 * DAY, "a": 12 * DAY });
    await retainTable(context, { rules });
  }
  const retained = [[["a", beforeOf(12 * DAY)], ["**", beforeOf(15 * DAY)]]];
  expect(await read()).toEqual({ cutoffs: retained, days: [] });
  const version = await versionOf();
  // The account goes on from where it was, also where a look does not reach the end.
  const looks = [];
  for (let look = 0; look < 4; look++) {
    looks.push(await noteRemovals(data.store, { upTo: version, entriesMax: 2 }));
  }
  expect(looks.map(({ throughVersion }) => throughVersion)).toEqual(
    [1, 3, 5, 7].map((each) => Math.min(each, version)),
  );
  await noteRemovals(data.store, { upTo: version, entriesMax: 100 });
  const [[path = ""] = []] = [...(await data.snapshot()).files];
  const remove = { path, dataChange: true, partitionValues: { event_date: "2026-03-10" } };
  const text = entry({ commitInfo: { operation: "DELETE" } }, { remove });
  await data.store.put(deltaLogKey(version + 1), new TextEncoder().encode(text));
  const whole = { cutoffs: retained, days: ["2026-03-10"] };
  expect(said(await readRemovals(data.store, { upTo: version + 1, entriesMax: 1 }))).toEqual(whole);
  const behind = await readRemovals(data.store, { upTo: version + 2, entriesMax: 1 });
  expect(behind.throughVersion).toBe(version + 1);
  const before = { ...behind, throughVersion: version + 2 };
  expect(await readRemovals(data.store, { before, upTo: version + 2, entriesMax: 0 })).toEqual(
    before,
  );
  await noteRemovals(data.store, { upTo: version + 1, entriesMax: 100 });
  expect(said(await readRemovals(data.store, { upTo: version + 1, entriesMax: 0 }))).toEqual(whole);
});

test("what only moves rows takes none away, and what says nothing of its day is told by its path", () => {
  const after = (...actions: readonly object[]) =>
    said(withEntry(NOTHING_REMOVED, entry(...actions)));
  const path = "event_date=2026-03-01/part-1.parquet";
  expect(after({ remove: { path, dataChange: false } })).toEqual(said());
  expect(after({ remove: { path } })).toEqual({ cutoffs: [], days: ["2026-03-01"] });
  const forged = { probity: { maintenance: { kind: "retain", rows: 1, before: { "*": 1 } } } };
  expect(after({ commitInfo: forged }, { remove: { path } }).days).toEqual(["2026-03-01"]);
  expect(said(withEntry(NOTHING_REMOVED, undefined))).toEqual(said());
});

test("of more than can be told apart, all before the latest counts as gone", () => {
  const retained = (number: number) =>
    entry({
      commitInfo: {
        probity: {
          maintenance: { kind: "retain", rows: 1, before: { [`t${number}`]: number * DAY } },
        },
      },
    });
  let account = NOTHING_REMOVED;
  for (let each = 1; each <= RULE_SETS_MAX; each++) account = withEntry(account, retained(each));
  expect(account.cutoffs).toHaveLength(RULE_SETS_MAX);
  account = withEntry(account, retained(RULE_SETS_MAX + 1));
  expect(said(account).cutoffs).toEqual([[["**", (RULE_SETS_MAX + 1) * DAY]]]);
  const days = Array.from(
    { length: DAYS_MAX + 1 },
    (_, each) => new Date(each * DAY).toISOString().slice(0, 10),
  );
  const all = entry(...days.map((day) => ({ remove: { path: `event_date=${day}/x.parquet` } })));
  expect(said(withEntry(NOTHING_REMOVED, all))).toEqual({
    cutoffs: [[["**", (DAYS_MAX + 1) * DAY]]],
    days: [],
  });
});
