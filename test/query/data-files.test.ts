import { createHash } from "node:crypto";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type DataFiles, openDataFiles } from "../../src/query/data-files.ts";
import { ProblemError } from "../../src/query/problem.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { DataFile } from "../../src/storage/table.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const LIMIT_BYTES = 1_000;
const signal = new AbortController().signal;

let folder: TemporaryFolder;
let remote: ObjectStore;
let downloads: string[];

beforeEach(async () => {
  folder = await openTemporaryFolder("data-files");
  const directory = await openDirectoryStore({ directory: join(folder.path, "bucket") });
  downloads = [];
  remote = {
    get: (key) => directory.get(key),
    head: (key) => directory.head(key),
    put: (key, body) => directory.put(key, body),
    putIfAbsent: (key, body) => directory.putIfAbsent(key, body),
    putFileIfAbsent: (key, path) => directory.putFileIfAbsent(key, path),
    replace: (key, body, etag) => directory.replace(key, body, etag),
    delete: (key) => directory.delete(key),
    list: (prefix) => directory.list(prefix),
    verifyConditionalPut: () => directory.verifyConditionalPut(),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
    url: "s3://elsewhere",
    localPath: () => undefined,
    download: (key, path, options) => {
      downloads.push(key);
      return directory.download(key, path, options);
    },
  };
});

afterEach(() => folder[Symbol.asyncDispose]());

const open = (): Promise<DataFiles> =>
  openDataFiles({
    store: remote,
    cacheDirectory: join(folder.path, "cache"),
    cacheLimitBytes: LIMIT_BYTES,
  });

async function put(name: string, sizeBytes: number): Promise<DataFile> {
  const body = Buffer.alloc(sizeBytes, name);
  await remote.put(dataFileKey(`${name}.parquet`), body);
  return {
    path: `${name}.parquet`,
    sizeBytes,
    rows: 1,
    eventDate: "2026-01-01",
    minimum: {},
    maximum: {},
    nullCount: {},
    sha256: createHash("sha256").update(body).digest("hex"),
  };
}

describe("copies of data files", () => {
  test("are made once, whoever asks and how often", async () => {
    const cache = await open();
    const files = [await put("a", 100), await put("b", 200)];
    const held = await Promise.all([1, 2, 3].map(() => cache.hold(files, signal)));
    expect(downloads).toHaveLength(2);
    expect(cache.cachedBytes).toBe(300);
    for (const { paths } of held) {
      expect((await readFile(String(paths[1]))).toString()).toBe("b".repeat(200));
    }
    held.forEach((each) => each[Symbol.dispose]());
    using _again = await cache.hold(files, signal);
    expect(downloads).toHaveLength(2);
  });

  test("make room for others when nobody uses them, those used last going last", async () => {
    const cache = await open();
    const [a, b, c] = [await put("a", 400), await put("b", 400), await put("c", 400)];
    for (const file of [a, b, a]) (await cache.hold([file], signal))[Symbol.dispose]();
    using held = await cache.hold([c], signal);
    expect(cache.cachedBytes).toBe(800);
    expect(await stat(String(held.paths[0])).then(({ size }) => size)).toBe(400);
    using _first = await cache.hold([a], signal);
    expect(downloads).toEqual(["table/a.parquet", "table/b.parquet", "table/c.parquet"]);
    // Both are in use now: there is no room for another.
    await expect(cache.hold([b], signal)).rejects.toThrow(ProblemError);
    expect(cache.cachedBytes).toBe(800);
  });

  test("are refused when one query needs more than there is room for", async () => {
    const cache = await open();
    const files = [await put("a", 600), await put("b", 600)];
    await expect(cache.hold(files, signal)).rejects.toMatchObject({ problem: { status: 422 } });
    expect(downloads).toEqual([]);
  });

  test("with another content than the log says are never used", async () => {
    const cache = await open();
    const file = await put("a", 100);
    await remote.put(dataFileKey(file.path), Buffer.alloc(100, "x"));
    await expect(cache.hold([file], signal)).rejects.toThrow("another digest");
    expect(cache.cachedBytes).toBe(0);
    expect(await readdir(cache.directory)).toEqual([]);
    await remote.delete(dataFileKey(file.path));
    await expect(cache.hold([file], signal)).rejects.toMatchObject({ problem: { status: 503 } });
  });

  test("of an earlier process are used again, and what it left half done is removed", async () => {
    const first = await open();
    const file = await put("a", 100);
    (await first.hold([file], signal))[Symbol.dispose]();
    await writeFile(join(first.directory, "something.partial"), "half");
    const second = await open();
    expect(second.cachedBytes).toBe(100);
    using _held = await second.hold([file], signal);
    expect(downloads).toHaveLength(1);
    expect(await readdir(second.directory)).toHaveLength(1);
  });

  test("that one query gave up are made for another that waited", async () => {
    const cache = await open();
    const file = await put("a", 100);
    const leaving = new AbortController();
    const first = cache.hold([file], leaving.signal);
    const second = cache.hold([file], signal);
    leaving.abort();
    await Promise.allSettled([first]);
    using held = await second;
    expect(held.paths).toHaveLength(1);
  });
});
