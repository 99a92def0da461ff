import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createLog } from "../../src/runtime/log.ts";
import {
  CHECKPOINT_VERSIONS_MAX,
  CHECKPOINT_VERSIONS_MIN,
  checkpointDistance,
  REMOVED_KEPT_MS,
  writeCheckpoint,
} from "../../src/storage/delta-checkpoint-write.ts";
import { readLog } from "../../src/storage/delta-log.ts";
import { EMPTY_LOG, type LogState } from "../../src/storage/delta-replay.ts";
import {
  checkpointKey,
  checksumKey,
  deltaLogKey,
  LAST_CHECKPOINT_KEY,
} from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { shardWork } from "../support/shard-work.ts";
import { openTableFolder, type TableFolder } from "../support/table-folder.ts";

let folder: TableFolder;
let warnings: string[];
beforeEach(async () => {
  warnings = [];
  folder = await openTableFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

const log = createLog({ level: "warn", write: (line) => void warnings.push(line) });

function read(): Promise<LogState> {
  return readLog(folder.store, EMPTY_LOG, { log });
}

async function forget(to: number): Promise<void> {
  for (let version = 0; version < to; version++) await folder.store.delete(deltaLogKey(version));
}

async function pointer(): Promise<unknown> {
  const found = await folder.store.get(LAST_CHECKPOINT_KEY);
  return found && JSON.parse(Buffer.from(found.body).toString());
}

describe("a checkpoint", () => {
  test("holds all that the log says: files, removed files, applications, metadata", async () => {
    await folder.commitRounds(12);
    const table = folder.open();
    const { files } = await table.refresh();
    const [first, second] = [...files.values()];
    await table.replace({
      operation: "DELETE",
      isDataChange: true,
      removed: [first, second].filter((file) => file !== undefined),
      added: [],
      detail: { kind: "retain" },
    });
    await folder.forge(14, [{ txn: { appId: "other", version: 7, lastUpdated: 99 } }]);
    await folder.open().commit(
      shardWork({ shard: "b", startedFrom: undefined, first: 1, last: 4 }),
    );
    const whole = await read();
    await writeCheckpoint(folder.store, whole, { nowMs: Date.now() });
    await forget(12);
    const state = await read();
    expect(state).toEqual(whole);
    expect(state.removed.size).toBe(2);
    expect(state.transactions.get("other")).toEqual({
      appId: "other",
      version: 7,
      lastUpdatedMs: 99,
    });
    expect([...state.tips.keys()]).toEqual(["0", "b"]);
    expect(state.marks.get("event_date=2026-01-02/0-101-110.parquet")?.tags).toEqual({
      incarnation: "0a1b2c3d",
      first_seq: "101",
      last_seq: "110",
    });
    expect(warnings).toEqual([]);
    expect(await pointer()).toMatchObject({ version: 15, size: 18, numOfAddFiles: 11 });
  });

  test("forgets files that were removed long ago, which nobody can read any more", async () => {
    await folder.commitRounds(3);
    const table = folder.open();
    const [file] = (await table.refresh()).files.values();
    if (file === undefined) throw new Error("no file");
    const work = { operation: "DELETE", isDataChange: true, detail: {} } as const;
    await table.replace({ ...work, removed: [file], added: [] });
    const whole = await read();
    await writeCheckpoint(folder.store, whole, { nowMs: Date.now() + REMOVED_KEPT_MS });
    await forget(3);
    expect(await read()).toEqual({ ...whole, removed: new Map() });
  });

  test("does not move the pointer back, nor write over one that stands there", async () => {
    await folder.commitRounds(6);
    const whole = await read();
    await writeCheckpoint(folder.store, whole, { nowMs: Date.now() });
    const before = await folder.store.get(checkpointKey(6));
    await writeCheckpoint(folder.store, whole, { nowMs: Date.now() });
    await writeCheckpoint(folder.store, { ...whole, version: 4 }, { nowMs: Date.now() });
    expect((await folder.store.get(checkpointKey(6)))?.etag).toBe(before?.etag);
    expect(await pointer()).toMatchObject({ version: 6 });
  });

  test("whose checksum says otherwise is passed over with a warning", async () => {
    await folder.commitRounds(6);
    const whole = await read();
    await writeCheckpoint(folder.store, whole, { nowMs: Date.now() });
    const found = await folder.store.get(checksumKey(6));
    const checksum = JSON.parse(Buffer.from(found?.body ?? []).toString());
    expect(checksum).toMatchObject({ numFiles: 6, tableSizeBytes: 6 * 1234, numMetadata: 1 });
    await folder.store.put(
      checksumKey(6),
      Buffer.from(JSON.stringify({ ...checksum, numFiles: 7 })),
    );
    expect(await read()).toEqual(whole);
    expect(warnings[0]).toContain("7 files");
  });

  test("replaces a pointer that cannot be read", async () => {
    await folder.commitRounds(2);
    await folder.store.put(LAST_CHECKPOINT_KEY, Buffer.from("{"));
    await writeCheckpoint(folder.store, await read(), { nowMs: Date.now() });
    expect(await pointer()).toMatchObject({ version: 2 });
  });

  test("is not pointed to before it stands there", async () => {
    await folder.commitRounds(2);
    const whole = await read();
    const broken: ObjectStore = {
      ...storeMethods(folder.store),
      putFileIfAbsent: () => Promise.reject(new Error("no space left on the disk")),
    };
    await expect(writeCheckpoint(broken, whole, { nowMs: Date.now() })).rejects.toThrow("no space");
    expect(await pointer()).toBeUndefined();
    expect(await read()).toEqual(whole);
  });
});

describe("a checkpoint is due", () => {
  test("after a distance that grows with the table, within limits", () => {
    expect(checkpointDistance(0)).toBe(CHECKPOINT_VERSIONS_MIN);
    expect(checkpointDistance(10_000)).toBe(100);
    expect(checkpointDistance(10_001)).toBe(101);
    expect(checkpointDistance(50_000)).toBe(500);
    expect(checkpointDistance(1e9)).toBe(CHECKPOINT_VERSIONS_MAX);
  });

  test("then, and not again before as many versions followed", async () => {
    await folder.commitRounds(CHECKPOINT_VERSIONS_MIN - 1);
    const table = folder.open();
    expect(await table.checkpoint()).toBeUndefined();
    await table.commit(
      shardWork({ startedFrom: 99, first: 991, last: 1000 }),
    );
    expect(await table.checkpoint()).toBe(100);
    expect(await table.checkpoint()).toBeUndefined();
    expect(await folder.open().checkpoint()).toBeUndefined();
    expect((await folder.open().refresh()).files.size).toBe(100);
  });
});

function storeMethods(store: ObjectStore): ObjectStore {
  return {
    url: store.url,
    get: (key, options) => store.get(key, options),
    head: (key, options) => store.head(key, options),
    put: (key, body, options) => store.put(key, body, options),
    putIfAbsent: (key, body, options) => store.putIfAbsent(key, body, options),
    putFileIfAbsent: (key, path, options) => store.putFileIfAbsent(key, path, options),
    replace: (key, body, etag, options) => store.replace(key, body, etag, options),
    delete: (key, options) => store.delete(key, options),
    list: (prefix, options) => store.list(prefix, options),
    download: (key, path, options) => store.download(key, path, options),
    localPath: (key) => store.localPath(key),
    verifyConditionalPut: (options) => store.verifyConditionalPut(options),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}
