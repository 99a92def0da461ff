import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deltaSchema } from "../../src/storage/delta-schema.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { ShardPosition } from "../../src/storage/table.ts";
import { keysOf } from "../support/object-store-conformance.ts";
import { dataFile, shardWork } from "../support/shard-work.ts";
import { openTableFolder, type TableFolder } from "../support/table-folder.ts";
import { type PutFault, unreliable } from "../support/unreliable-store.ts";

const FIRST = { startedFrom: undefined, first: 1, last: 5 };

let folder: TableFolder;
beforeEach(async () => {
  folder = await openTableFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

describe("a commit", () => {
  test("makes the table at its first call and then one version per round", async () => {
    const table = folder.open();
    expect((await table.refresh()).version).toBe(-1);
    const first = shardWork(FIRST);
    expect(await table.commit(first)).toEqual({ kind: "committed", version: 1 });
    const second = shardWork({ startedFrom: 1, first: 6, last: 9 });
    expect(await table.commit(second)).toEqual({ kind: "committed", version: 2 });

    const snapshot = await folder.open().refresh();
    expect(snapshot.version).toBe(2);
    expect(snapshot.shards.get("0")).toEqual({ shard: "0", version: 2, ...second.position });
    expect([...snapshot.files.values()]).toEqual([...first.files, ...second.files]);
  });

  test("says what the Delta protocol asks for, version 0 first", async () => {
    const work = shardWork(FIRST);
    await folder.open().commit(work);
    const [made, protocol, metadata] = await folder.entryOf(0);
    expect(made).toHaveProperty("commitInfo.operation", "CREATE TABLE");
    expect(protocol).toEqual({ protocol: { minReaderVersion: 1, minWriterVersion: 2 } });
    expect(metadata).toMatchObject({
      metaData: {
        id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4/),
        format: { provider: "parquet", options: {} },
        schemaString: deltaSchema(),
        partitionColumns: ["event_date"],
      },
    });

    const [info, transaction, add, ...rest] = await folder.entryOf(1);
    expect(rest).toEqual([]);
    expect(info).toMatchObject({
      commitInfo: {
        txnId: expect.stringMatching(/^[0-9a-f]{32}$/),
        isBlindAppend: true,
        probity: {
          shard: "0",
          startedFrom: null,
          ...work.position,
          firstSequence: 1,
          evidence: work.evidence,
          counts: work.counts,
        },
      },
    });
    expect(transaction).toEqual({
      txn: { appId: "shard:0", version: 1, lastUpdated: expect.any(Number) },
    });
    const stats = {
      numRecords: 10,
      minValues: { time: "2026-01-02T00:00:00.000Z", seq: 1, host: "web-1" },
      maxValues: { time: "2026-01-02T00:00:01.000Z", seq: 9, host: "web-2" },
      nullCount: { time: 0, seq: 0, host: 3 },
    };
    expect(add).toEqual({
      add: {
        path: "event_date=2026-01-02/0-1-5.parquet",
        partitionValues: { event_date: "2026-01-02" },
        size: 1234,
        modificationTime: expect.any(Number),
        dataChange: true,
        stats: JSON.stringify(stats),
        tags: {
          incarnation: "0a1b2c3d",
          first_seq: "1",
          last_seq: "5",
          sha256: "ab".repeat(32),
        },
      },
    });
  });

  test("without files still moves the shard", async () => {
    const table = folder.open();
    const work = shardWork({ ...FIRST, files: [] });
    expect(await table.commit(work)).toEqual({ kind: "committed", version: 1 });
    expect((await table.refresh()).files.size).toBe(0);
    expect((await table.refresh()).shards.get("0")?.sequence).toBe(5);
  });

  test("refuses work that did not start from the shard's last version", async () => {
    const table = folder.open();
    await table.commit(shardWork(FIRST));
    const stale = shardWork({ startedFrom: undefined, first: 1, last: 7 });
    expect(await folder.open().commit(stale)).toEqual({ kind: "superseded" });
    const zombie = shardWork({ startedFrom: 7, first: 8, last: 9 });
    expect(await table.commit(zombie)).toEqual({ kind: "superseded" });
    expect((await table.refresh()).version).toBe(1);
  });

  test("refuses work that stood still until a vacuum may have taken what it names", async () => {
    const table = folder.open();
    const notAfterMs = Date.now() - 1;
    await expect(table.commit(shardWork({ ...FIRST, notAfterMs }))).rejects.toThrow(
      "what the work names may be vacuumed",
    );
    expect((await table.refresh()).shards.size).toBe(0);
    const work = shardWork({ ...FIRST, notAfterMs: notAfterMs + 60_000 });
    expect(await table.commit(work)).toMatchObject({ kind: "committed" });
    // What is committed already is found, however old.
    expect(await folder.open().commit({ ...work, notAfterMs })).toMatchObject({
      kind: "committed",
    });
  });

  test("goes to the next version when another shard took the one before", async () => {
    const one = folder.open();
    const two = folder.open();
    await one.commit(shardWork({ ...FIRST, shard: "a" }));
    await two.commit(shardWork({ ...FIRST, shard: "b" }));
    const slow = unreliable(folder.store);
    slow.beforePut = async () => {
      slow.beforePut = () => Promise.resolve();
      await two.commit(shardWork({ shard: "b", startedFrom: 2, first: 6, last: 7 }));
    };
    expect(
      await folder.open(slow).commit(shardWork({ shard: "a", startedFrom: 1, first: 6, last: 9 })),
    )
      .toEqual({ kind: "committed", version: 4 });
    const snapshot = await one.refresh();
    expect(snapshot.shards.get("a")).toMatchObject({ version: 4, sequence: 9 });
    expect(snapshot.shards.get("b")).toMatchObject({ version: 3, sequence: 7 });
    expect((await folder.entryOf(4))[1]).toHaveProperty("txn.version", 4);
  });

  test("is superseded when its own shard moves while it is being written", async () => {
    await folder.open().commit(shardWork(FIRST));
    const slow = unreliable(folder.store);
    slow.beforePut = async () => {
      slow.beforePut = () => Promise.resolve();
      await folder.open().commit(shardWork({ startedFrom: 1, first: 6, last: 7 }));
    };
    const late = shardWork({ startedFrom: 1, first: 6, last: 9 });
    expect(await folder.open(slow).commit(late)).toEqual({ kind: "superseded" });
    expect((await folder.open().refresh()).files.size).toBe(2);
  });

  test("given again is found, not repeated", async () => {
    const work = shardWork(FIRST);
    expect(await folder.open().commit(work)).toEqual({ kind: "committed", version: 1 });
    expect(await folder.open().commit(work)).toEqual({ kind: "committed", version: 1 });
    expect(await folder.open().commit(structuredClone(work))).toEqual({
      kind: "committed",
      version: 1,
    });
    expect((await folder.open().refresh()).version).toBe(1);
  });

  test("of sequences that are committed throws, whatever version it names", async () => {
    const table = folder.open();
    await table.commit(shardWork(FIRST));
    for (const [first, last] of [[5, 9], [1, 5], [6, 4]] as const) {
      await expect(table.commit(shardWork({ startedFrom: 1, first, last }))).rejects.toThrow(
        `Cannot commit sequences ${first} to ${last} of shard "0": 5 is committed`,
      );
    }
    const anew = shardWork({ startedFrom: 1, first: 1, last: 3, incarnation: "ffffffff" });
    expect(await table.commit(anew)).toEqual({ kind: "committed", version: 2 });
  });

  test("of a shard whose name cannot be one is refused", async () => {
    const work = shardWork({ ...FIRST, shard: "A/.." });
    await expect(folder.open().commit(work)).rejects.toThrow(RangeError);
    expect(await keysOf(folder.store.list(""))).toEqual([]);
  });

  test("ends with its signal's reason and leaves nothing", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(folder.open().commit(shardWork(FIRST), signal)).rejects.toThrow("enough");
    expect(await keysOf(folder.store.list(""))).toEqual([]);
  });
});

