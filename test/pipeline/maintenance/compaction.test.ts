import { stat, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { compactTable, findCompactions } from "../../../src/pipeline/maintenance/compaction.ts";
import type { MaintenanceContext } from "../../../src/pipeline/maintenance/context.ts";
import { COLUMNS } from "../../../src/event/columns.ts";
import { deltaSchema } from "../../../src/storage/delta-schema.ts";
import { compactedFilePath, dataFileKey, deltaLogKey } from "../../../src/storage/layout.ts";
import { AmbiguousWriteError, type ObjectStore } from "../../../src/storage/object-store.ts";
import { BUCKET_ROWS, writeSortedFile } from "../../../src/storage/sorted-file.ts";
import { clockAt, type DataTable, openDataTable } from "../../support/data-table.ts";
import { unreliable } from "../../support/unreliable-store.ts";

let data: DataTable;
let context: MaintenanceContext;
beforeEach(async () => {
  data = await openDataTable();
  context = await data.context({ clock: clockAt("2026-03-10T00:00:00Z") });
});
afterEach(async () => {
  await context[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
});

async function addRounds(count: number, rows = 1_000): Promise<void> {
  for (let round = 0; round < count; round++) {
    const minute = String(round).padStart(2, "0");
    await data.addRound({ rows, start: `2026-03-02T10:${minute}:00Z` });
  }
}

async function objects(): Promise<number> {
  let count = 0;
  for await (const _ of data.store.list("table/event_date=")) count += 1;
  return count;
}

describe("a compaction", () => {
  test("makes one file of a day's small ones, with the same rows and their statistics", async () => {
    await addRounds(5);
    await data.addRound({ rows: 10, start: "2026-03-03T10:00:00Z" });
    const before = await data.content();
    expect(await compactTable(context)).toMatchObject({
      filesAdded: 1,
      filesRemoved: 5,
      rows: 5_000,
      conflicts: 0,
      damaged: [],
    });
    expect(await data.content()).toEqual(before);
    const { files, version } = await data.snapshot();
    expect(files.size).toBe(2);
    const [file] = [...files.values()].filter(({ path }) => path.includes("/compact-"));
    expect(file).toMatchObject({
      eventDate: "2026-03-02",
      rows: 5_000,
      minimum: { time: "2026-03-02T10:00:00.000Z", seq: 1, host: "web-1" },
      maximum: { time: "2026-03-02T10:04:00.999Z", seq: 5, host: "web-2" },
      nullCount: { time: 0, errno: 5_000 },
    });
    expect(await compactTable(context)).toMatchObject({ filesAdded: 0 });
    expect((await data.snapshot()).version).toBe(version);
  });

  test("makes files of the size that is asked for, and one of what is left", async () => {
    const sizes = { smallFileBytes: 60_000, groupBytes: 160_000, groupBytesMax: 240_000 };
    await using sized = await data.context({ clock: clockAt("2026-03-10T00:00:00Z"), sizes });
    await addRounds(24, 2_000);
    const { files: sources } = await data.snapshot();
    for (const { sizeBytes } of sources.values()) expect(sizeBytes).toBeLessThan(60_000);
    const before = await data.content();
    const { filesAdded, bytesAfter } = await compactTable(sized);
    expect(await data.content()).toEqual(before);
    const files = [...(await data.snapshot()).files.values()].toSorted((left, right) =>
      String(left.minimum["time"]) < String(right.minimum["time"]) ? -1 : 1
    );
    expect(files.length).toBeGreaterThan(2);
    expect(filesAdded).toBe(files.length);
    expect(bytesAfter).toBe(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
    for (const [place, { path, sizeBytes, minimum }] of files.entries()) {
      const local = data.store.localPath(dataFileKey(path)) ?? "";
      expect((await stat(local)).size).toBe(sizeBytes);
      expect(sizeBytes).toBeLessThanOrEqual(sizes.groupBytesMax);
      const before = files[place - 1];
      if (before === undefined) continue;
      expect(before.sizeBytes).toBeGreaterThanOrEqual(sizes.smallFileBytes);
      // Pieces of time follow each other.
      expect(String(before.maximum["time"]) <= String(minimum["time"])).toBe(true);
    }
    expect(await compactTable(sized)).toMatchObject({ filesAdded: 0 });
  });

  test("puts the rows of each host together, in the order in which they came", async () => {
    const hosts = Array.from({ length: 20 }, (_, place) => `web-${place}`);
    for (let round = 0; round < 4; round++) {
      await data.addRound({ rows: 60_000, start: `2026-03-02T1${round}:00:00Z`, hosts });
    }
    const before = await data.content();
    await compactTable(context);
    expect(await data.content()).toEqual(before);
    const [file] = (await data.snapshot()).files.values();
    const path = data.store.localPath(dataFileKey(file?.path ?? ""));
    const groups = await data.query(
      `SELECT row_group_id, min(stats_min_value) AS first, max(stats_max_value) AS last
       FROM parquet_metadata('${path}') WHERE path_in_schema = 'host' GROUP BY 1`,
    );
    const holding = groups.filter(({ first, last }) =>
      String(first) <= "web-5" && String(last) >= "web-5"
    );
    expect(groups.length).toBeGreaterThan(2);
    expect(holding.length).toBeLessThan(groups.length);
    const [order] = await data.query(
      `SELECT count(*) FILTER (time < before) AS steps_back FROM (
         SELECT time, lag(time) OVER (PARTITION BY host ORDER BY file_row_number) AS before
         FROM read_parquet('${path}', file_row_number = true))`,
    );
    expect(order).toEqual({ steps_back: 0 });
  });

  test("says beforehand what it would do, and does nothing then", async () => {
    await addRounds(3);
    const { version } = await data.snapshot();
    expect(await findCompactions(context)).toMatchObject([
      { eventDate: "2026-03-02", files: [{ rows: 1_000 }, { rows: 1_000 }, { rows: 1_000 }] },
    ]);
    expect((await data.snapshot()).version).toBe(version);
    expect(await objects()).toBe(3);
  });

  test("goes on beside roll-ups", async () => {
    await addRounds(3);
    await compactTable(context, {
      onGroup: async () => void await data.addRound({ rows: 7, start: "2026-03-09T23:00:00Z" }),
    });
    const { files } = await data.snapshot();
    expect([...files.values()].map(({ rows }) => rows).toSorted()).toEqual([3_000, 7]);
  });

  test("of two at the same time: no row is lost or doubled, and no file is left", async () => {
    await addRounds(6);
    const before = await data.content();
    await using rival = await data.context({ clock: clockAt("2026-03-10T00:00:00Z") });
    const [one, two] = await Promise.all([compactTable(context), compactTable(rival)]);
    expect(one.conflicts + two.conflicts).toBeGreaterThan(0);
    expect(one.filesAdded + two.filesAdded).toBe(1);
    expect(await data.content()).toEqual(before);
    expect((await data.snapshot()).files.size).toBe(1);
    expect(await objects()).toBe(7);
  });

  test("killed between the file and the commit is done again by the next", async () => {
    await addRounds(3);
    const before = await data.content();
    const dying: ObjectStore = {
      ...unreliable(data.store),
      putFileIfAbsent: async (key, path, options) => {
        await data.store.putFileIfAbsent(key, path, options);
        throw new Error("killed");
      },
    };
    await using killed = await data.context({
      store: dying,
      clock: clockAt("2026-03-10T00:00:00Z"),
    });
    await expect(compactTable(killed)).rejects.toThrow("killed");
    expect(await objects()).toBe(4);
    expect(await data.content()).toEqual(before);
    expect(await compactTable(context)).toMatchObject({ filesAdded: 1 });
    expect(await data.content()).toEqual(before);
    expect(await compactTable(context)).toMatchObject({ filesAdded: 0 });
  });

  test("keeps the new file when nobody can tell whether it is part of the table", async () => {
    await addRounds(3);
    let isHeld = false;
    const shaky: ObjectStore = {
      ...unreliable(data.store),
      putFileIfAbsent: (key, path, options) => data.store.putFileIfAbsent(key, path, options),
      putIfAbsent: async (key, body, options) => {
        if (!key.startsWith("table/_delta_log/") || isHeld) {
          return await data.store.putIfAbsent(key, body, options);
        }
        isHeld = true;
        await context.holds.create("late", HOLD);
        throw new AmbiguousWriteError(key, "the answer was lost", {});
      },
    };
    await using unsure = await data.context({
      store: shaky,
      clock: clockAt("2026-03-10T00:00:00Z"),
    });
    await expect(compactTable(unsure)).rejects.toThrow("Cannot tell");
    expect(await objects()).toBe(4);
  });
});

const HOLD = { reason: "case 7", hosts: ["web-1"], fromMs: undefined, toMs: undefined };

test("a sorted file with fewer columns is written anew, not joined", async () => {
  await data.addRound({
    rows: BUCKET_ROWS,
    start: "2026-03-02T10:00:00Z",
    without: ["epoch", "batch"],
  });
  await data.addRound({ rows: 10, start: "2026-03-02T11:00:00Z" });
  const files = [...(await data.snapshot()).files.values()];
  const sources = files.map((file, place) => ({
    file: place === 0 ? { ...file, path: compactedFilePath(file.eventDate, "old") } : file,
    path: data.store.localPath(dataFileKey(file.path)) ?? "",
  }));
  await using folder = await context.scratch.openFolder();
  const written = await writeSortedFile(await context.database(), {
    sources,
    where: undefined,
    folder: folder.path,
    id: "new",
    threads: 2,
  });
  expect(written?.file).toMatchObject({ rows: BUCKET_ROWS + 10 });
});

test("files that cannot be compacted do not keep those of other days from it", async () => {
  for (const day of ["2026-03-01", "2026-03-02"]) {
    for (const hour of ["10", "11"]) {
      await data.addRound({ rows: 10, start: `${day}T${hour}:00:00Z` });
    }
  }
  const shaky = unreliable(data.store);
  shaky.putFileIfAbsent = async (key, path, options) => {
    if (key.includes("event_date=2026-03-01")) throw new Error("Cannot write: as asked");
    return await data.store.putFileIfAbsent(key, path, options);
  };
  await using unsure = await data.context({
    store: shaky,
    clock: clockAt("2026-03-10T00:00:00Z"),
  });
  await expect(compactTable(unsure)).rejects.toThrow("as asked");
  const days = [...(await data.snapshot()).files.values()].map(({ eventDate }) => eventDate);
  expect(days.toSorted()).toEqual(["2026-03-01", "2026-03-01", "2026-03-02"]);
});

describe("a hold", () => {
  test("keeps files from being compacted", async () => {
    await addRounds(3);
    await context.holds.create("case-7", HOLD);
    expect(await compactTable(context)).toMatchObject({ filesAdded: 0 });
    expect((await data.snapshot()).files.size).toBe(3);
  });

  test("that comes while files are compacted is respected", async () => {
    await addRounds(3);
    const { version } = await data.snapshot();
    const summary = await compactTable(context, {
      onGroup: async () => void await context.holds.create("case-7", HOLD),
    });
    expect(summary).toMatchObject({ filesAdded: 0, conflicts: 1 });
    expect((await data.snapshot()).version).toBe(version);
    expect(await objects()).toBe(3);
  });
});

describe("a damaged file", () => {
  test.each(["other content", "shorter", "missing"])("of %s is never laundered", async (damage) => {
    await addRounds(4);
    const [file] = (await data.snapshot()).files.values();
    const key = dataFileKey(file?.path ?? "");
    const path = data.store.localPath(key) ?? "";
    if (damage === "missing") await data.store.delete(key);
    else {
      const found = await data.store.get(key);
      const body = Buffer.from(found?.body ?? []);
      const middle = body.readUInt8(body.length >> 1);
      body.writeUInt8(middle ^ 1, body.length >> 1);
      await writeFile(path, damage === "shorter" ? body.subarray(1) : body);
    }
    expect(await compactTable(context)).toMatchObject({
      filesAdded: 1,
      filesRemoved: 3,
      damaged: [file?.path],
    });
    expect((await data.snapshot()).files.has(file?.path ?? "")).toBe(true);
  });
});

describe("a table of an older version of the software", () => {
  test("gains the new columns with the next change, and its rows have nulls there", async () => {
    const start = "2026-03-02T10:00:00Z";
    const columns = { epoch: "'e'", batch: "7" };
    await data.addRound({ rows: 20, start, columns, without: ["epoch", "batch"] });
    const entry = Buffer.from((await data.store.get(deltaLogKey(0)))?.body ?? []).toString();
    const metadata = JSON.parse(entry.split("\n").find((line) => line.includes("metaData")) ?? "");
    metadata.metaData.schemaString = deltaSchema(COLUMNS.slice(0, -3));
    await data.store.put(deltaLogKey(2), Buffer.from(`${JSON.stringify(metadata)}\n`));
    await data.addRound({ rows: 30, start: "2026-03-02T11:00:00Z", columns });
    const added = Buffer.from((await data.store.get(deltaLogKey(3)))?.body ?? []).toString();
    expect(added).toContain(JSON.stringify(deltaSchema()));
    const counts = () => data.query("SELECT count(*) AS n, count(batch) AS filled FROM events");
    expect(await counts()).toEqual([{ n: 50, filled: 30 }]);
    const before = await data.content();
    expect(await compactTable(context)).toMatchObject({ filesAdded: 1, rows: 50 });
    expect(await counts()).toEqual([{ n: 50, filled: 30 }]);
    expect(await data.content()).toEqual(before);
  });
});
