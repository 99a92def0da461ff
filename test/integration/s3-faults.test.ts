import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createLog } from "../../src/runtime/log.ts";
import { AmbiguousWriteError, type ObjectStore } from "../../src/storage/object-store.ts";
import { openS3Store, SINGLE_PUT_BYTES_MAX } from "../../src/storage/s3-store.ts";
import { S3_ATTEMPTS_MAX } from "../../src/storage/s3-attempt.ts";
import type { S3Protection } from "../../src/storage/s3-protection.ts";
import { PARTS_AT_ONCE } from "../../src/storage/s3-upload.ts";
import { keysOf } from "../support/object-store-conformance.ts";
import {
  openSmallS3,
  type S3Fault,
  type SmallS3,
  type SmallS3Options,
} from "../support/small-s3.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const ONE = new TextEncoder().encode("one");
const TWO = new TextEncoder().encode("two");
const SECRET = "a-secret-that-no-message-may-name";
const LOST_BEFORE: S3Fault = { when: "before" };
const LOST_AFTER: S3Fault = { when: "after" };

let opened: AsyncDisposableStack;
let folder: TemporaryFolder;
const saved = { ...process.env };

beforeEach(async () => {
  opened = new AsyncDisposableStack();
  folder = opened.use(await openTemporaryFolder("s3-store"));
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: "known", AWS_SECRET_ACCESS_KEY: SECRET });
});
afterEach(async () => {
  process.env = { ...saved };
  await opened.disposeAsync();
});

async function open(
  options: SmallS3Options = {},
): Promise<{ server: SmallS3; store: ObjectStore }> {
  const server = opened.use(await openSmallS3(options));
  return { server, store: openAt(server.endpoint) };
}

function openAt(endpoint: string, protection: S3Protection = {}): ObjectStore {
  const log = createLog({ level: "error" });
  const url = "s3://bucket/prefix";
  return opened.use(openS3Store({ url, endpoint, pathStyle: true, protection, log }));
}

/** A fault for the first `count` requests of a kind. */
function first(kind: string, count: number, fault: S3Fault): SmallS3Options {
  return {
    fault: (request, requests) =>
      request.kind === kind && requests.filter((each) => each.kind === kind).length <= count
        ? fault
        : undefined,
  };
}

describe("a service without conditions", () => {
  const cases: readonly [string, SmallS3Options, RegExp][] = [
    ["that ignores them", { put: "ignored" }, /: it does not refuse a conditional put$/],
    ["that has none", { put: "refused" }, /conditional put failed:.*NotImplemented \(HTTP 501\)/],
    [
      "that answers with an error page",
      { fault: () => ({ when: "before", answer: { status: 403, code: "AccessDenied" } }) },
      /conditional put failed:.*AccessDenied \(HTTP 403\)/,
    ],
  ];
  for (const [name, options, reason] of cases) {
    test(`${name} is refused by the store's name`, async () => {
      const { store, server } = await open(options);
      const refusal = store.verifyConditionalPut();
      await expect(refusal).rejects.toThrow(reason);
      await expect(refusal).rejects.toThrow(/^Cannot use store "s3:\/\/bucket\/prefix": /);
      await expect(refusal).rejects.not.toThrow(SECRET);
      expect([...server.objects.keys()]).toEqual([]);
    });
  }

  test("that ignores only If-Match is refused as well", async () => {
    const { store } = await open({ match: "ignored" });
    await expect(store.verifyConditionalPut()).rejects.toThrow(
      /^Cannot use store ".*": it does not refuse to replace content that has changed$/,
    );
  });

  test("that nobody answers for is named with the reason", { timeout: 20_000 }, async () => {
    const { server } = await open();
    await server[Symbol.asyncDispose]();
    await expect(openAt(server.endpoint).verifyConditionalPut()).rejects.toThrow(
      /^Cannot use store "s3:\/\/bucket\/prefix": .*ECONNREFUSED/,
    );
  });
});

