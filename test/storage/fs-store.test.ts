import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { TEMPORARY_STALE_MS } from "../../src/storage/fs-folders.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { createLog } from "../../src/runtime/log.ts";
import { describeObjectStore, keysOf } from "../support/object-store-conformance.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let shared: TemporaryFolder;
beforeAll(async () => {
  shared = await openTemporaryFolder("conformance");
});
afterAll(() => shared[Symbol.asyncDispose]());

describeObjectStore({
  name: "directory",
  open: () => openDirectoryStore({ directory: join(shared.path, "bucket") }),
  largeBytes: 5_000_000,
});

const ONE = new TextEncoder().encode("one");

describe("a directory as store", () => {
  let folder: TemporaryFolder;
  let root: string;
  let store: ObjectStore;

  beforeEach(async () => {
    folder = await openTemporaryFolder("fs-store");
    root = join(folder.path, "bucket");
    store = await openDirectoryStore({ directory: root });
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  test("refuses what is put into it once it is gone, instead of trying for ever", async () => {
    await rm(root, { recursive: true });
    await expect(store.putIfAbsent("a/b/c", ONE)).rejects.toThrow();
  });

  test("opens by URL, with spaces and all, and closes twice", async () => {
    const url = `file://${folder.path}/with%20space`;
    const opened = await openStore({ url, log: createLog({ level: "error" }) });
    await opened.put("a/b", ONE);
    expect(opened.url).toBe(url);
    expect(await readFile(join(folder.path, "with space/a/b"), "utf8")).toBe("one");
    expect(opened.localPath("a/b")).toBe(join(folder.path, "with space/a/b"));
    await opened[Symbol.asyncDispose]();
    await opened[Symbol.asyncDispose]();
  });

  test("refuses URLs of other kinds by name", async () => {
    const log = createLog({ level: "error" });
    for (const url of ["http://x/y", "file://host/x", "bucket", "", "s3://", "s3://B_ad/x"]) {
      await expect(openStore({ url, log }), url).rejects.toThrow(
        /Cannot open store ".*": expected/,
      );
    }
  });

  test("gives files 0640 and folders 0750", async () => {
    await store.putIfAbsent("a/b/c", ONE);
    await writeFile(join(folder.path, "open"), "x");
    await chmod(join(folder.path, "open"), 0o666);
    await store.putFileIfAbsent("a/file", join(folder.path, "open"));
    await store.put("a/put", ONE);
    const modes = await Promise.all(
      ["", "a", "a/b", "a/b/c", "a/file", "a/put"].map(async (name) =>
        ((await stat(join(root, name))).mode & 0o777).toString(8)
      ),
    );
    expect(modes).toEqual(["750", "750", "750", "640", "640", "640"]);
  });

  test("follows no symbolic link out of its root", async () => {
    await mkdir(join(folder.path, "outside/in"), { recursive: true });
    await writeFile(join(folder.path, "outside/in/secret"), "secret");
    await symlink(join(folder.path, "outside"), join(root, "link"));
    await symlink(join(folder.path, "outside/in/secret"), join(root, "file"));

    expect(await keysOf(store.list(""))).toEqual([]);
    await expect(store.get("link/in/secret")).rejects.toThrow("symbolic link");
    await expect(keysOf(store.list("link/"))).rejects.toThrow("symbolic link");
    await expect(store.putIfAbsent("link/new", ONE)).rejects.toThrow("symbolic link");
    await expect(store.delete("link/in/secret")).rejects.toThrow("symbolic link");
    await expect(store.get("file")).rejects.toThrow("symbolic link");
    expect(await store.head("file")).toBeUndefined();
    expect(await store.putIfAbsent("file", ONE)).toBe("exists");
    await store.put("file", ONE);
    expect(await readFile(join(folder.path, "outside/in/secret"), "utf8")).toBe("secret");
    expect(await readFile(join(root, "file"), "utf8")).toBe("one");
    expect(await readdir(join(folder.path, "outside"))).toEqual(["in"]);
  });

  test("says so when a key's path is taken by a file or a folder", async () => {
    await store.put("a/b", ONE);
    await expect(store.putIfAbsent("a/b/c", ONE)).rejects.toThrow(
      /^Cannot write "a\/b\/c" in file:.*: a part of its path is a file$/,
    );
    await expect(store.putIfAbsent("a", ONE)).rejects.toThrow("a folder has this name");
    expect(await store.get("a")).toBeUndefined();
    expect(await store.get("a/b/c")).toBeUndefined();
    expect(await readdir(join(root, "a"))).toEqual(["b"]);
  });

  test("sweeps temporary files that nobody has written to for long, and no others", async () => {
    await store.put("a/b", ONE);
    const past = (Date.now() - TEMPORARY_STALE_MS - 60_000) / 1000;
    for (const name of [".tmp-1-old", ".tmp-1-new", ".other"]) {
      await writeFile(join(root, "a", name), "half");
      if (!name.endsWith("new")) await utimes(join(root, "a", name), past, past);
    }
    expect(await keysOf(store.list(""))).toEqual(["a/b"]);
    const second = await openDirectoryStore({ directory: root });
    await second.put("a/c", ONE);
    // Nothing waits for it but the end.
    await second[Symbol.asyncDispose]();
    expect((await readdir(join(root, "a"))).toSorted()).toEqual([".other", ".tmp-1-new", "b", "c"]);
  });

  test("writes on when its folders are removed underneath", async () => {
    await store.put("a/b/c", ONE);
    await rm(join(root, "a"), { recursive: true });
    expect(await store.putIfAbsent("a/b/c", ONE)).toBe("created");
  });
});
