import { utimes } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { registryKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createRegistry, type Registry, SEAL_MS } from "../../src/storage/registry.ts";
import { REMOVED_NAME_MS, sweepRegistry } from "../../src/storage/registry-sweep.ts";
import { quietLog } from "../support/data-table.ts";
import { numberRegistry } from "../support/registry-conformance.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const KIND = "swept";
const OLD_MS = REMOVED_NAME_MS + 60_000;

let folder: TemporaryFolder;
let store: ObjectStore;
let registry: Registry<number>;

beforeEach(async () => {
  folder = await openTemporaryFolder("registry-sweep");
  store = await openDirectoryStore({ directory: folder.path });
  registry = numberRegistry(store, KIND);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** As if it had been written so long ago. */
async function age(key: string, ms: number): Promise<void> {
  const at = new Date(Date.now() - ms);
  await utimes(store.localPath(key) ?? "", at, at);
}

async function makeRemoved(name: string, ms: number): Promise<void> {
  const made = await registry.create(name, 1);
  if (made === undefined || !await registry.remove(made)) throw new Error("it was not removed");
  await age(registryKey(KIND, name), ms);
}

async function keys(): Promise<readonly string[]> {
  return (await Array.fromAsync(store.list(""))).map(({ key }) => key);
}

/** The same store, with something that happens right before one of its operations. */
function before(operation: "replace" | "delete", act: () => Promise<unknown>): ObjectStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (name !== operation) return value.bind(target);
      return async (key: string, ...more: readonly unknown[]) => {
        if (key.startsWith("registry/")) await act();
        return await value.call(target, key, ...more);
      };
    },
  });
}

describe("a sweep of the registry", () => {
  test("deletes what was removed a day ago, and nothing else", async () => {
    await makeRemoved("old", OLD_MS);
    await makeRemoved("young", REMOVED_NAME_MS - 60_000);
    await registry.create("value", 5);
    await age(registryKey(KIND, "value"), OLD_MS);
    await store.put("registry/admin/1", new TextEncoder().encode(`{"kind":"hold"}\n`));
    await age("registry/admin/1", OLD_MS);
    expect(await sweepRegistry({ store, log: quietLog })).toBe(1);
    expect(await keys()).toEqual([
      "registry/admin/1",
      registryKey(KIND, "value"),
      registryKey(KIND, "young"),
    ]);
    expect((await registry.create("old", 2))?.value).toBe(2);
  });

  test("leaves a name that is made again right before it is sealed", async () => {
    await makeRemoved("a", OLD_MS);
    const raced = before("replace", () => registry.create("a", 2));
    expect(await sweepRegistry({ store: raced, log: quietLog })).toBe(0);
    expect((await registry.get("a"))?.value).toBe(2);
  });

  test("deletes no value of whoever makes the name again while it is being deleted", async () => {
    await makeRemoved("a", OLD_MS);
    let making: Promise<unknown> = Promise.resolve();
    const raced = before("delete", async () => {
      making = Promise.all([registry.create("a", 2), registry.change("a", (value = 0) => value)]);
      // Long enough for a write that did not wait.
      await new Promise((resolve) => setTimeout(resolve, 200));
    });
    expect(await sweepRegistry({ store: raced, log: quietLog })).toBe(1);
    await making;
    expect(await registry.get("a")).toMatchObject({ name: "a" });
  });

  test("leaves a seal when it cannot delete, which holds a name back for a while only", async () => {
    await makeRemoved("a", OLD_MS);
    const broken = before("delete", () => Promise.reject(new Error("AccessDenied")));
    await expect(sweepRegistry({ store: broken, log: quietLog })).rejects.toThrow("AccessDenied");
    expect(await registry.list()).toEqual([]);
    const parse = (value: unknown): number => Number(value);
    const nowMs = () => Date.now() + SEAL_MS + 1;
    const later = createRegistry({ store, kind: KIND, parse, nowMs });
    expect((await later.create("a", 3))?.value).toBe(3);
    await age(registryKey(KIND, "a"), OLD_MS);
    expect(await sweepRegistry({ store, log: quietLog })).toBe(0);
    expect((await registry.get("a"))?.value).toBe(3);
  });
});
