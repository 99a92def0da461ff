import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { deltaSchema } from "../../src/storage/delta-schema.ts";
import { AmbiguousWriteError, type ObjectStore } from "../../src/storage/object-store.ts";
import type { DataFile, Replacement } from "../../src/storage/table.ts";
import { dataFile, shardWork } from "../support/shard-work.ts";
import { openTableFolder, type TableFolder } from "../support/table-folder.ts";
import { unreliable } from "../support/unreliable-store.ts";

let folder: TableFolder;
beforeEach(async () => {
  folder = await openTableFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

const compacted = (id: string): DataFile =>
  dataFile(`event_date=2026-01-02/compact-${id}.parquet`, 20);

async function workOf(id: string, more: Partial<Replacement> = {}): Promise<Replacement> {
  const { files } = await folder.open().refresh();
  return {
    operation: "OPTIMIZE",
    isDataChange: false,
    removed: [...files.values()].slice(0, 2),
    added: [compacted(id)],
    detail: { rows: 20 },
    ...more,
  };
}

const paths = async (): Promise<string[]> =>
  [...(await folder.open().refresh()).files.keys()].map((path) => path.split("/")[1] ?? "");

describe("replacing files", () => {
  test("is one version that no shard's position depends on", async () => {
    await folder.commitRounds(3);
    const before = (await folder.open().refresh()).shards;
    const table = folder.open();
    expect(await table.replace(await workOf("a"))).toEqual({ kind: "committed", version: 4 });
    expect(await paths()).toEqual(["0-21-30.parquet", "compact-a.parquet"]);
    const after = await folder.open().refresh();
    expect(after.shards).toEqual(before);
    const [info, ...actions] = await folder.entryOf(4);
    expect(info).toMatchObject({
      commitInfo: { operation: "OPTIMIZE", probity: { maintenance: { rows: 20 } } },
    });
    expect(actions).toMatchObject([
      { remove: { dataChange: false, extendedFileMetadata: true, size: 1234 } },
      { remove: { partitionValues: { event_date: "2026-01-02" } } },
      { add: { dataChange: false, tags: { sha256: "ab".repeat(32) } } },
    ]);
    await table.refresh();
    expect([...table.removed().values()]).toMatchObject([
      { isDataChange: false },
      { isDataChange: false },
    ]);
    expect(await folder.open().commit(shardWork({ startedFrom: 3, first: 31, last: 40 })))
      .toEqual({ kind: "committed", version: 5 });
  });

  test("goes on after roll-ups that came between", async () => {
    await folder.commitRounds(3);
    const work = await workOf("a");
    const table = folder.open();
    await table.refresh();
    await folder.open().commit(shardWork({ startedFrom: 3, first: 31, last: 40 }));
    await folder.open().commit(
      shardWork({ shard: "b", startedFrom: undefined, first: 1, last: 4 }),
    );
    expect(await table.replace(work)).toEqual({ kind: "committed", version: 6 });
    expect(await paths()).toHaveLength(4);
  });

  test("happens once when two do it, and when one does it twice", async () => {
    await folder.commitRounds(3);
    const works = [await workOf("a"), await workOf("b")];
    const results = await Promise.all(works.map((work) => folder.open().replace(work)));
    expect(results.map(({ kind }) => kind).toSorted()).toEqual(["committed", "superseded"]);
    expect(await paths()).toHaveLength(2);
    for (const work of works) {
      expect(await folder.open().replace(work)).toEqual({ kind: "superseded" });
    }
  });

  test("changes nothing when it is not confirmed", async () => {
    await folder.commitRounds(3);
    const work = await workOf("a", { confirm: () => Promise.resolve(false) });
    expect(await folder.open().replace(work)).toEqual({ kind: "superseded" });
    expect((await folder.open().refresh()).version).toBe(3);
  });

  test.each([true, false])("finds out when the answer was lost: written %s", async (isWritten) => {
    await folder.commitRounds(3);
    let lost = 0;
    const shaky: ObjectStore = {
      ...unreliable(folder.store),
      putIfAbsent: async (key, body, options) => {
        if (++lost > 1) return await folder.store.putIfAbsent(key, body, options);
        if (isWritten) await folder.store.putIfAbsent(key, body, options);
        throw new AmbiguousWriteError(key, "the answer was lost", {});
      },
    };
    expect(await folder.open(shaky).replace(await workOf("a")))
      .toEqual({ kind: "committed", version: 4 });
    expect(await paths()).toEqual(["0-21-30.parquet", "compact-a.parquet"]);
    expect((await folder.open().refresh()).version).toBe(4);
  });

  test("finds out later when reading back fails as well", async () => {
    await folder.commitRounds(3);
    let puts = 0;
    let isAway = false;
    const shaky: ObjectStore = {
      ...unreliable(folder.store),
      putIfAbsent: async (key, body, options) => {
        if (++puts > 1) return await folder.store.putIfAbsent(key, body, options);
        isAway = true;
        throw new AmbiguousWriteError(key, "the answer was lost", {
          cause: await folder.store.putIfAbsent(key, body, options),
        });
      },
      get: (key, options) => {
        // Read back too early: what was written shows later.
        if (isAway) {
          isAway = false;
          return Promise.resolve(undefined);
        }
        return folder.store.get(key, options);
      },
    };
    expect(await folder.open(shaky).replace(await workOf("a")))
      .toEqual({ kind: "committed", version: 4 });
    expect((await folder.open().refresh()).version).toBe(4);
  });

  test("adds columns that are new, and knows when the table has further ones", async () => {
    await folder.commitRounds(3);
    const fields = JSON.parse(deltaSchema()).fields;
    const [, metaData] = (await folder.entryOf(0)).slice(1);
    const body = metaData?.["metaData"];
    if (typeof body !== "object") throw new Error("no metadata");
    const withFields = (more: readonly unknown[]) => ({
      metaData: { ...body, schemaString: JSON.stringify({ type: "struct", fields: more }) },
    });
    await folder.forge(4, [withFields(fields.slice(0, -1))]);
    const table = folder.open();
    expect(await table.replace(await workOf("a"))).toEqual({ kind: "committed", version: 5 });
    const [, added] = await folder.entryOf(5);
    expect(JSON.stringify(added)).toContain(COLUMNS.at(-1)?.name);
    expect(table.knowsAllColumns()).toBe(true);
    const later = { name: "later", type: "string", nullable: true, metadata: {} };
    await folder.forge(6, [withFields([...fields, later])]);
    await table.refresh();
    expect(table.knowsAllColumns()).toBe(false);
  });
});
