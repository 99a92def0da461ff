import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { AmbiguousWriteError, type ObjectStore } from "../../src/storage/object-store.ts";
import {
  createRegistry,
  REGISTRY_NAMES_MAX,
  WRITE_ATTEMPTS_MAX,
} from "../../src/storage/registry.ts";
import { PAST_MAX, REGISTRY_VALUE_BYTES_MAX } from "../../src/storage/registry-content.ts";
import { describeRegistry, numberRegistry } from "../support/registry-conformance.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let store: ObjectStore;

beforeEach(async () => {
  folder = await openTemporaryFolder("registry");
  store = await openDirectoryStore({ directory: `${folder.path}/bucket` });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describeRegistry({
  name: "directory",
  open: async () => {
    const place = await openTemporaryFolder("registry-conformance");
    const opened = await openDirectoryStore({ directory: place.path });
    const close = opened[Symbol.asyncDispose].bind(opened);
    opened[Symbol.asyncDispose] = async () => {
      await close();
      await place[Symbol.asyncDispose]();
    };
    return opened;
  },
});

type Fault = "before" | "after" | "refused by itself";

/** A store whose replacements go wrong as told: the answer is lost before or after the write. */
function losing(
  faults: Fault[],
  { beforeAnswer = async () => {} }: { readonly beforeAnswer?: () => Promise<unknown> } = {},
): ObjectStore {
  const lost = (key: string) => new AmbiguousWriteError(key, "Cannot tell: as asked", {});
  return new Proxy(store, {
    get(target, name) {
      if (name !== "replace") {
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      }
      return async (...request: Parameters<ObjectStore["replace"]>) => {
        const fault = faults.shift();
        const outcome = fault === "before" ? "changed" : await target.replace(...request);
        await beforeAnswer();
        if (fault === "before" || fault === "after") throw lost(request[0]);
        return fault === "refused by itself" ? "changed" : outcome;
      };
    },
  });
}

describe("a registry whose store loses answers", () => {
  test.each([
    [["before"] as const],
    [["after"] as const],
    [["refused by itself"] as const],
    [["before", "before", "after"] as const],
  ])("knows that it was its own write after %j", async (faults) => {
    const registry = numberRegistry(losing([...faults]), "lost");
    const first = await registry.create("a", 1);
    if (first === undefined) throw new Error("it was not created");
    const second = await registry.replace(first, 2);
    expect(second?.value).toBe(2);
    expect(await registry.get("a")).toEqual(second);
  });

  /** Others write so many times between the write and its answer. */
  function raced(faults: Fault[], times: number) {
    const other = numberRegistry(store, "raced");
    const beforeAnswer = async (): Promise<void> => {
      for (let at = 0; at < times; at++) await other.change("a", (value = 0) => value + 10);
    };
    return numberRegistry(losing(faults, { beforeAnswer }), "raced");
  }

  test.each(
    [
      { faults: [], others: 1, mine: true },
      { faults: [], others: 3, mine: true },
      { faults: ["after"], others: 1, mine: true },
      { faults: ["before"], others: 1, mine: false },
      { faults: ["after"], others: PAST_MAX, mine: true },
      { faults: ["before"], others: PAST_MAX, mine: false },
      { faults: ["after"], others: PAST_MAX + 1, mine: "unknown" },
      { faults: ["before"], others: PAST_MAX + 1, mine: "unknown" },
    ] as const,
  )("tells whether it has written: %j", async ({ faults, others, mine }) => {
    const registry = raced([...faults], others);
    const first = await registry.create("a", 1);
    if (first === undefined) throw new Error("it was not created");
    const writing = registry.replace(first, 2);
    if (mine === "unknown") {
      await expect(writing).rejects.toThrow(AmbiguousWriteError);
      return;
    }
    const written = await writing;
    expect(written?.value).toBe(mine ? 2 : undefined);
    // What was overwritten meanwhile is out of date.
    if (written !== undefined) expect(await registry.replace(written, 3)).toBeUndefined();
  });

  test("gives up after a bounded number of attempts", async () => {
    const faults = Array.from({ length: WRITE_ATTEMPTS_MAX }, () => "before" as const);
    const registry = numberRegistry(losing(faults), "lost");
    const first = await registry.create("a", 1);
    if (first === undefined) throw new Error("it was not created");
    await expect(registry.replace(first, 2)).rejects.toThrow("Cannot tell");
    expect((await registry.get("a"))?.value).toBe(1);
  });

  test("refuses a name and a value that are too long", async () => {
    const registry = createRegistry({ store, kind: "large", parse: String });
    await registry.create("a".repeat(64), "b");
    await expect(registry.create("a".repeat(65), "b")).rejects.toThrow("1 to 64");
    const long = "b".repeat(REGISTRY_VALUE_BYTES_MAX);
    await expect(registry.create("a", long)).rejects.toThrow("are more than");
    expect(await registry.get("a")).toBeUndefined();
  });
});

describe("a registry in which very many names were used", () => {
  /** Names as they stand in a bucket; reading one that is not in the store gives `body`. */
  function crowded(body: string): ObjectStore {
    const listed = Array.from({ length: REGISTRY_NAMES_MAX + 50 }, (_, at) => ({
      key: `registry/crowd/n${String(at).padStart(6, "0")}`,
      sizeBytes: body.length,
      modifiedAtMs: 0,
    }));
    return new Proxy(store, {
      get(target, name) {
        if (name === "get") {
          return async (key: string) =>
            key.endsWith("/z")
              ? await target.get(key)
              : { body: new TextEncoder().encode(body), etag: key };
        }
        if (name === "list") {
          return async function* (prefix: string) {
            yield* listed;
            yield* target.list(prefix);
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }
  const objectOf = (value: number | null) =>
    JSON.stringify({ mark: "m", past: [""], at: "2026-01-01T00:00:00Z", value });

  test("lists what stands, however many were removed", async () => {
    await numberRegistry(store, "crowd").create("z", 7);
    const listed = await numberRegistry(crowded(objectOf(null)), "crowd").list();
    expect(listed.map(({ name, value }) => [name, value])).toEqual([["z", 7]]);
  });

  test("refuses to list more than may stand", async () => {
    await expect(numberRegistry(crowded(objectOf(1)), "crowd").list()).rejects.toThrow(
      `more than ${REGISTRY_NAMES_MAX} names`,
    );
  });
});
