import { readFile, utimes } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { compactTable } from "../../../src/pipeline/maintenance/compaction.ts";
import type { MaintenanceContext } from "../../../src/pipeline/maintenance/context.ts";
import {
  DEFAULT_GRACE_MS,
  findGarbage,
  GRACE_MS_MAX,
  GRACE_MS_MIN,
  vacuumBucket,
} from "../../../src/pipeline/maintenance/vacuum.ts";
import { systemClock } from "../../../src/runtime/clock.ts";
import { putForCommit, REUSE_AGE_MAX_MS } from "../../../src/storage/content-object.ts";
import { REMOVED_KEPT_MS, writeCheckpoint } from "../../../src/storage/delta-checkpoint-write.ts";
import { readLog } from "../../../src/storage/delta-log.ts";
import { EMPTY_LOG } from "../../../src/storage/delta-replay.ts";
import { dataFileKey, stateKey } from "../../../src/storage/layout.ts";
import { type DataTable, openDataTable, quietLog } from "../../support/data-table.ts";
import { unreliable } from "../../support/unreliable-store.ts";

const DAY = 86_400_000;

let data: DataTable;
let context: MaintenanceContext;
beforeEach(async () => {
  data = await openDataTable();
  context = await data.context();
});
afterEach(async () => {
  await context[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
});

/** Time goes on by so many milliseconds. */
const later = (ms: number) => ({
  ...systemClock,
  nowUs: () => systemClock.nowUs() + ms * 1000,
});

async function addRounds(): Promise<void> {
  for (const hour of ["10", "11", "12"]) {
    await data.addRound({ rows: 10, start: `2026-03-02T${hour}:00:00Z` });
  }
}

/** As if the object had been written so long ago. */
async function age(key: string, ms: number): Promise<void> {
  const at = new Date(Date.now() - ms);
  await utimes(data.store.localPath(key) ?? "", at, at);
}

async function keys(prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of data.store.list(prefix)) found.push(key);
  return found;
}

