import { writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { compactTable } from "../../../src/pipeline/maintenance/compaction.ts";
import type { MaintenanceContext } from "../../../src/pipeline/maintenance/context.ts";
import { findExpired, retainTable } from "../../../src/pipeline/maintenance/retention.ts";
import { removableRows } from "../../../src/pipeline/maintenance/removal-record.ts";
import { parseRemoval } from "../../../src/storage/removal-record.ts";
import { parseKeepRules } from "../../../src/pipeline/maintenance/retention-policy.ts";
import type { TableSnapshot } from "../../../src/storage/table.ts";
import { readLogEvidence } from "../../../src/storage/evidence-list.ts";
import { dataFileKey } from "../../../src/storage/layout.ts";
import type { ObjectStore } from "../../../src/storage/object-store.ts";
import { clockAt, type DataTable, openDataTable } from "../../support/data-table.ts";
import { unreliable } from "../../support/unreliable-store.ts";

const DAY = 86_400_000;
const clock = clockAt("2026-03-20T06:00:00Z");
const RULES = parseKeepRules({
  "**": 15 * DAY,
  "file/**": 5 * DAY,
  "file/**@web-2": 12 * DAY,
});

let data: DataTable;
let context: MaintenanceContext;
beforeEach(async () => {
  data = await openDataTable();
  context = await data.context({ clock });
  // Of the 1st, 10th and 18th: 12 rows each of two hosts and three topics.
  for (const day of ["01", "10", "18"]) {
    await data.addRound({
      rows: 12,
      start: `2026-03-${day}T10:00:00Z`,
      hosts: ["web-1", "web-2"],
      topics: ["process/exec", "file/write", "files"],
    });
  }
});
afterEach(async () => {
  await context[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
});

const HOLD = { reason: "case 7", hosts: [], fromMs: undefined, toMs: undefined };
const counts = () =>
  data.query(
    `SELECT CAST(CAST(time AS DATE) AS VARCHAR) AS day, topic, host, count(*) AS n FROM events
     GROUP BY ALL ORDER BY ALL`,
  );
const after = [
  { day: "2026-03-10", topic: "file/write", host: "web-2", n: 2 },
  { day: "2026-03-10", topic: "files", host: "web-1", n: 2 },
  { day: "2026-03-10", topic: "files", host: "web-2", n: 2 },
  { day: "2026-03-10", topic: "process/exec", host: "web-1", n: 2 },
  { day: "2026-03-10", topic: "process/exec", host: "web-2", n: 2 },
];

describe("retention", () => {
  test("removes nothing by a clock that is far from the store's", async () => {
    const remote = { ...context, store: unreliable(context.store) };
    remote.store.localPath = () => undefined;
    const { version } = await data.snapshot();
    await expect(retainTable(remote, { rules: RULES })).rejects.toThrow("Cannot remove anything");
    expect((await data.snapshot()).version).toBe(version);
  });

  test("removes what is past its time by topic and host, and nothing else", async () => {
    const untouched = (await counts()).filter(({ day }) => day === "2026-03-18");
    const summary = await retainTable(context, { rules: RULES });
    expect(summary).toMatchObject({ filesRemoved: 1, filesRewritten: 1, rowsRemoved: 14 });
    expect(await counts()).toEqual([...after, ...untouched]);
    const { version, files } = await data.snapshot();
    expect(files.size).toBe(2);
    expect(await retainTable(context, { rules: RULES, settled: summary.settled }))
      .toMatchObject({ filesRemoved: 0, filesRewritten: 0, rowsRemoved: 0 });
    expect(await retainTable(context, { rules: RULES })).toMatchObject({ rowsRemoved: 0 });
    expect((await data.snapshot()).version).toBe(version);
  });

  test("says in the log what it took, so that it can be told from what was lost", async () => {
    const all = await data.snapshot();
    await retainTable(context, { rules: RULES });
    const { version } = await data.snapshot();
    const { removals } = await readLogEvidence(data.store, { upTo: version });
    const records = removals.flatMap((each) => parseRemoval(each) ?? []);
    expect(records.map(({ rows }) => rows)).toEqual([12, 2]);
    const count = (of: TableSnapshot) =>
      data.query(`SELECT count(*) AS n FROM events WHERE ${removableRows(records)}`, of);
    expect(await count(all)).toEqual([{ n: 14 }]);
    expect(await count(await data.snapshot())).toEqual([{ n: 0 }]);
    const earlier = records.map((each) => ({
      ...each,
      cutoffs: each.cutoffs.map((cutoff) => ({ ...cutoff, beforeMs: cutoff.beforeMs - DAY })),
    }));
    expect(removableRows([...records, ...earlier])).toBe(removableRows(records));
    expect(removableRows([])).toBe("false");
  });

  test.each([
    undefined,
    { kind: "compact" },
    { kind: "retain", rows: 1, keep: { "**": DAY } },
    { kind: "retain", rows: 1, before: { "*": 1 } },
    { kind: "retain", rows: 1, before: { "**": "2026-03-01" } },
    { kind: "retain", rows: 1, before: { "**": 1e16 } },
    { kind: "retain", rows: -1, before: { "**": 1 } },
  ])("explains nothing by a record that is not whole: %j", (detail) => {
    expect(parseRemoval(detail)).toBeUndefined();
  });

  test("says beforehand what it would remove, and does nothing then", async () => {
    const { version } = await data.snapshot();
    expect(await findExpired(context, { rules: RULES })).toMatchObject([
      { rows: 12, file: { eventDate: "2026-03-01" }, isHeld: false },
      { rows: 2, file: { eventDate: "2026-03-10" }, patterns: ["file/**"] },
    ]);
    expect((await data.snapshot()).version).toBe(version);
  });

  test("without rules keeps everything", async () => {
    expect(await retainTable(context, { rules: [] })).toMatchObject({ rowsRemoved: 0 });
    expect(await data.query("SELECT count(*) AS n FROM events")).toEqual([{ n: 36 }]);
  });

  test("keeps what is held, and looks again once it is not", async () => {
    const held = await context.holds.create("case-7", {
      ...HOLD,
      hosts: ["web-2"],
      toMs: Date.parse("2026-03-05T00:00:00Z"),
    });
    const summary = await retainTable(context, { rules: RULES });
    expect(summary).toMatchObject({ filesRemoved: 0, filesRewritten: 1, filesHeld: 1 });
    expect(summary.settled).toBeUndefined();
    expect(await findExpired(context, { rules: RULES })).toMatchObject([{ isHeld: true }]);
    if (held === undefined) throw new Error("no hold");
    await context.holds.remove(held);
    expect(await retainTable(context, { rules: RULES })).toMatchObject({ filesRemoved: 1 });
  });

  test("respects a hold that comes right before the commit", async () => {
    const { version } = await data.snapshot();
    const summary = await retainTable(context, {
      rules: RULES,
      onChange: async () => void await context.holds.create("case-7", HOLD),
    });
    expect(summary).toMatchObject({ rowsRemoved: 0, filesHeld: 2 });
    expect((await data.snapshot()).version).toBe(version);
  });

  test("of two at the same time, and beside a compaction, removes the same rows", async () => {
    await using rival = await data.context({ clock });
    await using third = await data.context({ clock });
    await data.addRound({ rows: 6, start: "2026-03-10T11:00:00Z", topics: ["process/exec"] });
    await Promise.all([
      retainTable(context, { rules: RULES }),
      retainTable(rival, { rules: RULES }),
      compactTable(third),
    ]);
    await retainTable(context, { rules: RULES });
    expect(await data.query("SELECT count(*) AS n FROM events")).toEqual([{ n: 12 + 6 + 10 }]);
  });

  test("killed before the commit is done again by the next", async () => {
    const dying: ObjectStore = {
      ...unreliable(data.store),
      putFileIfAbsent: (key, path, options) => data.store.putFileIfAbsent(key, path, options),
      putIfAbsent: () => Promise.reject(new Error("killed")),
    };
    await using killed = await data.context({ clock, store: dying });
    await expect(retainTable(killed, { rules: RULES })).rejects.toThrow("killed");
    expect(await data.query("SELECT count(*) AS n FROM events")).toEqual([{ n: 36 }]);
    expect(await retainTable(context, { rules: RULES })).toMatchObject({ rowsRemoved: 14 });
  });

  test("leaves a damaged file as it is", async () => {
    const [, second] = (await data.snapshot()).files.values();
    const path = data.store.localPath(dataFileKey(second?.path ?? "")) ?? "";
    await writeFile(path, "not what was committed");
    const summary = await retainTable(context, { rules: RULES });
    expect(summary).toMatchObject({ filesRemoved: 1, damaged: [second?.path] });
    expect(summary.settled).toBeUndefined();
    expect((await data.snapshot()).files.has(second?.path ?? "")).toBe(true);
  });
});
