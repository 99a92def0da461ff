import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { type CephGateway, missingCephGateway, openCephGateway } from "../support/ceph-gateway.ts";
import type { AuditEvent } from "../../src/event/event.ts";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import {
  compactAsAsked,
  retainAsAsked,
  vacuumAsAsked,
} from "../../src/pipeline/maintenance/deeds.ts";
import { parseKeepRules } from "../../src/pipeline/maintenance/retention-policy.ts";
import { tellRecords } from "../../src/storage/admin-record.ts";
import { releaseHold, setHold } from "../../src/storage/hold.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { openQueryRig, QUERY_TOKEN, type QueryRig } from "../support/query-rig.ts";
import { openStoreAt } from "../support/real-stores.ts";
import { runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import { requireCapability } from "../support/require.ts";
import { quietLog, type RollupRig } from "../support/rollup-rig.ts";

const BUCKET = "roles";
/** A `watcher` is a reader over which no holds are set and no tokens made. */
const ROLES = ["writer", "reader", "watcher", "auditor"] as const;
type Role = typeof ROLES[number];
const DAY_MS = 86_400_000;
const SHORT_DAY_MS = 1_000;

interface Statement {
  readonly Sid: string;
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
}

/** A block of docs/bucket.md that stands below its mark, for our bucket. */
async function documented(name: string): Promise<unknown> {
  const text = await readFile(new URL("../../docs/bucket.md", import.meta.url), "utf8");
  const [, block = ""] = text.split(`<!-- policy: ${name} -->`);
  const [, json = ""] = /```json\n(.*?)```/s.exec(block) ?? [];
  return JSON.parse(json.replaceAll("BUCKET", BUCKET));
}

async function statementsOf(role: Role): Promise<readonly unknown[]> {
  // as: the documents' own form, which the service checks
  const { Statement } = await documented(role === "watcher" ? "reader" : role) as {
    readonly Statement: readonly Statement[];
  };
  const Principal = { AWS: [`arn:aws:iam:::user/${role}`] };
  return Statement.filter(({ Sid }) =>
    role !== "watcher" || !["KeepHolds", "KeepTokens"].includes(Sid)
  )
    .map((each) => ({ ...each, Sid: `${role}${each.Sid}`, Principal }));
}

const missing = missingCephGateway();
const canRun = requireCapability("s3", missing === undefined, missing ?? "") && canRunNats();

describe.runIf(canRun)("the policies of docs/bucket.md", () => {
  let gateway: CephGateway;
  let queries: QueryRig;
  let rig: RollupRig;
  let owner: S3Client;
  const clients = new Map<Role, S3Client>();
  const environments = new Map<Role, Readonly<Record<string, string>>>();

  beforeAll(async () => {
    gateway = await openCephGateway();
    queries = await openQueryRig();
    ({ rig } = queries);
    await gateway.createBucket(BUCKET);
    const { accessKey: accessKeyId, secretKey: secretAccessKey } = gateway;
    owner = clientAs({ accessKeyId, secretAccessKey });
    for (const role of ROLES) {
      const environment = await gateway.createUser(role);
      environments.set(role, environment);
      clients.set(
        role,
        clientAs({
          accessKeyId: environment["AWS_ACCESS_KEY_ID"] ?? "",
          secretAccessKey: environment["AWS_SECRET_ACCESS_KEY"] ?? "",
        }),
      );
    }
    const Statement = (await Promise.all(ROLES.map(statementsOf))).flat();
    const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
    await owner.send(new PutBucketPolicyCommand({ Bucket: BUCKET, Policy }));
  });
  afterAll(async () => {
    for (const client of [owner, ...clients.values()]) client?.destroy();
    await queries?.[Symbol.asyncDispose]();
    await gateway?.[Symbol.asyncDispose]();
  });

  const clientAs = (credentials: { accessKeyId: string; secretAccessKey: string }) =>
    new S3Client({
      endpoint: gateway.endpoint,
      region: gateway.region,
      forcePathStyle: true,
      credentials,
    });
  const as = (role: Role): S3Client => {
    const client = clients.get(role);
    if (client === undefined) throw new Error(`no user ${role}`);
    return client;
  };
  const keysBelow = async (Prefix: string): Promise<readonly string[]> => {
    const listed = await owner.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix }));
    return (listed.Contents ?? []).flatMap(({ Key }) => Key ?? []);
  };
  const get = (role: Role, Key: string) =>
    as(role).send(new GetObjectCommand({ Bucket: BUCKET, Key }));
  const put = (role: Role, Key: string) =>
    as(role).send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: "x" }));
  const remove = (role: Role, Key: string) =>
    as(role).send(new DeleteObjectCommand({ Bucket: BUCKET, Key }));
  /** The bucket as our own code finds it with that key. */
  const openAs = async (role: Role): Promise<ObjectStore> => {
    Object.assign(process.env, environments.get(role));
    const store = await openStoreAt(`s3://${BUCKET}`, gateway.endpoint);
    // From here on the key is the store's own.
    await store.head("table/_delta_log/00000000000000000000.json");
    return store;
  };
  /** With days of a second. */
  const maintainAs = (store: ObjectStore) =>
    openMaintenanceContext({
      store,
      scratchDirectory: join(rig.folder, "maintenance"),
      dayMs: SHORT_DAY_MS,
      reuseAgeMaxMs: SHORT_DAY_MS / 2,
      log: quietLog,
    });
  const HOLD = { reason: "case 7", hosts: [], fromMs: undefined, toMs: undefined };
  const DENIED = { name: "AccessDenied" };

  test("let a roll-up do all its work as the writer, and nobody else", async () => {
    const agent = createBatchAgent("a");
    const events = Array.from({ length: 50 }, (_, number) => numberedEvent(number));
    const bad = createBatchAgent("b").raw(new Uint8Array([9, 9]), { count: 1 });
    await publishAll(rig.connection, [await agent.batch(events), bad]);
    const rollUp = (role: Role) =>
      runProbity([
        ...["rollup", "--once", "--nats", rig.server.url, "--data", join(rig.folder, role)],
        ...["--store-url", `s3://${BUCKET}`, "--store-endpoint", gateway.endpoint],
        "--store-path-style",
      ], { environment: environments.get(role) ?? {} });
    const refused = await rollUp("reader");
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("AccessDenied");
    const done = await rollUp("writer");
    expect(done.code, done.stderr).toBe(0);
    expect(JSON.parse(done.stdout)).toMatchObject({ shard: "0", commits: 1, messages: 2 });
    expect(await keysBelow("probe/")).toEqual([]);
    expect(await keysBelow("evidence/")).toHaveLength(1);
    expect(await keysBelow("quarantine/")).toHaveLength(2);
  });

  test("keep the writer from removing what is kept for good", async () => {
    for (const prefix of ["evidence/", "quarantine/", "table/_delta_log/"]) {
      const [key = ""] = await keysBelow(prefix);
      expect(key).not.toBe("");
      await expect(remove("writer", key), key).rejects.toMatchObject(DENIED);
    }
    const checkpoint = "table/_delta_log/00000000000000000001.checkpoint.parquet";
    for (const key of [checkpoint, "table/event_date=2026-01-02/a.parquet", "state/0/a"]) {
      await put("writer", key);
      await remove("writer", key);
    }
    await expect(put("writer", "elsewhere/a")).rejects.toMatchObject(DENIED);
  });

  test("let the reader read the table and keep the registry, and touch nothing else", async () => {
    const [entry = ""] = await keysBelow("table/_delta_log/");
    const [file = ""] = await keysBelow("table/event_date=");
    const [evidence = ""] = await keysBelow("evidence/");
    await get("reader", entry);
    await get("reader", file);
    await expect(get("reader", "table/_delta_log/none")).rejects.toMatchObject({
      name: "NoSuchKey",
    });
    await expect(get("reader", evidence)).rejects.toMatchObject(DENIED);
    for (const key of [entry, file, evidence, "state/0/x", "probe/x", "registry/other/x"]) {
      await expect(put("reader", key), key).rejects.toMatchObject(DENIED);
      await expect(remove("reader", key), key).rejects.toMatchObject(DENIED);
    }
  });

  test("let SQL without a server read the bucket as the reader", async () => {
    const before = await keysBelow("");
    const sql = "SELECT topic, count(*) AS n FROM events GROUP BY topic ORDER BY topic";
    const found = await runProbity([
      ...["sql", "--local", `s3://${BUCKET}`, sql, "--data", join(rig.folder, "sql")],
      ...["--store-endpoint", gateway.endpoint, "--store-path-style", "--format", "csv"],
    ], { environment: environments.get("reader") ?? {} });
    expect(found.code, found.stderr).toBe(0);
    expect(found.stdout).toBe("topic,n\r\nagent/gap,1\r\napp/test,50\r\n");
    expect(await keysBelow("")).toEqual(before);
  });

  test("let the query service keep subscriptions, holds and tokens as the reader", async () => {
    await using store = await openAs("reader");
    await using running = await queries.start({ store });
    await running.found(50);
    const ask = (method: string, path: string) =>
      running.service.fetch(
        new Request(`http://localhost${path}`, {
          method,
          headers: { authorization: `Bearer ${QUERY_TOKEN}` },
        }),
      );
    const filter = "since=2026-06-15&topic=app/test";
    expect((await ask("PUT", `/v1/subscriptions/daily?${filter}`)).status).toBe(201);
    const read = await ask("GET", "/v1/subscriptions/daily/events?limit=20");
    expect((await read.text()).match(/"pid"/g)).toHaveLength(20);
    expect(await (await ask("GET", "/v1/subscriptions/daily")).json())
      .toMatchObject({ delivered: 20 });
    expect((await ask("DELETE", "/v1/subscriptions/daily")).status).toBe(204);
    expect((await ask("PUT", "/v1/holds/case-7?reason=case-7")).status).toBe(201);
    expect((await ask("DELETE", "/v1/holds/case-7")).status).toBe(204);
    expect((await ask("PUT", "/v1/holds/case-8?reason=case-8")).status).toBe(201);
    expect((await ask("PUT", "/v1/tokens/ann?role=viewer")).status).toBe(201);
    expect((await ask("DELETE", "/v1/tokens/ann")).status).toBe(204);
    await get("watcher", "registry/holds/case-8");
    await get("watcher", "registry/tokens/ann");
    await put("watcher", "registry/subscriptions/other");
    for (const key of ["registry/holds/case-8", "registry/tokens/ann", "registry/admin/x"]) {
      await expect(put("watcher", key), key).rejects.toMatchObject(DENIED);
      await expect(put("auditor", key), key).rejects.toMatchObject(DENIED);
    }
    await expect(remove("reader", "registry/holds/case-8")).rejects.toMatchObject(DENIED);
  });

  test("let the auditor read record and evidence, and write nothing", async () => {
    const record = (await keysBelow("")).filter((key) => !key.startsWith("registry/"));
    expect(record.length).toBeGreaterThan(5);
    for (const key of record) {
      await get("auditor", key);
      await expect(put("auditor", key), key).rejects.toMatchObject(DENIED);
      await expect(remove("auditor", key), key).rejects.toMatchObject(DENIED);
    }
    const replay = (role: Role) =>
      runProbity([
        ...["rollup", "replay", "--data", join(rig.folder, role), "--store-path-style"],
        ...["--store-url", `s3://${BUCKET}`, "--store-endpoint", gateway.endpoint],
      ], { environment: environments.get(role) ?? {} });
    const proven = await replay("auditor");
    expect(proven.code, proven.stderr).toBe(0);
    expect(JSON.parse(proven.stdout)).toMatchObject({ rows: 51, verdict: "equal" });
    expect((await replay("reader")).code).not.toBe(0);
    await expect(get("auditor", "registry/holds/case-8")).rejects.toMatchObject(DENIED);
  });

  test("let the writer do all maintenance and tell of it, and the reader none", async () => {
    await using store = await openAs("writer");
    const agent = createBatchAgent("c");
    const longAgoUs = Date.UTC(2020, 0, 1) * 1000;
    for (const number of [50, 51]) {
      await publishAll(rig.connection, [await agent.batch([numberedEvent(number, longAgoUs)])]);
      expect(await rig.once({ store })).toMatchObject({ commits: 1 });
    }
    await using context = await maintainAs(store);
    const deed = { by: "keeper" };
    expect(await setHold(context, { ...deed, name: "case-9", hold: HOLD })).toBe(true);
    expect(await compactAsAsked(context, deed)).toMatchObject({ filesAdded: 0 });
    for (const name of ["case-8", "case-9"]) {
      expect(await releaseHold(context, { ...deed, name })).toBe(true);
    }
    await delay(2 * SHORT_DAY_MS);
    const { version } = await context.table.refresh();
    const before = await keysBelow("table/");
    await using foreign = await openAs("reader");
    await using reader = await maintainAs(foreign);
    const rules = parseKeepRules({ "app/**@c.example": DAY_MS })
      .map((rule) => ({ ...rule, keepMs: SHORT_DAY_MS }));
    const graceMs = SHORT_DAY_MS;
    const denied = /AccessDenied/;
    await expect(compactAsAsked(reader, deed)).rejects.toThrow(denied);
    await expect(retainAsAsked(reader, { ...deed, rules })).rejects.toThrow(denied);
    await expect(vacuumAsAsked(reader, { ...deed, graceMs })).rejects.toThrow(denied);
    await expect(tellRecords(reader, () => Promise.resolve())).rejects.toThrow(denied);
    expect((await context.table.refresh()).version).toBe(version);
    expect(await keysBelow("table/")).toEqual(before);
    const { filesAdded } = await compactAsAsked(context, deed);
    expect(filesAdded).toBeGreaterThan(0);
    expect(await retainAsAsked(context, { ...deed, rules })).toMatchObject({ rowsRemoved: 2 });
    await delay(3 * SHORT_DAY_MS);
    const { objects } = await vacuumAsAsked(context, { ...deed, graceMs });
    // Both files that were compacted, and the one that was made of them.
    expect(objects).toBeGreaterThanOrEqual(3);
    const told: AuditEvent[] = [];
    const tell = (event: AuditEvent) => Promise.resolve(void told.push(event));
    expect(await tellRecords(context, tell)).toBe(told.length);
    expect(await keysBelow("registry/admin/")).toEqual([]);
    const actions = told.map(({ detail }) => detail?.["action"]);
    const kinds = ["hold", "release", "compact", "retain", "vacuum"];
    expect(actions).toEqual(expect.arrayContaining(kinds.map((kind) => `table ${kind}`)));
  });

  test("and its lifecycle rules are taken", async () => {
    // as: the documents' own form, which the service checks
    const LifecycleConfiguration = await documented("lifecycle") as { Rules: [] };
    await owner.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: BUCKET, LifecycleConfiguration }),
    );
  });
});
