import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { S3Protection } from "../../src/storage/s3-protection.ts";
import { openS3Store, SINGLE_PUT_BYTES_MAX } from "../../src/storage/s3-store.ts";
import { type CephGateway, missingCephGateway, openCephGateway } from "../support/ceph-gateway.ts";
import { describeObjectStore } from "../support/object-store-conformance.ts";
import { describeRegistry } from "../support/registry-conformance.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { startScript } from "../support/script-process.ts";
import { createLog } from "../../src/runtime/log.ts";

const missing = missingCephGateway();

describe.runIf(requireCapability("s3", missing === undefined, missing ?? ""))("S3", () => {
  let gateway: CephGateway;

  beforeAll(async () => {
    gateway = await openCephGateway();
    await gateway.createBucket("conformance");
    Object.assign(process.env, gateway.environment);
  });
  afterAll(() => gateway?.[Symbol.asyncDispose]());

  describeObjectStore({
    name: "Ceph RADOS gateway",
    open: () =>
      Promise.resolve(openS3Store({
        url: "s3://conformance/some/prefix",
        endpoint: gateway.endpoint,
        pathStyle: true,
        log: createLog({ level: "error" }),
      })),
    largeBytes: 70_000_000,
  });

  describeRegistry({
    name: "Ceph RADOS gateway",
    open: () =>
      Promise.resolve(openS3Store({
        url: "s3://conformance/registry",
        endpoint: gateway.endpoint,
        pathStyle: true,
        log: createLog({ level: "error" }),
      })),
  });

  test("of four processes exactly one creates each object", async () => {
    const environment = { ...gateway.environment, TEST_S3_ENDPOINT: gateway.endpoint };
    const url = "s3://conformance/race";
    const writers = await Promise.all(
      ["a", "b", "c", "d"].map((name) =>
        startScript("store-writer.ts", ["race", url, name], environment)
      ),
    );
    for (const writer of writers) writer.go();
    await Promise.all(writers.map((writer) => writer.ended()));
    const created = writers.flatMap(({ said }) => said.map(Number));
    expect(created.toSorted((left, right) => left - right)).toEqual(
      Array.from({ length: 60 }, (_, at) => at),
    );
    for (const writer of writers) expect(writer.said.length).toBeLessThan(60);
  });

  describe("what is asked of the service", () => {
    const ENTRY = "table/_delta_log/00000000000000000000.json";
    const BODY = new TextEncoder().encode("{}\n");
    const DAY_MS = 86_400_000;
    const open = (bucket: string, protection: S3Protection) =>
      openS3Store({
        url: `s3://${bucket}/a`,
        endpoint: gateway.endpoint,
        pathStyle: true,
        protection,
        log: createLog({ level: "error" }),
      });
    const client = () =>
      new S3Client({ endpoint: gateway.endpoint, region: gateway.region, forcePathStyle: true });

    test.each(["governance", "compliance"] as const)(
      "a lock in %s mode keeps evidence and log, not what is written over",
      async (mode) => {
        const Bucket = `locked-${mode}`;
        await gateway.createLockedBucket(Bucket);
        await using store = open(Bucket, { lock: { mode, periodMs: DAY_MS } });
        await store.putIfAbsent(ENTRY, BODY);
        await store.put("registry/tokens/a", BODY);
        using s3 = { client: client(), [Symbol.dispose]: () => s3.client.destroy() };
        const head = (Key: string) => s3.client.send(new HeadObjectCommand({ Bucket, Key }));
        const entry = await head(`a/${ENTRY}`);
        expect(entry.ObjectLockMode).toBe(mode.toUpperCase());
        const lockedMs = (entry.ObjectLockRetainUntilDate?.getTime() ?? 0) - Date.now();
        expect(Math.abs(lockedMs - DAY_MS)).toBeLessThan(120_000);
        const remove = (Key: string, VersionId: string | undefined) =>
          s3.client.send(new DeleteObjectCommand({ Bucket, Key, VersionId }));
        await expect(remove(`a/${ENTRY}`, entry.VersionId)).rejects.toThrow(
          /denied|object lock/i,
        );
        const token = await head("a/registry/tokens/a");
        await remove("a/registry/tokens/a", token.VersionId);
        // The store's own deletion leaves a marker over a version that stays.
        await store.delete(ENTRY);
        expect(await store.get(ENTRY)).toBeUndefined();
        const body = s3.client.send(
          new GetObjectCommand({ Bucket, Key: `a/${ENTRY}`, VersionId: entry.VersionId }),
        );
        expect(await (await body).Body?.transformToString()).toBe("{}\n");
      },
    );

    test("a bucket with versions, in which Ceph 16 heeds no conditions, is refused at the start", async () => {
      await gateway.createLockedBucket("versions");
      await using store = open("versions", { lock: { mode: "governance", periodMs: DAY_MS } });
      await expect(store.verifyConditionalPut()).rejects.toThrow(
        "it does not refuse a conditional put",
      );
      // What the refusal is about: both of two writers of one version would be told that it is theirs.
      expect(await store.putIfAbsent(ENTRY, BODY)).toBe("created");
      expect(await store.putIfAbsent(ENTRY, BODY)).toBe("created");
    });

    test("a lock that the bucket does not have is missed at the start", async () => {
      await gateway.createBucket("lockless");
      await using store = open("lockless", { lock: { mode: "governance", periodMs: DAY_MS } });
      await expect(store.verifyConditionalPut()).rejects.toThrow(/^Cannot .*lockless/);
    });

    test("SSE-KMS encrypts with the key that is named, in one request and in parts", async () => {
      await gateway.createBucket("kms");
      const key = gateway.kmsKey;
      await using store = open("kms", { encryption: { kind: "kms", key } });
      await store.verifyConditionalPut();
      await using folder = await openTemporaryFolder("kms");
      const path = join(folder.path, "large");
      const large = randomBytes(SINGLE_PUT_BYTES_MAX + 1_000);
      await writeFile(path, large);
      await store.putFileIfAbsent("evidence/large", path);
      await store.putIfAbsent(ENTRY, BODY);
      using s3 = { client: client(), [Symbol.dispose]: () => s3.client.destroy() };
      for (const Key of ["a/evidence/large", `a/${ENTRY}`]) {
        const found = await s3.client.send(new HeadObjectCommand({ Bucket: "kms", Key }));
        expect(found).toMatchObject({ ServerSideEncryption: "aws:kms", SSEKMSKeyId: key });
      }
      expect(Buffer.compare((await store.get("evidence/large"))?.body ?? BODY, large)).toBe(0);
    });

    test("a key that the service does not have is an error, not an object in the clear", async () => {
      await gateway.createBucket("keyless");
      await using store = open("keyless", { encryption: { kind: "kms", key: "another-key" } });
      await expect(store.verifyConditionalPut()).rejects.toThrow(/^Cannot .*keyless/);
      await expect(store.putIfAbsent(ENTRY, BODY)).rejects.toThrow(/^Cannot write/);
    });

    test("SSE-S3, which Ceph 16 does not know, is refused at the start", async () => {
      await gateway.createBucket("sse-s3");
      await using store = open("sse-s3", { encryption: { kind: "s3" } });
      await expect(store.verifyConditionalPut()).rejects.toThrow(/^Cannot .*sse-s3/);
    });
  });
});