describe("a conditional put", () => {
  test("whose answer was lost after it was done is ambiguous, not refused", async () => {
    const { store, server } = await open(first("PUT", 1, LOST_AFTER));
    const write = store.putIfAbsent("a", ONE);
    await expect(write).rejects.toBeInstanceOf(AmbiguousWriteError);
    await expect(write).rejects.toMatchObject({ key: "a" });
    expect(server.objects.has("prefix/a")).toBe(true);
  });

  test("answered with an error after it was done is ambiguous", async () => {
    const answer = { status: 500, code: "InternalError" };
    const { store } = await open(first("PUT", 1, { when: "after", answer }));
    await expect(store.putIfAbsent("a", ONE)).rejects.toBeInstanceOf(AmbiguousWriteError);
  });

  test("lost before it was done is written by the next attempt", async () => {
    const { store, server } = await open(first("PUT", 2, LOST_BEFORE));
    expect(await store.putIfAbsent("a", ONE)).toBe("created");
    expect(server.requests).toHaveLength(3);
  });

  test("that conflicts with another is tried again, and no oftener than the limit", async () => {
    const answer = { status: 409, code: "ConditionalRequestConflict" };
    const { store, server } = await open(first("PUT", 2, { when: "before", answer }));
    expect(await store.putIfAbsent("a", ONE)).toBe("created");
    expect(server.requests).toHaveLength(3);

    const never = await open(first("PUT", 1_000, { when: "before", answer }));
    await expect(never.store.putIfAbsent("a", ONE)).rejects.toThrow(/HTTP 409/);
    await expect(never.store.get("a")).resolves.toBeUndefined();
    expect(never.server.requests.filter(({ kind }) => kind === "PUT")).toHaveLength(
      S3_ATTEMPTS_MAX,
    );
  });

  test("turned away because the service is busy is tried again and not ambiguous", async () => {
    const answer = { status: 503, code: "SlowDown" };
    const { store, server } = await open(first("PUT", 1, { when: "before", answer }));
    server.objects.set("prefix/a", TWO);
    expect(await store.putIfAbsent("a", ONE)).toBe("exists");
  });

  test("that is refused at once asks once", async () => {
    const { store, server } = await open();
    server.objects.set("prefix/a", TWO);
    expect(await store.putIfAbsent("a", ONE)).toBe("exists");
    expect(server.requests).toHaveLength(1);
  });

  test("never answered is ambiguous after the last attempt", async () => {
    const { store, server } = await open(first("PUT", 1_000, LOST_BEFORE));
    await expect(store.putIfAbsent("a", ONE)).rejects.toBeInstanceOf(AmbiguousWriteError);
    expect(server.requests).toHaveLength(S3_ATTEMPTS_MAX);
  });

  test("ends with its signal's reason, also between attempts", async () => {
    const { store } = await open(first("PUT", 1_000, LOST_BEFORE));
    const signal = AbortSignal.timeout(120);
    await expect(store.putIfAbsent("a", ONE, { signal })).rejects.toMatchObject({
      name: "TimeoutError",
    });
  });

  test("carries a SHA-256 and the condition", async () => {
    const { store, server } = await open();
    await store.putIfAbsent("a", ONE);
    expect(server.requests[0]?.headers).toMatchObject({
      "if-none-match": "*",
      "x-amz-checksum-sha256": createHash("sha256").update(ONE).digest("base64"),
    });
  });
});

describe("replace", () => {
  for (const etags of ["any", "bare", "quoted"] as const) {
    test(`works where etags are taken ${etags === "any" ? "either way" : etags}`, async () => {
      const { store } = await open({ etags });
      await store.put("a", ONE);
      const etag = (await store.get("a"))?.etag ?? "";
      expect(await store.replace("a", TWO, etag)).toBe("replaced");
      expect(await store.replace("a", ONE, etag)).toBe("changed");
      expect(await store.replace("b", ONE, etag)).toBe("changed");
    });
  }

  test("whose answer was lost is ambiguous", async () => {
    const { store, server } = await open(first("PUT", 1, LOST_AFTER));
    server.objects.set("prefix/a", ONE);
    const etag = (await store.get("a"))?.etag ?? "";
    await expect(store.replace("a", TWO, etag)).rejects.toBeInstanceOf(AmbiguousWriteError);
  });
});

