/** What the registry must do over every kind of store. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLog } from "../../src/runtime/log.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { registryKey } from "../../src/storage/layout.ts";
import { createRegistry, type Registry } from "../../src/storage/registry.ts";
import { sweepRegistry } from "../../src/storage/registry-sweep.ts";

const quietLog = createLog({ level: "error", write: () => undefined });

export interface RegistrySubject {
  readonly name: string;
  /** Opens a store that holds nothing. */
  readonly open: () => Promise<ObjectStore>;
}

export function numberRegistry(store: ObjectStore, kind: string): Registry<number> {
  return createRegistry({ store, kind, parse: numberOf });
}

function numberOf(value: unknown): number {
  if (typeof value === "number") return value;
  throw new SyntaxError("it is no number");
}

export function describeRegistry(subject: RegistrySubject): void {
  describe(`registry: ${subject.name}`, () => {
    let store: ObjectStore;
    beforeAll(async () => {
      store = await subject.open();
    });
    afterAll(() => store?.[Symbol.asyncDispose]());

    test("a value is created once, read back, replaced by who has seen it, and removed", async () => {
      const registry = numberRegistry(store, "holds");
      expect(await registry.get("a")).toBeUndefined();
      const first = await registry.create("a", 1);
      expect(first).toMatchObject({ name: "a", value: 1 });
      expect(await registry.create("a", 2)).toBeUndefined();
      expect(await registry.get("a")).toEqual(first);
      if (first === undefined) throw new Error("it was not created");
      const second = await registry.replace(first, 2);
      expect(second?.value).toBe(2);
      expect(await registry.replace(first, 3)).toBeUndefined();
      expect(await registry.remove(first)).toBe(false);
      if (second === undefined) throw new Error("it was not replaced");
      expect(await registry.remove(second)).toBe(true);
      expect(await registry.get("a")).toBeUndefined();
      expect(await registry.remove(second)).toBe(false);
    });

    test("who saw an equal value before it was removed and made again cannot change it", async () => {
      const registry = numberRegistry(store, "again");
      const old = await registry.create("a", 1);
      if (old === undefined || !await registry.remove(old)) throw new Error("it was not removed");
      expect(await registry.replace(old, 2)).toBeUndefined();
      expect((await registry.create("a", 1))?.value).toBe(1);
      expect(await registry.replace(old, 2)).toBeUndefined();
      expect((await registry.get("a"))?.value).toBe(1);
    });

    test("a list has what stands there, in order, without what was removed, of its kind", async () => {
      const registry = numberRegistry(store, "listed");
      await numberRegistry(store, "listed-too").create("z", 9);
      for (const [at, name] of ["c", "a", "b-2", "b.1", "d"].entries()) {
        await registry.create(name, at);
      }
      const gone = await registry.get("c");
      if (gone !== undefined) await registry.remove(gone);
      expect((await registry.list()).map(({ name, value }) => [name, value])).toEqual([
        ["a", 1],
        ["b-2", 2],
        ["b.1", 3],
        ["d", 4],
      ]);
      expect(await numberRegistry(store, "nothing").list()).toEqual([]);
    });

    test("what was removed leaves the bucket, and its name can be used again", async () => {
      const registry = numberRegistry(store, "swept");
      const gone = await registry.create("gone", 1);
      const stays = await registry.create("stays", 2);
      if (gone === undefined || !await registry.remove(gone)) throw new Error("not removed");
      // As if it were later: stores tell their time in seconds.
      const swept = await sweepRegistry({ store, log: quietLog, ageMs: -5_000 });
      expect(swept).toBeGreaterThanOrEqual(1);
      expect(await store.head(registryKey("swept", "gone"))).toBeUndefined();
      expect(await registry.list()).toEqual([stays]);
      expect((await registry.create("gone", 3))?.value).toBe(3);
      expect(await registry.replace(gone, 4)).toBeUndefined();
    });

    test("of many who change a value at once none is lost", async () => {
      const results = await Promise.all(
        Array.from(
          { length: 8 },
          () => numberRegistry(store, "raced").change("sum", (value = 0) => value + 1),
        ),
      );
      expect(results.map((each) => each?.value).toSorted()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      expect((await numberRegistry(store, "raced").get("sum"))?.value).toBe(8);
    });

    test("of many who create a name exactly one does", async () => {
      const created = await Promise.all(
        Array.from({ length: 8 }, (_, at) => numberRegistry(store, "raced").create("one", at)),
      );
      expect(created.filter((each) => each !== undefined)).toHaveLength(1);
    });

    test("a change that decides for nothing writes nothing", async () => {
      const registry = numberRegistry(store, "still");
      expect(await registry.change("a", () => undefined)).toBeUndefined();
      const first = await registry.create("a", 5);
      expect(await registry.change("a", () => undefined)).toEqual(first);
    });

    test("what is no value of the registry is an error that names the object", async () => {
      const registry = numberRegistry(store, "broken");
      const text = new TextEncoder();
      await store.put(registryKey("broken", "a"), text.encode("no JSON"));
      await expect(registry.get("a")).rejects.toThrow("registry/broken/a");
      const body = `{"mark":"m","past":[""],"at":"2026-01-01T00:00:00Z","value":"x"}`;
      await store.put(registryKey("broken", "a"), text.encode(body));
      await expect(registry.list()).rejects.toThrow("it is no number");
      await expect(registry.get("../a")).rejects.toThrow("as a name");
    });
  });
}