describe("a vacuum", () => {
  test("deletes files that left the table, after the grace and not before", async () => {
    await addRounds();
    await compactTable(context);
    const before = await data.content();
    const [live] = (await data.snapshot()).files.keys();
    await using soon = await data.context({ clock: later(DEFAULT_GRACE_MS - 60_000) });
    expect(await vacuumBucket(soon)).toMatchObject({ objects: 0 });
    await using late = await data.context({ clock: later(DEFAULT_GRACE_MS + 60_000) });
    expect(await findGarbage(late)).toHaveLength(3);
    expect(await keys("table/event_date=")).toHaveLength(4);
    expect(await vacuumBucket(late)).toMatchObject({ objects: 3, spared: 0 });
    expect(await keys("table/event_date=")).toEqual([dataFileKey(live ?? "")]);
    expect(await data.content()).toEqual(before);
    expect(await vacuumBucket(late)).toMatchObject({ objects: 0 });
  });

  test("takes names that were removed from the registry a day ago", async () => {
    await addRounds();
    for (const name of ["gone", "stays"]) {
      await context.holds.create(name, {
        ...{ reason: "case 7", hosts: [] },
        ...{ fromMs: undefined, toMs: undefined },
      });
    }
    const gone = await context.holds.get("gone");
    if (gone === undefined || !await context.holds.remove(gone)) throw new Error("not removed");
    expect(await vacuumBucket(context)).toMatchObject({ names: 0 });
    for (const key of await keys("registry/")) await age(key, 2 * DAY);
    expect(await vacuumBucket(context)).toMatchObject({ objects: 0, names: 1 });
    expect(await keys("registry/")).toEqual(["registry/holds/stays"]);
  });

  test("lets a reader of an older version finish within the grace", async () => {
    await addRounds();
    const old = await data.snapshot();
    await compactTable(context);
    for (const key of await keys("table/event_date=")) await age(key, 30 * DAY);
    await using soon = await data.context({ clock: later(GRACE_MS_MIN - 60_000) });
    await vacuumBucket(soon, { graceMs: GRACE_MS_MIN });
    const count = (of?: typeof old) => data.query("SELECT count(*) AS n FROM events", of);
    expect(await count(old)).toEqual([{ n: 30 }]);
    await using late = await data.context({ clock: later(GRACE_MS_MIN + 60_000) });
    await vacuumBucket(late, { graceMs: GRACE_MS_MIN });
    expect(await count()).toEqual([{ n: 30 }]);
    await expect(count(old)).rejects.toThrow();
  });

  test("deletes what never became part of the table, states, checkpoints and trials", async () => {
    await addRounds();
    const { shards } = await data.snapshot();
    const state = shards.get("0")?.state ?? "";
    const orphan = "table/event_date=2026-03-02/compact-lost.parquet";
    const old = stateKey("0", "ab".repeat(32));
    const others = [
      "table/event_date=2026-03-02/notes.txt",
      "table/stray.parquet",
      "evidence/0a1b2c3d/1-2-aabbccddeeff.segment",
      "quarantine/0a1b2c3d/1",
      "state/notes",
    ];
    const body = Buffer.from("x");
    for (const key of [orphan, old, "probe/x", state, ...others]) await data.store.put(key, body);
    const read = () => readLog(data.store, EMPTY_LOG, { log: quietLog });
    const whole = await read();
    await writeCheckpoint(data.store, { ...whole, version: 2 }, { nowMs: Date.now() });
    await writeCheckpoint(data.store, whole, { nowMs: Date.now() });
    for (const key of await keys()) await age(key, key === old ? 31 * DAY : 30 * DAY);
    await data.store.put("table/event_date=2026-03-02/compact-new.parquet", body);
    const before = await keys();
    const garbage = (await findGarbage(context)).map(({ key, kind }) => [kind, key]);
    expect(garbage).toEqual([
      ["checkpoint", "table/_delta_log/00000000000000000002.checkpoint.parquet"],
      ["data", orphan],
      ["state", old],
      ["probe", "probe/x"],
    ]);
    await vacuumBucket(context);
    const gone = new Set(garbage.map(([, key]) => key));
    expect(await keys()).toEqual(before.filter((key) => !gone.has(key)));
  });

  test("keeps what a hold may speak of", async () => {
    await addRounds();
    await compactTable(context);
    await using late = await data.context({ clock: later(2 * DEFAULT_GRACE_MS) });
    const held = await late.holds.create("case-7", {
      reason: "x",
      hosts: ["another"],
      fromMs: Date.parse("2026-03-02T23:00:00Z"),
      toMs: undefined,
    });
    expect(await vacuumBucket(late)).toMatchObject({ objects: 0 });
    if (held === undefined) throw new Error("no hold");
    await late.holds.remove(held);
    const summary = await vacuumBucket(late, {
      onStart: async () => void await late.holds.create("case-8", held.value),
    });
    expect(summary).toEqual({ objects: 0, bytes: 0, spared: 3, names: 0 });
    expect(await keys("table/event_date=")).toHaveLength(4);
  });

  test("spares what became part of the table, or was written anew, since it looked", async () => {
    await addRounds();
    const [first, second] = (await data.snapshot()).files.values();
    if (first === undefined || second === undefined) throw new Error("no files");
    const work = { operation: "DELETE", isDataChange: true, detail: {} } as const;
    const table = context.table;
    await table.refresh();
    await table.replace({ ...work, removed: [first, second], added: [] });
    for (const { path } of [first, second]) await age(dataFileKey(path), 60 * DAY);
    await using late = await data.context({ clock: later(2 * DEFAULT_GRACE_MS) });
    const summary = await vacuumBucket(late, {
      onStart: async () => {
        await table.replace({ ...work, removed: [], added: [first] });
        const key = dataFileKey(second.path);
        const body = await readFile(data.store.localPath(key) ?? "");
        await data.store.delete(key);
        await data.store.putIfAbsent(key, body);
      },
    });
    expect(summary).toEqual({ objects: 0, bytes: 0, spared: 2, names: 0 });
  });

  test("killed halfway and rivals end where one would", async () => {
    await addRounds();
    await compactTable(context);
    await using late = await data.context({ clock: later(2 * DEFAULT_GRACE_MS) });
    await using rival = await data.context({ clock: later(2 * DEFAULT_GRACE_MS) });
    const before = await data.content();
    await expect(vacuumBucket(late, { onStart: () => Promise.reject(new Error("killed")) }))
      .rejects.toThrow("killed");
    const [one, two] = await Promise.all([vacuumBucket(late), vacuumBucket(rival)]);
    expect(one.objects + two.objects).toBeGreaterThanOrEqual(3);
    expect(await keys("table/event_date=")).toHaveLength(1);
    expect(await data.content()).toEqual(before);
  });

  test("keeps a state for the grace after another took its place, however old it is", async () => {
    const [first, second] = ["1", "2"].map((digit) => `state/0/${digit.repeat(64)}`);
    if (first === undefined || second === undefined) throw new Error("no keys");
    for (const key of [first, second]) await data.store.put(key, Buffer.from("x"));
    await age(first, 60 * DAY);
    await age(second, 50 * DAY);
    const keysOfGarbage = async () => (await findGarbage(context)).map(({ key }) => key);
    expect(await keysOfGarbage()).toEqual([first]);
    await data.store.put(`state/0/${"3".repeat(64)}`, Buffer.from("x"));
    expect(await keysOfGarbage()).toEqual([first]);
    await age(`state/0/${"3".repeat(64)}`, DEFAULT_GRACE_MS + DAY);
    expect(await keysOfGarbage()).toEqual([first, second]);
  });

  test("deletes nothing by a clock that is far from the store's", async () => {
    await addRounds();
    await compactTable(context);
    await using late = await data.context({ clock: later(2 * DEFAULT_GRACE_MS) });
    const remote = { ...late, store: unreliable(data.store) };
    remote.store.localPath = () => undefined;
    await expect(vacuumBucket(remote)).rejects.toThrow("our clock is 12");
    expect(await keys("table/event_date=")).toHaveLength(4);
    expect(await keys("probe/")).toEqual([]);
    remote.store.head = async (key, options) => {
      const found = await data.store.head(key, options);
      const laterMs = key.startsWith("probe/") ? 2 * DEFAULT_GRACE_MS : 0;
      return found && { ...found, modifiedAtMs: found.modifiedAtMs + laterMs };
    };
    expect(await vacuumBucket(remote)).toMatchObject({ objects: 3 });
  });

  test("takes no grace that is longer than what is remembered of removed files", async () => {
    await expect(findGarbage(context, { graceMs: GRACE_MS_MAX + 1 })).rejects.toThrow(RangeError);
    expect(GRACE_MS_MAX).toBeLessThan(REMOVED_KEPT_MS);
  });

  test("needs a grace that roll-ups can count on", async () => {
    await expect(findGarbage(context, { graceMs: GRACE_MS_MIN - 1 })).rejects.toThrow(RangeError);
    expect(GRACE_MS_MIN).toBeGreaterThanOrEqual(2 * REUSE_AGE_MAX_MS);
    await using hasty = await data.context({ reuseAgeMaxMs: 5_000 });
    await expect(findGarbage(hasty, { graceMs: 9_999 })).rejects.toThrow(RangeError);
    await expect(findGarbage(hasty, { graceMs: 10_000 })).resolves.toBeDefined();
  });
});

describe("an object that is to be committed", () => {
  const put = (reuseAgeMaxMs?: number) =>
    putForCommit(data.store, {
      nameAt: (place) => `table/event_date=2026-03-02/a-${place}.parquet`,
      keyOf: (key) => key,
      write: (key) => data.store.putIfAbsent(key, Buffer.from("x")),
    }, { nowMs: Date.now(), reuseAgeMaxMs });

  test("is used again while it is young, else it gets another name", async () => {
    const first = await put();
    expect(await put()).toBe(first);
    await age(first, REUSE_AGE_MAX_MS + 60_000);
    const second = await put();
    expect(second).not.toBe(first);
    expect(await put()).toBe(second);
    expect(await keys("table/event_date=")).toEqual([first, second]);
    await age(second, 6_000);
    expect(await put(5_000)).not.toBe(second);
  });
});