describe("a large file", () => {
  const SIZE = SINGLE_PUT_BYTES_MAX + 1_000_000;

  async function largeFile(): Promise<{ readonly path: string; readonly body: Uint8Array }> {
    const path = join(folder.path, "large");
    const body = randomBytes(SIZE);
    await writeFile(path, body);
    return { path, body };
  }
  const partsFor = (server: SmallS3, key: string) =>
    server.requests.filter((each) => each.kind === "part" && each.key === key);

  test("goes up in parts that become the object on its condition", async () => {
    const { store, server } = await open();
    const { path, body } = await largeFile();
    expect(await store.putFileIfAbsent("large", path)).toBe("created");
    expect(partsFor(server, "prefix/large")).toHaveLength(5);
    expect(Buffer.compare(server.objects.get("prefix/large") ?? ONE, body)).toBe(0);
    const complete = server.requests.find(({ kind, key }) =>
      kind === "complete" && key === "prefix/large"
    );
    expect(complete?.headers["if-none-match"]).toBe("*");
    expect([...server.objects.keys()]).toEqual(["prefix/large"]);
    expect(server.uploads.size).toBe(0);
  });

  test("goes up several parts at a time, and no more than the limit", async () => {
    const { store, server } = await open({ holdParts: PARTS_AT_ONCE });
    const { path, body } = await largeFile();
    expect(await store.putFileIfAbsent("large", path)).toBe("created");
    expect(server.partsAtOnce()).toBe(PARTS_AT_ONCE);
    expect(Buffer.compare(server.objects.get("prefix/large") ?? ONE, body)).toBe(0);
  });

  test("whose part fails for good fails whole, leaves no upload, and sends no further part", async () => {
    const answer = { status: 403, code: "AccessDenied" };
    const { store, server } = await open({
      holdParts: PARTS_AT_ONCE,
      fault: ({ kind, key, bytes }) =>
        kind === "part" && key === "prefix/large" && bytes > 1000
          ? { when: "before", answer }
          : undefined,
    });
    const { path } = await largeFile();
    await expect(store.putFileIfAbsent("large", path)).rejects.toThrow("AccessDenied (HTTP 403)");
    expect(partsFor(server, "prefix/large").length).toBeLessThanOrEqual(PARTS_AT_ONCE);
    expect(server.uploads.size).toBe(0);
    expect(server.objects.has("prefix/large")).toBe(false);
  });

  test("goes up whole though some parts are turned away at first", async () => {
    const seen = new Set<number>();
    const { store, server } = await open({
      fault: ({ kind, key, bytes }, requests) => {
        if (kind !== "part" || key !== "prefix/large" || bytes < 1000) return undefined;
        const count = requests.filter((each) => each.kind === "part" && each.key === key).length;
        if (count % 2 === 0 || seen.size > 5) return undefined;
        seen.add(count);
        return { when: "before", answer: { status: 503, code: "SlowDown" } };
      },
    });
    const { path, body } = await largeFile();
    expect(await store.putFileIfAbsent("large", path)).toBe("created");
    expect(Buffer.compare(server.objects.get("prefix/large") ?? ONE, body)).toBe(0);
    expect(seen.size).toBeGreaterThan(0);
  });

  test("that another writer overtakes leaves the other's object and no upload", async () => {
    const { store, server } = await open({
      fault: ({ kind, key }) => {
        if (kind === "part" && key === "prefix/large") server.objects.set(key, ONE);
        return undefined;
      },
    });
    const { path } = await largeFile();
    expect(await store.putFileIfAbsent("large", path)).toBe("exists");
    expect(server.objects.get("prefix/large")).toBe(ONE);
    expect(server.uploads.size).toBe(0);
  });

  test("whose completion was done but not answered is ambiguous", async () => {
    const { store, server } = await open({
      fault: ({ kind, key }) =>
        kind === "complete" && key === "prefix/large" ? LOST_AFTER : undefined,
    });
    const { path } = await largeFile();
    await expect(store.putFileIfAbsent("large", path)).rejects.toBeInstanceOf(AmbiguousWriteError);
    expect(server.objects.get("prefix/large")?.length).toBe(SIZE);
  });

  test("goes up in one request where completion ignores the condition", async () => {
    const { store, server } = await open({ complete: "ignored" });
    const { path, body } = await largeFile();
    expect(await store.putFileIfAbsent("large", path)).toBe("created");
    expect(partsFor(server, "prefix/large")).toEqual([]);
    expect(Buffer.compare(server.objects.get("prefix/large") ?? ONE, body)).toBe(0);
    expect(server.requests.find(({ bytes }) => bytes === SIZE)?.headers).toMatchObject({
      "if-none-match": "*",
      "content-length": String(SIZE),
    });
    expect([...server.objects.keys()]).toEqual(["prefix/large"]);
  });
});