describe("a commit whose answer is lost", () => {
  const cases: readonly (readonly (PutFault | undefined)[])[] = [
    ["lost before"],
    ["lost after"],
    ["lost before", "lost before", "lost after"],
    [undefined, "lost before"],
    [undefined, "lost after"],
    ["lost after", "lost after"],
    ["lost before", "lost after", "lost before", "lost before"],
  ];
  for (const faults of cases) {
    test(`is made once: ${faults.map((fault) => fault ?? "fine").join(", ")}`, async () => {
      const shaky = unreliable(folder.store);
      shaky.faults.push(...faults);
      expect(await folder.open(shaky).commit(shardWork(FIRST))).toEqual({
        kind: "committed",
        version: 1,
      });
      const snapshot = await folder.open().refresh();
      expect(snapshot.version).toBe(1);
      expect(snapshot.files.size).toBe(1);
    });
  }

  test("time after time ends with an error, and the next call finds the truth", async () => {
    const shaky = unreliable(folder.store);
    await folder.open().commit(shardWork(FIRST));
    shaky.faults.push(...Array.from({ length: 20 }, () => "lost before" as const));
    const work = shardWork({ startedFrom: 1, first: 6, last: 9 });
    await expect(folder.open(shaky).commit(work)).rejects.toThrow(
      /Cannot commit to the table in file:/,
    );
    expect(shaky.faults.length).toBeGreaterThan(10);
    expect(await folder.open().commit(work)).toEqual({ kind: "committed", version: 2 });
  });

  test("and is taken by another shard after all goes on behind it", async () => {
    await folder.open().commit(shardWork(FIRST));
    const shaky = unreliable(folder.store);
    shaky.faults.push("lost before");
    shaky.beforePut = async () => {
      shaky.beforePut = () => Promise.resolve();
      await folder.open().commit(shardWork({ ...FIRST, shard: "b" }));
    };
    const work = shardWork({ startedFrom: 1, first: 6, last: 9 });
    expect(await folder.open(shaky).commit(work)).toEqual({ kind: "committed", version: 3 });
  });

  test("is found by the next call when reading back failed too", async () => {
    await folder.open().commit(shardWork(FIRST));
    const shaky = unreliable(folder.store);
    shaky.faults.push("lost after");
    let reads = 0;
    const get = shaky.get;
    const broken: ObjectStore = {
      ...shaky,
      get: (key, options) => {
        reads += 1;
        return reads > 3 ? Promise.reject(new Error("away")) : get(key, options);
      },
    };
    const work = shardWork({ startedFrom: 1, first: 6, last: 9 });
    await expect(folder.open(broken).commit(work)).rejects.toThrow("away");
    expect(await folder.open().commit(work)).toEqual({ kind: "committed", version: 2 });
  });

  test("is committed though the shard has moved on from it since", async () => {
    await folder.open().commit(shardWork(FIRST));
    const shaky = unreliable(folder.store);
    shaky.faults.push("lost after");
    const overtaken: ObjectStore = {
      ...shaky,
      putIfAbsent: async (key, body, options) => {
        try {
          return await shaky.putIfAbsent(key, body, options);
        } finally {
          await folder.open().commit(shardWork({ startedFrom: 2, first: 10, last: 12 }));
        }
      },
    };
    const work = shardWork({ startedFrom: 1, first: 6, last: 9 });
    expect(await folder.open(overtaken).commit(work)).toEqual({ kind: "committed", version: 2 });
    expect((await folder.open().refresh()).shards.get("0")).toMatchObject({ version: 3 });
  });

  test("for sure is an error at once", async () => {
    const shaky = unreliable(folder.store);
    shaky.faults.push("failed");
    await expect(folder.open(shaky).commit(shardWork(FIRST))).rejects.toThrow("as asked");
    expect((await folder.open().refresh()).version).toBe(-1);
  });
});

