import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { Table } from "../../src/storage/table.ts";
import { shardWork } from "../support/shard-work.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const log = createLog({ level: "error" });
let folder: TemporaryFolder;
let store: ObjectStore;

beforeEach(async () => {
  folder = await openTemporaryFolder("delta-table");
  store = await openDirectoryStore({ directory: folder.path });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

function open(over: ObjectStore = store): Table {
  return openTable({ store: over, clock: systemClock, log });
}

describe("commit", () => {
  test("makes the table at its first call and then one version per round", async () => {
    const table = open();
    expect((await table.refresh()).version).toBe(-1);
    const first = shardWork({ startedFrom: undefined, first: 1, last: 5 });
    expect(await table.commit(first)).toEqual({ kind: "committed", version: 1 });
    const second = shardWork({ startedFrom: 1, first: 6, last: 9 });
    expect(await table.commit(second)).toEqual({ kind: "committed", version: 2 });

    const snapshot = await open().refresh();
    expect(snapshot.version).toBe(2);
    expect(snapshot.shards.get("0")).toEqual({ shard: "0", version: 2, ...second.position });
    expect([...snapshot.files.values()]).toEqual([...first.files, ...second.files]);
  });

  test("refuses work that did not start from the shard's last version", async () => {
    const table = open();
    await table.commit(shardWork({ startedFrom: undefined, first: 1, last: 5 }));
    const stale = shardWork({ startedFrom: undefined, first: 1, last: 7 });
    expect(await open().commit(stale)).toEqual({ kind: "superseded" });
    expect((await table.refresh()).version).toBe(1);
  });
});