describe("a read", () => {
  test("is tried again when the connection ends", async () => {
    const { store, server } = await open(first("GET", 2, LOST_BEFORE));
    server.objects.set("prefix/a", ONE);
    expect(Buffer.from((await store.get("a"))?.body ?? []).toString()).toBe("one");
    expect(await store.download("a", join(folder.path, "a"))).toBe(true);
  });

  test("of a bucket that is not there is an error, not an absence", async () => {
    const answer = { status: 404, code: "NoSuchBucket" };
    const { store } = await open({ fault: () => ({ when: "before", answer }) });
    await expect(store.get("a")).rejects.toThrow(
      'Cannot read "a" in s3://bucket/prefix: NoSuchBucket (HTTP 404): as asked',
    );
  });

  test("of a listing out of order is refused: the log would be read with holes", async () => {
    const { store } = await open({ listing: ["prefix/b", "prefix/a"] });
    await expect(keysOf(store.list(""))).rejects.toThrow("not in key order");
  });

  test("of a listing leaves out what no key can name", async () => {
    const { store } = await open({ listing: ["prefix/", "prefix/a", "prefix/b//c", "prefix/d"] });
    expect(await keysOf(store.list(""))).toEqual(["a", "d"]);
  });
});

describe("protection", () => {
  const ENTRY = "table/_delta_log/00000000000000000007.json";
  const LOCKED: S3Protection = {
    encryption: { kind: "kms", key: "key-1" },
    lock: { mode: "compliance", periodMs: 86_400_000 },
  };

  test("is asked for with every object, the lock only with those that are kept for good", async () => {
    const { server } = await open();
    const store = openAt(server.endpoint, LOCKED);
    await store.putIfAbsent(ENTRY, ONE);
    await store.put("registry/tokens/a", ONE);
    const [entry, token] = server.requests.map(({ headers }) => headers);
    const encryption = {
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
    };
    expect(entry).toMatchObject({ ...encryption, "x-amz-object-lock-mode": "COMPLIANCE" });
    const until = Date.parse(String(entry?.["x-amz-object-lock-retain-until-date"]));
    expect(Math.abs(until - Date.now() - 86_400_000)).toBeLessThan(60_000);
    expect(token).toMatchObject(encryption);
    expect(token).not.toHaveProperty("x-amz-object-lock-mode");
  });

  test("is asked for when a file goes up in parts", async () => {
    const { server } = await open();
    const path = join(folder.path, "large");
    await writeFile(path, randomBytes(SINGLE_PUT_BYTES_MAX + 1));
    await openAt(server.endpoint, LOCKED).putFileIfAbsent("evidence/a/1-2-b.segment", path);
    const create = server.requests.find(({ kind, key }) =>
      kind === "create" && key.startsWith("prefix/evidence/")
    );
    expect(create?.headers).toMatchObject({
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-object-lock-mode": "COMPLIANCE",
    });
  });

  test.each<[string, S3Protection, RegExp]>([
    ["encryption", { encryption: { kind: "s3" } }, /it does not encrypt as asked: "AES256" is/],
    ["locks", { lock: { mode: "governance", periodMs: 1 } }, /it does not lock objects: "GOVERN/],
  ])(
    "by a service that ignores %s is missed at the start, and nothing is left",
    async (_, asked, why) => {
      const { server } = await open();
      await expect(openAt(server.endpoint, asked).verifyConditionalPut()).rejects.toThrow(why);
      expect([...server.objects.keys()]).toEqual([]);
    },
  );
});
