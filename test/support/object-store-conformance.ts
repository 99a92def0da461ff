/** What every object store must do: one suite, run by each implementation against the real thing. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AmbiguousWriteError,
  type ObjectEntry,
  type ObjectStore,
  type StoredObject,
} from "../../src/storage/object-store.ts";

export interface ConformanceSubject {
  /** Name of the implementation. */
  readonly name: string;
  /** Opens a store that holds nothing. */
  readonly open: () => Promise<ObjectStore>;
  /** Size of the largest file that is put, in bytes. */
  readonly largeBytes: number;
}

const ONE = new TextEncoder().encode("one");
const TWO = new TextEncoder().encode("two");

export function describeObjectStore(subject: ConformanceSubject): void {
  describe(`object store: ${subject.name}`, () => {
    let store: ObjectStore;
    let scratch: string;

    beforeAll(async () => {
      store = await subject.open();
      scratch = await mkdtemp(join(tmpdir(), "probity-conformance-"));
    });
    afterAll(async () => {
      await store?.[Symbol.asyncDispose]();
      await rm(scratch, { recursive: true, force: true });
    });

    test("what is put is read back, byte by byte, with its size and time", async () => {
      const body = randomBytes(100_003);
      const beforeMs = Date.now();
      await store.put("bytes/object", body);
      expect(textOf((await store.get("bytes/object"))?.body)).toBe(textOf(body));
      const entry = await store.head("bytes/object");
      expect(entry).toMatchObject({ key: "bytes/object", sizeBytes: body.length });
      expect(Math.abs((entry?.modifiedAtMs ?? 0) - beforeMs)).toBeLessThan(30_000);
    });

    test("an empty object is an object", async () => {
      expect(await store.putIfAbsent("bytes/empty", new Uint8Array())).toBe("created");
      expect((await store.get("bytes/empty"))?.body.length).toBe(0);
      expect((await store.head("bytes/empty"))?.sizeBytes).toBe(0);
      expect(await keysOf(store.list("bytes/empty"))).toEqual(["bytes/empty"]);
    });

    test("what is not there is undefined, not an error", async () => {
      expect(await store.get("absent/object")).toBeUndefined();
      expect(await store.head("absent/object")).toBeUndefined();
      expect(await store.download("absent/object", join(scratch, "absent"))).toBe(false);
      await expect(stat(join(scratch, "absent"))).rejects.toThrow("ENOENT");
      await store.delete("absent/object");
      expect(await keysOf(store.list("absent/"))).toEqual([]);
    });

    test("put writes over what stands there", async () => {
      await store.put("over/object", ONE);
      await store.put("over/object", TWO);
      expect(textOf((await store.get("over/object"))?.body)).toBe(textOf(TWO));
    });

    test("putIfAbsent creates once and leaves what stands there", async () => {
      expect(await store.putIfAbsent("once/object", ONE)).toBe("created");
      expect(await store.putIfAbsent("once/object", TWO)).toBe("exists");
      expect(textOf((await store.get("once/object"))?.body)).toBe(textOf(ONE));
    });

    test("of 24 concurrent writers exactly one creates, and its content stands", async () => {
      for (const round of [1, 2, 3]) {
        const key = `race/object-${round}`;
        const bodies = Array.from({ length: 24 }, (_, writer) => Buffer.from(`writer ${writer}`));
        const outcomes = await Promise.all(bodies.map((body) => create(store, key, body)));
        const content = textOf((await store.get(key))?.body);
        const [created = [], unknown = []] = ["created", "unknown"].map((kind) =>
          bodies.filter((_, writer) => outcomes[writer] === kind).map(textOf)
        );
        // A server that failed to answer leaves it open who created, but not that only one did.
        if (unknown.length === 0) expect(created).toHaveLength(1);
        expect(created.length).toBeLessThan(2);
        expect(created.length === 1 ? created : unknown).toContain(content);
      }
    });

    test("a deleted object can be created again", async () => {
      await store.putIfAbsent("again/object", ONE);
      await store.delete("again/object");
      expect(await store.get("again/object")).toBeUndefined();
      expect(await store.putIfAbsent("again/object", TWO)).toBe("created");
    });

    test("replace writes only over the content of its etag", async () => {
      await store.put("replace/object", ONE);
      const first = await store.get("replace/object");
      expect(await store.replace("replace/object", TWO, first?.etag ?? "")).toBe("replaced");
      expect(await store.replace("replace/object", ONE, first?.etag ?? "")).toBe("changed");
      expect(textOf((await store.get("replace/object"))?.body)).toBe(textOf(TWO));
      await store.delete("replace/object");
      expect(await store.replace("replace/object", ONE, first?.etag ?? "")).toBe("changed");
      expect(await store.get("replace/object")).toBeUndefined();
    });

    test("steps under replace are neither lost nor doubled", async () => {
      await store.put("steps/object", Buffer.from("[]"));
      let changed = 0;
      const step = async (name: string): Promise<void> => {
        for (;;) {
          const found = await store.get("steps/object");
          const steps = stepsOf(found);
          if (steps.includes(name)) return;
          const body = Buffer.from(JSON.stringify([...steps, name]));
          try {
            if (await store.replace("steps/object", body, found?.etag ?? "") === "replaced") return;
            changed += 1;
          } catch (error) {
            // Nobody can tell: the next round looks whether the step is there.
            if (!(error instanceof AmbiguousWriteError)) throw error;
          }
        }
      };
      const names = Array.from({ length: 40 }, (_, at) => `step-${at}`);
      await Promise.all(Array.from({ length: 8 }, async (_, writer) => {
        for (const name of names.slice(writer * 5, writer * 5 + 5)) await step(name);
      }));
      expect(stepsOf(await store.get("steps/object")).toSorted()).toEqual(names.toSorted());
      expect(changed).toBeGreaterThan(0);
    });

    test("a file is put once and downloaded whole, whatever its size", async () => {
      for (const sizeBytes of [0, 1, 100_000, subject.largeBytes]) {
        const source = join(scratch, `source-${sizeBytes}`);
        await writeFile(source, randomBytes(sizeBytes));
        const key = `file/of-${sizeBytes}`;
        expect(await store.putFileIfAbsent(key, source)).toBe("created");
        await writeFile(join(scratch, "other"), TWO);
        expect(await store.putFileIfAbsent(key, join(scratch, "other"))).toBe("exists");
        expect((await store.head(key))?.sizeBytes).toBe(sizeBytes);
        const target = join(scratch, `target-${sizeBytes}`);
        expect(await store.download(key, target)).toBe(true);
        expect(await digestOfFile(target)).toBe(await digestOfFile(source));
      }
    });

    test("a large file is refused where something stands", async () => {
      const source = join(scratch, "large-refused");
      await writeFile(source, randomBytes(subject.largeBytes));
      await store.put("file/taken", ONE);
      expect(await store.putFileIfAbsent("file/taken", source)).toBe("exists");
      expect(textOf((await store.get("file/taken"))?.body)).toBe(textOf(ONE));
    });

    test("a download replaces what stood at its path", async () => {
      await store.put("file/fresh", ONE);
      const target = join(scratch, "stale");
      await writeFile(target, "much older and longer content");
      expect(await store.download("file/fresh", target)).toBe(true);
      expect(await readFile(target, "utf8")).toBe("one");
    });

    describe("listing", () => {
      const keys = [
        "list/a",
        "list/a-b",
        "list/a.b",
        "list/a0",
        "list/b/a",
        "list/b-a",
        "list/b/c/d",
        "list/b/c",
        "list/b=1/x",
        "list/Z",
        "list/~tilde",
      ].filter((key) => key !== "list/b/c");
      const sorted = keys.toSorted((left, right) => (left < right ? -1 : 1));

      beforeAll(async () => {
        for (const key of keys) await store.put(key, ONE);
      });

      test("is in key order with sizes, not in folder order", async () => {
        expect(await keysOf(store.list("list/"))).toEqual(sorted);
        for await (const entry of store.list("list/")) expect(entry.sizeBytes).toBe(3);
      });

      test("takes any beginning of a key as prefix", async () => {
        for (const prefix of ["list/b", "list/b/", "list/b-", "list/a", "list/b/c/d", "list/q"]) {
          expect(await keysOf(store.list(prefix))).toEqual(
            sorted.filter((key) => key.startsWith(prefix)),
          );
        }
        expect(await keysOf(store.list(""))).toEqual(expect.arrayContaining(sorted));
      });

      test("starts after any text, whether it is a key or not", async () => {
        const places = [...sorted, "list/", "list/b", "list/b/", "list/b/b", "list/c", "list/~~"];
        for (const startAfter of places) {
          expect(await keysOf(store.list("list/", { startAfter }))).toEqual(
            sorted.filter((key) => key > startAfter),
          );
        }
        expect(await keysOf(store.list("list/b/", { startAfter: "a" }))).toEqual(
          sorted.filter((key) => key.startsWith("list/b/")),
        );
      });

      test("goes on while objects come and go, and lists each lasting one once", async () => {
        for (let at = 0; at < 40; at++) await store.put(`busy/${String(at).padStart(3, "0")}`, ONE);
        const seen: string[] = [];
        for await (const { key } of store.list("busy/")) {
          seen.push(key);
          if (seen.length === 1) {
            await store.delete("busy/020");
            await store.put("busy/new", ONE);
          }
        }
        const lasting = (key: string): boolean => key !== "busy/020" && key !== "busy/new";
        expect(seen.filter(lasting)).toHaveLength(39);
        expect(new Set(seen).size).toBe(seen.length);
      });

      test("of more objects than one answer holds is complete", async () => {
        const count = 1_203;
        const names = Array.from(
          { length: count },
          (_, at) => `many/${String(at).padStart(6, "0")}`,
        );
        for (let from = 0; from < count; from += 50) {
          await Promise.all(names.slice(from, from + 50).map((key) => store.put(key, ONE)));
        }
        expect(await keysOf(store.list("many/"))).toEqual(names);
        expect(await keysOf(store.list("many/", { startAfter: names[1_100] ?? "" })))
          .toEqual(names.slice(1_101));
      });
    });

    test("keys that could mean something else are refused by every operation", async () => {
      const faulty = [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".",
        "a/.b",
        "a b",
        "å",
        "a\\b",
        "a\nb",
      ];
      faulty.push(
        "x".repeat(201),
        "a\0b",
        Array.from({ length: 100 }, () => "abcdefghi").join("/"),
      );
      for (const key of faulty) {
        const calls: (() => Promise<unknown>)[] = [
          () => store.get(key),
          () => store.head(key),
          () => store.put(key, ONE),
          () => store.putIfAbsent(key, ONE),
          () => store.putFileIfAbsent(key, join(scratch, "other")),
          () => store.replace(key, ONE, "x"),
          () => store.delete(key),
          () => store.download(key, join(scratch, "never")),
          () => Promise.resolve(store.localPath(key)),
        ];
        for (const call of calls) {
          await expect((async () => await call())(), JSON.stringify(key)).rejects.toThrow(
            RangeError,
          );
        }
      }
      await expect(keysOf(store.list("../"))).rejects.toThrow(RangeError);
    });

    test("an aborted signal ends an operation with its reason", async () => {
      const signal = AbortSignal.abort(new Error("enough"));
      await expect(store.get("bytes/object", { signal })).rejects.toThrow("enough");
      await expect(store.putIfAbsent("aborted/object", ONE, { signal })).rejects.toThrow("enough");
      await expect(keysOf(store.list("bytes/", { signal }))).rejects.toThrow("enough");
      expect(await store.get("aborted/object")).toBeUndefined();
    });

    test("the proof of its conditions succeeds and leaves nothing", async () => {
      await store.verifyConditionalPut();
      expect(await keysOf(store.list("probe/"))).toEqual([]);
    });
  });
}

export async function keysOf(entries: AsyncIterable<ObjectEntry>): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of entries) keys.push(key);
  return keys;
}

async function create(
  store: ObjectStore,
  key: string,
  body: Uint8Array,
): Promise<"created" | "exists" | "unknown"> {
  try {
    return await store.putIfAbsent(key, body);
  } catch (error) {
    if (error instanceof AmbiguousWriteError) return "unknown";
    throw error;
  }
}

function stepsOf(found: StoredObject | undefined): string[] {
  return JSON.parse(Buffer.from(found?.body ?? []).toString());
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString("latin1");
}

async function digestOfFile(path: string): Promise<string> {
  return createHash("sha256").update(await readFile(path)).digest("hex");
}
