import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { unmount } from "../support/mounts.ts";
import { keysOf } from "../support/object-store-conformance.ts";
import { requireCapability } from "../support/require.ts";
import { startScript } from "../support/script-process.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const ONE = new TextEncoder().encode("one");
const run = promisify(execFile);

let folder: TemporaryFolder;
let root: string;
let store: ObjectStore;

beforeEach(async () => {
  folder = await openTemporaryFolder("store-processes");
  root = join(folder.path, "bucket");
  store = await openDirectoryStore({ directory: root });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describe("a directory as store of many processes", () => {
  test("of six processes exactly one creates each object", async () => {
    const url = `file://${root}`;
    const names = ["a", "b", "c", "d", "e", "f"];
    const writers = await Promise.all(
      names.map((name) => startScript("store-writer.ts", ["race", url, name])),
    );
    for (const writer of writers) writer.go();
    await Promise.all(writers.map((writer) => writer.ended()));
    const created = writers.flatMap(({ said }) => said);
    expect(created.toSorted((left, right) => Number(left) - Number(right))).toEqual(
      Array.from({ length: 60 }, (_, at) => at),
    );
    for (const [at, writer] of writers.entries()) {
      for (const place of writer.said) {
        const found = await store.get(`race/${String(place)}`);
        expect(Buffer.from(found?.body ?? []).toString()).toBe(names[at]);
      }
    }
  });

  test("between four processes replace loses no step, though one is killed", async () => {
    const url = `file://${root}`;
    await store.put("steps", Buffer.from("[]"));
    const start = (name: string) => startScript("store-writer.ts", ["steps", url, name]);
    const writers = await Promise.all(["a", "b", "c", "d"].map(start));
    const victim = await start("victim");
    for (const writer of [...writers, victim]) writer.go();
    await delay(100);
    await victim.kill();
    await Promise.all(writers.map((writer) => writer.ended()));
    const steps: string[] = JSON.parse(
      Buffer.from((await store.get("steps"))?.body ?? []).toString(),
    );
    const kept = steps.filter((step) => !step.startsWith("victim"));
    expect(kept.toSorted()).toEqual(
      ["a", "b", "c", "d"].flatMap((name) => Array.from({ length: 25 }, (_, at) => `${name}-${at}`))
        .toSorted(),
    );
    expect(new Set(steps).size).toBe(steps.length);
  });

  test("SIGKILL in the middle of puts leaves whole objects only", { timeout: 30_000 }, async () => {
    let promised = 0;
    for (let round = 0; round < 12; round++) {
      await using writer = await startScript("store-writer.ts", ["objects", `file://${root}`, "w"]);
      writer.go();
      await delay(20 + 17 * round);
      await writer.kill();
      promised += writer.said.length;
      for (const key of writer.said) expect(await store.head(String(key))).toBeDefined();
    }
    const keys = await keysOf(store.list(""));
    expect(keys.filter((key) => key.includes("tmp"))).toEqual([]);
    const objects = keys.filter((key) => key.startsWith("objects/"));
    expect(objects.length).toBeGreaterThanOrEqual(promised);
    expect(promised).toBeGreaterThan(0);
    for (const key of objects) {
      const digest = createHash("sha256").update((await store.get(key))?.body ?? ONE).digest("hex");
      expect(key).toBe(`objects/${digest}`);
    }
    expect((await store.get("newest"))?.body.length).toBe(100_000);
  });
});

const isRoot = process.getuid?.() === 0;

describe.runIf(requireCapability("root", isRoot, "mounting needs root"))("a full disk", () => {
  test("is a clear error, and nothing is half there", async () => {
    const small = join(folder.path, "small");
    await mkdir(small);
    await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]);
    try {
      await using full = await openDirectoryStore({ directory: small });
      await full.put("a/kept", ONE);
      const large = new Uint8Array(2_000_000);
      const source = join(folder.path, "large");
      await writeFile(source, large);
      const etag = (await full.get("a/kept"))?.etag ?? "";
      const attempts = [
        () => full.putIfAbsent("a/large", large),
        () => full.putFileIfAbsent("a/large", source),
        () => full.put("a/kept", large),
        () => full.replace("a/kept", large, etag),
      ];
      for (const attempt of attempts) {
        await expect(attempt()).rejects.toThrow(/^Cannot (write|replace) "a.*no space left/);
        expect(await readdir(join(small, "a"))).toEqual(["kept"]);
      }
      expect(Buffer.from((await full.get("a/kept"))?.body ?? []).toString()).toBe("one");
      expect(await full.putIfAbsent("a/after", ONE)).toBe("created");
    } finally {
      unmount(small);
    }
  });
});
