import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { deltaSchema } from "../../src/storage/delta-schema.ts";
import { deltaLogKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { shardWork } from "../support/shard-work.ts";
import { openTableFolder, type TableFolder } from "../support/table-folder.ts";
import { unreliable } from "../support/unreliable-store.ts";

const FIRST = { startedFrom: undefined, first: 1, last: 5 };

let folder: TableFolder;
beforeEach(async () => {
  folder = await openTableFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

describe("refresh", () => {
  test("reads only what is new", async () => {
    const reads: string[] = [];
    const counted: ObjectStore = {
      ...unreliable(folder.store),
      get: (key, options) => {
        reads.push(key);
        return folder.store.get(key, options);
      },
      list: () => {
        throw new Error("listed");
      },
    };
    await folder.commitRounds(40);
    await expect(folder.open(counted).refresh()).rejects.toThrow("listed");
    const table = folder.open({
      ...counted,
      list: (prefix, options) => folder.store.list(prefix, options),
    });
    expect((await table.refresh()).version).toBe(40);
    reads.length = 0;
    expect((await table.refresh()).version).toBe(40);
    expect(reads).toEqual([deltaLogKey(41)]);
  });

  test("gives the same snapshot while nothing is new, and never changes one it gave", async () => {
    await folder.commitRounds(3);
    const table = folder.open();
    const before = await table.refresh();
    expect(await table.refresh()).toBe(before);
    expect(table.current()).toBe(before);
    await folder.open().commit(shardWork({ startedFrom: 3, first: 31, last: 40 }));
    expect(before.files.size).toBe(3);
    expect((await table.refresh()).files.size).toBe(4);
    expect(before).toMatchObject({ version: 3 });
    expect(before.files.size).toBe(3);
  });

  test("refuses a log with a hole, wherever it is", async () => {
    await folder.commitRounds(45);
    for (const hole of [20, 0, 44]) {
      const key = deltaLogKey(hole);
      const kept = await folder.store.get(key);
      await folder.store.delete(key);
      await expect(folder.open().refresh()).rejects.toThrow(
        new RegExp(
          `^Cannot read table in file:.*: version ${hole} is missing, ${hole + 1} is there`,
        ),
      );
      await expect(folder.open().commit(shardWork(FIRST))).rejects.toThrow("is missing");
      await folder.store.put(key, kept?.body ?? new Uint8Array());
    }
    expect((await folder.open().refresh()).version).toBe(45);
  });

  test("ignores what a reader may ignore", async () => {
    await folder.commitRounds(1);
    await folder.forge(
      2,
      [
        { commitInfo: { operation: "OPTIMIZE", userMetadata: "x", probity: { note: 1 } } },
        { domainMetadata: { domain: "x", configuration: "", removed: false } },
        { cdc: { path: "x", partitionValues: {}, size: 1, dataChange: false } },
        { txn: { appId: "other", version: 12 } },
        { remove: { path: "event_date=2026-01-02/0-1-10.parquet", dataChange: false } },
        {
          add: {
            path: "event_date=2026-01-02/a%20%25.parquet",
            partitionValues: { event_date: "2026-01-02" },
            size: 5,
            modificationTime: 1,
            dataChange: false,
            stats: '{"numRecords":3,"minValues":{"seq":9007199254740993,"time":"never","x":1}}',
          },
        },
      ],
    );
    await expect(folder.open().refresh()).rejects.toThrow("is not inside the table");
    await folder.store.delete(deltaLogKey(2));
    await folder.forge(
      2,
      [
        { commitInfo: { operation: "OPTIMIZE", probity: { note: 1 } } },
        { sidecar: { path: "x" } },
        { txn: { appId: "other", version: 12 } },
        { remove: { path: "event_date=2026-01-02/0-1-10.parquet", dataChange: false } },
        {
          add: {
            path: "event_date=2026-01-02/a%25.parquet",
            partitionValues: { event_date: "2026-01-02" },
            size: 5,
            modificationTime: 1,
            dataChange: false,
            stats: '{"numRecords":3,"minValues":{"seq":9007199254740993,"time":"never","x":1}}',
          },
        },
      ],
    );
    const snapshot = await folder.open().refresh();
    expect([...snapshot.files.values()]).toEqual([{
      path: "event_date=2026-01-02/a%.parquet",
      sizeBytes: 5,
      rows: 3,
      eventDate: "2026-01-02",
      minimum: {},
      maximum: {},
      nullCount: {},
      sha256: "",
    }]);
    expect(snapshot.shards.get("0")?.sequence).toBe(10);
  });

  const path = "event_date=2026-01-02/x.parquet";
  const add = {
    path,
    partitionValues: { event_date: "2026-01-02" },
    size: 5,
    modificationTime: 1,
    dataChange: true,
    stats: '{"numRecords":3}',
  };
  const faulty: readonly [string, readonly unknown[], string][] = [
    ["no JSON", ["{"], "line 1"],
    ["a line with two actions", [{ add, remove: { path } }], "expected one action, not 2"],
    ["an action that is no object", [{ add: 5 }], "add is no object"],
    ["a file without its day", [{ add: { ...add, partitionValues: {} } }], "has no event_date"],
    ["a file without statistics", [{ add: { ...add, stats: undefined } }], "add.stats is no text"],
    ["a file without a row count", [{ add: { ...add, stats: "{}" } }], "no row count"],
    ["a size that is no number", [{ add: { ...add, size: "5" } }], "add.size is no number"],
    ["a path outside", [{ add: { ...add, path: "../x.parquet" } }], "is not inside the table"],
    ["a path of its own", [{ add: { ...add, path: "s3://b/x" } }], "is not inside the table"],
    ["a path that is no URI", [{ add: { ...add, path: "a%zz" } }], "is no URI"],
    [
      "a deletion vector",
      [{ add: { ...add, deletionVector: { storageType: "u" } } }],
      "has a deletion vector",
    ],
    ["one file twice", [{ add }, { remove: { path } }], `it names "${path}" twice`],
    ["a shard without position", [{ txn: { appId: "shard:0", version: 2 } }], "has no position"],
    ["a shard's wrong version", [{ txn: { appId: "shard:0", version: 1 } }], "names version 1"],
    [
      "a reader we are not",
      [{ protocol: { minReaderVersion: 2, minWriterVersion: 5 } }],
      "the table needs reader version 2, which is not known here",
    ],
    [
      "features we lack",
      [{
        protocol: { minReaderVersion: 3, minWriterVersion: 7, readerFeatures: ["deletionVectors"] },
      }],
      "the table needs reader version 3 with deletionVectors",
    ],
    [
      "other partitions",
      [{
        metaData: {
          id: "x",
          format: { provider: "parquet" },
          schemaString: "",
          partitionColumns: [],
        },
      }],
      "not partitioned by event_date",
    ],
  ];
  for (const [name, actions, reason] of faulty) {
    test(`refuses a version with ${name}, naming it`, async () => {
      await folder.commitRounds(1);
      const text = actions.map((each) => typeof each === "string" ? each : JSON.stringify(each));
      await folder.store.put(deltaLogKey(2), Buffer.from(text.join("\n")));
      const refresh = folder.open().refresh();
      await expect(refresh).rejects.toThrow(reason);
      await expect(refresh).rejects.toThrow(/^Cannot read version 2 of the table in file:/);
    });
  }

  test("refuses a table that does not begin with protocol and metaData", async () => {
    await folder.forge(0, [{ commitInfo: {} }]);
    await expect(folder.open().refresh()).rejects.toThrow("no protocol or metaData");
  });

  test("reads a table with features that it knows, and does not write where it must not", async () => {
    await folder.commitRounds(1);
    await folder.forge(2, [{
      protocol: {
        minReaderVersion: 3,
        minWriterVersion: 7,
        readerFeatures: [],
        writerFeatures: ["appendOnly", "invariants"],
      },
    }]);
    const table = folder.open();
    expect((await table.commit(shardWork({ startedFrom: 1, first: 11, last: 20 }))).kind).toBe(
      "committed",
    );
    await folder.forge(4, [{ protocol: { minReaderVersion: 1, minWriterVersion: 4 } }]);
    expect((await table.refresh()).version).toBe(4);
    await expect(table.commit(shardWork({ startedFrom: 3, first: 21, last: 30 }))).rejects.toThrow(
      "needs writer version 4",
    );
  });
});

describe("the table's columns", () => {
  const rewritten = async (schemaString: string): Promise<void> => {
    await folder.commitRounds(1);
    const metadata = (await folder.entryOf(0))[2]?.["metaData"];
    const found: object = typeof metadata === "object" && metadata !== null ? metadata : {};
    await folder.forge(2, [{
      metaData: { ...found, configuration: { kept: "yes" }, schemaString },
    }]);
  };

  test("grow by a commit of a software that knows more, which keeps the rest", async () => {
    await rewritten(deltaSchema(COLUMNS.slice(0, -3)));
    const table = folder.open();
    await table.commit(shardWork({ startedFrom: 1, first: 11, last: 20 }));
    const grown = (await folder.entryOf(3))[1];
    expect(grown).toHaveProperty("metaData.schemaString", deltaSchema());
    expect(grown).toHaveProperty("metaData.configuration", { kept: "yes" });
    await table.commit(shardWork({ startedFrom: 3, first: 21, last: 30 }));
    expect((await folder.entryOf(4)).map((action) => Object.keys(action)[0])).toEqual([
      "commitInfo",
      "txn",
      "add",
    ]);
  });

  test("stay when the table knows more", async () => {
    const more = { name: "later", type: "string", origin: "line", text: "" } as const;
    await rewritten(deltaSchema([...COLUMNS, more]));
    await folder.open().commit(shardWork({ startedFrom: 1, first: 11, last: 20 }));
    expect(await folder.entryOf(3)).toHaveLength(3);
  });

  test("of another table are not written to", async () => {
    await rewritten(deltaSchema(COLUMNS.slice(1)));
    await expect(folder.open().commit(shardWork({ startedFrom: 1, first: 11, last: 20 }))).rejects
      .toThrow(
        "its columns are not those of an event",
      );
  });
});