describe("committers that race", () => {
  test("on one shard lose nothing, double nothing and leave no hole", async () => {
    await race({ shards: ["0"], committersPerShard: 5, rounds: 8 });
  });

  test("on three shards all go on", async () => {
    await race({ shards: ["a", "b", "c"], committersPerShard: 2, rounds: 8 });
  });

  async function race(
    options: {
      readonly shards: readonly string[];
      readonly committersPerShard: number;
      readonly rounds: number;
    },
  ): Promise<void> {
    const { shards, committersPerShard, rounds } = options;
    const committed: ShardPosition[] = [];
    let superseded = 0;
    const committer = async (shard: string, name: number): Promise<void> => {
      const table = folder.open();
      for (let round = 0; round < rounds; round++) {
        const at = (await table.refresh()).shards.get(shard);
        const first = (at?.sequence ?? 0) + 1;
        const last = first + name;
        const path = `event_date=2026-01-02/${shard}-${name}-${first}-${last}.parquet`;
        const files = [dataFile(path)];
        const work = shardWork({ shard, startedFrom: at?.version, first, last, files });
        const result = await table.commit(work);
        if (result.kind === "superseded") superseded += 1;
        else committed.push({ shard, version: result.version, ...work.position });
      }
    };
    await Promise.all(
      shards.flatMap((shard) =>
        Array.from({ length: committersPerShard }, (_, name) => committer(shard, name))
      ),
    );
    expect(committed.length + superseded).toBe(shards.length * committersPerShard * rounds);
    const snapshot = await folder.open().refresh();
    expect(snapshot.version).toBe(committed.length);
    expect(snapshot.files.size).toBe(committed.length);
    expect(committed.map(({ version }) => version).toSorted((left, right) => left - right)).toEqual(
      committed.map((_, at) => at + 1),
    );
    for (const shard of shards) {
      let sequence = 0;
      const own = committed.filter((each) => each.shard === shard)
        .toSorted((left, right) => left.version - right.version);
      for (const { version } of own) {
        const [info] = await folder.entryOf(version);
        expect(info).toHaveProperty("commitInfo.probity.firstSequence", sequence + 1);
        sequence = own.find((each) => each.version === version)?.sequence ?? -1;
      }
      expect(snapshot.shards.get(shard)).toEqual(own.at(-1));
    }
  }
});
