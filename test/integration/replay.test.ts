import { appendFile, cp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HEADER, streamOf } from "../../src/event/wire.ts";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { retainTable } from "../../src/pipeline/maintenance/retention.ts";
import { parseKeepRules } from "../../src/pipeline/maintenance/retention-policy.ts";
import { createSegmentEncoder, parseSegment } from "../../src/pipeline/segment.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { deleteStream } from "../../src/runtime/nats.ts";
import { openMaintainedTable } from "../../src/storage/delta-table.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { dataFileKey, evidenceKey, parseEvidenceKey } from "../../src/storage/layout.ts";
import { openHolds } from "../../src/storage/hold.ts";
import { createSubscriptionRegistry } from "../../src/storage/subscription.ts";
import { createHash } from "node:crypto";
import {
  createBatchAgent,
  lineOf,
  numberedEvent,
  publishAll,
  type SentMessage,
} from "../support/batches.ts";
import { runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  makeStream,
  openRollupRig,
  publishNumbers,
  quietLog,
  range,
  type RollupRig,
} from "../support/rollup-rig.ts";
import { subscriptionAt } from "../support/subscriptions.ts";

interface Said {
  readonly shard: string;
  readonly segments: number;
  readonly messages: number;
  readonly rows: number;
  readonly digest: string;
  readonly tableRows?: number;
  readonly tableDigest?: string;
  readonly verdict?: string;
}

async function replay(rig: RollupRig, more: readonly string[] = []) {
  const bucket = `file://${join(rig.folder, "bucket")}`;
  const data = join(rig.folder, "data");
  const words = ["rollup", "replay", "--store-url", bucket, "--data", data, "--quiet"];
  const { code, stdout, stderr } = await runProbity([...words, ...more]);
  const said = stdout.trim().split("\n").filter((line) => line !== "")
    .map((line): Said => JSON.parse(line));
  return { code, said, stderr };
}

const again = (message: SentMessage, id: string): SentMessage => ({
  ...message,
  headers: new Map([...message.headers, [HEADER.messageId, id]]),
});

/** A record with everything in it: two shards, two incarnations, and every verdict. */
async function fill(rig: RollupRig): Promise<void> {
  await makeStream(rig.connection, "1");
  const agent = createBatchAgent("a");
  const first = await agent.batch(range(0, 50).map((number) => numberedEvent(number)));
  const second = await agent.batch([numberedEvent(50)]);
  const fourth = createBatchAgent("a");
  const ahead = fourth.raw(first.payload, { number: 9, count: 50 });
  const fork = createBatchAgent("a").raw(first.payload, { number: 3, previous: "0".repeat(64) });
  const bad = createBatchAgent("b").raw(new Uint8Array([9, 9]), { count: 7 });
  const wrong = { ...createBatchAgent("c").raw(first.payload, {}), payload: new Uint8Array([1]) };
  const lost = createBatchAgent("d").raw(new Uint8Array(), { count: 3, void: "spool full" });
  const odd = await createBatchAgent("e").lines(
    lineOf(0, { pid: 55, detail: { a: 1 }, path: "\u0001ü" }),
    {
      firstUs: 0,
      count: 1,
    },
  );
  await publishAll(rig.connection, [first, again(first, "again"), second, ahead]);
  await rig.once();
  await publishAll(rig.connection, [fork, bad, wrong, lost, odd]);
  await rig.once();
  await publishAll(rig.connection, [
    await createBatchAgent("f", "e1", "1").batch([numberedEvent(51)]),
  ]);
  await rig.once({ shard: "1" });
  await deleteStream(rig.connection, streamOf("0"));
  await makeStream(rig.connection);
  await publishAll(rig.connection, [
    again(second, "second"),
    await agent.batch([numberedEvent(52)]),
  ]);
  await rig.once();
}

async function segmentKeys(rig: RollupRig): Promise<readonly string[]> {
  return (await Array.fromAsync(rig.store.list("evidence/"))).map(({ key }) => key);
}

/** Puts a segment of the same place and shard, with some of another's messages changed. */
async function putSegment(
  rig: RollupRig,
  key: string,
  change: (payload: Uint8Array, at: number) => Uint8Array | undefined,
): Promise<void> {
  const found = await rig.store.get(key);
  const { origin, messages } = parseSegment(found?.body ?? new Uint8Array());
  const encoder = createSegmentEncoder(origin);
  const parts = [encoder.begin()];
  let last = 0;
  for (const [at, message] of messages.entries()) {
    const payload = change(message.payload, at);
    if (payload === undefined) continue;
    parts.push(...encoder.message({ ...message, payload }));
    last = message.sequence;
  }
  parts.push(encoder.end());
  const body = Buffer.concat(parts);
  const place = { ...parseEvidenceKey(key)?.range ?? { incarnation: "", first: 0 }, last };
  const sha256 = createHash("sha256").update(body).digest("hex");
  await rig.store.put(evidenceKey(place, sha256), body);
}

const COUNTS = "SELECT count(*) AS n, sum(hash(COLUMNS(*))::HUGEINT)::VARCHAR AS h FROM events";

describe.runIf(canRunNats())("rollup replay", () => {
  test("makes the same table of the evidence, whatever the record holds", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const { code, said, stderr } = await replay(rig);
    expect(code, stderr).toBe(0);
    expect(said).toMatchObject([
      { shard: "0", segments: 3, messages: 11, verdict: "equal" },
      { shard: "1", segments: 1, messages: 1, rows: 1, verdict: "equal" },
    ]);
    const [{ n: rows } = {}] = await rig.query("SELECT count(*) AS n FROM events");
    expect(said.reduce((sum, each) => sum + each.rows, 0)).toBe(rows);
    for (const each of said) expect(each.tableDigest).toBe(each.digest);
    // What was made is gone again.
    expect((await readdir(join(rig.folder, "data", "cache", "replay"))).length).toBe(0);
  });

  test("makes a bucket with which work goes on where it was, of the evidence alone", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const before = await rig.query(COUNTS);
    const numbers = await rig.numbers();
    const bucket = join(rig.folder, "bucket");
    const rebuilt = join(rig.folder, "rebuilt");
    for (const lost of ["table", "state", "quarantine"]) {
      await rm(join(bucket, lost), { recursive: true, force: true });
    }
    const { code, stderr } = await replay(rig, ["--evidence-only", "--into", `file://${rebuilt}`]);
    expect(code, stderr).toBe(0);
    await rename(bucket, join(rig.folder, "lost"));
    await cp(rebuilt, bucket, { recursive: true });
    expect(await rig.query(COUNTS)).toEqual(before);
    await publishNumbers(rig, createBatchAgent("z"), [60]);
    expect(await rig.once()).toMatchObject({ commits: 1, messages: 1 });
    expect(await rig.numbers()).toEqual([...numbers, 60]);
  });

  test("takes holds and subscriptions along, so that retention leaves there what it left here", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const holds = openHolds(rig.store);
    await holds.create("case-7", {
      ...{ reason: "court order", hosts: [] },
      ...{ fromMs: undefined, toMs: undefined },
    });
    const subscriptions = createSubscriptionRegistry({ store: rig.store });
    await subscriptions.create("reader", subscriptionAt(systemClock.nowUs(), { lastId: "x" }));
    await using target = await openDirectoryStore({ directory: join(rig.folder, "rebuilt") });
    // It cannot be known what a hold speaks of that cannot be read.
    await rig.store.put("registry/holds/broken", new TextEncoder().encode("{}"));
    const refused = await replay(rig, ["--into", target.url]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("registry/holds/broken");
    expect(await Array.fromAsync(target.list("table/"))).toEqual([]);
    await rig.store.delete("registry/holds/broken");
    const { code, stderr } = await replay(rig, ["--into", target.url]);
    expect(code, stderr).toBe(0);
    expect(await openHolds(target).list()).toEqual(await holds.list());
    expect(await createSubscriptionRegistry({ store: target }).list())
      .toEqual(await subscriptions.list());
    const aYearLater = systemClock.nowUs() + 365 * 86_400_000_000;
    await using context = await openMaintenanceContext({
      store: target,
      scratchDirectory: join(rig.folder, "scratch"),
      clock: { ...systemClock, nowUs: () => aYearLater },
      log: quietLog,
    });
    const rules = parseKeepRules({ "**": 86_400_000 });
    expect(await retainTable(context, { rules })).toMatchObject({ rowsRemoved: 0 });
    const hold = await context.holds.get("case-7");
    if (hold === undefined || !await context.holds.remove(hold)) throw new Error("not released");
    expect((await retainTable(context, { rules })).rowsRemoved).toBeGreaterThan(0);
  });

  test("finds a row that was changed in the table, and one that no evidence has", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const [file] = (await rig.snapshot()).files.values();
    const path = rig.store.localPath(dataFileKey(file?.path ?? "")) ?? "";
    await using database = await openDatabase({
      memoryLimitBytes: 300_000_000,
      threads: 1,
      tempDirectory: "/nonexistent",
      tempLimitBytes: 0,
    });
    await using connection = await database.connect();
    const original = await readFile(path);
    const keep = `FIELD_IDS {${(await fieldIdsOf(connection, path)).join(", ")}}`;
    const write = async (select: string): Promise<void> => {
      await writeFile(`${path}.old`, original);
      const from = `read_parquet('${path}.old')`;
      await connection.run(
        `COPY (${select.replaceAll("FILE", from)}) TO '${path}.new' (FORMAT parquet, ${keep})`,
      );
      await rename(`${path}.new`, path);
      await rm(`${path}.old`);
    };
    await write(
      "SELECT * REPLACE (CASE WHEN idx = 7 THEN 'Other.' ELSE message END AS message) FROM FILE",
    );
    const changed = await replay(rig);
    expect(changed.code).toBe(4);
    expect(changed.said[0]).toMatchObject({
      verdict: "different",
      changed: 1,
      extra: 0,
      missing: 0,
    });
    await write(
      "SELECT * FROM FILE UNION ALL SELECT * REPLACE (999 AS idx) FROM FILE WHERE idx = 7",
    );
    expect((await replay(rig)).said[0]).toMatchObject({ extra: 1, changed: 0, missing: 0 });
    await write("SELECT * FROM FILE WHERE idx <> 7 OR seq <> 1");
    const removed = await replay(rig);
    expect(removed.code).toBe(4);
    expect(removed.said[0]).toMatchObject({ verdict: "different", missing: 1, extra: 0 });
    await write("SELECT * REPLACE ('ffffffff' AS incarnation) FROM FILE");
    expect((await replay(rig)).code).toBe(4);
  });

  test("says how many rows were removed since, where the log says that some were", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const table = openMaintainedTable({ store: rig.store, clock: systemClock, log: quietLog });
    const [file] = (await table.refresh()).files.values();
    if (file === undefined) throw new Error("no file");
    const work = { operation: "DELETE", isDataChange: true, added: [], detail: {} } as const;
    await table.replace({ ...work, removed: [file] });
    const { code, said } = await replay(rig);
    expect(code).toBe(0);
    expect(said[0]).toMatchObject({ verdict: "reduced", missing: file.rows, extra: 0, changed: 0 });
    expect(said[1]).toMatchObject({ verdict: "equal" });
  });

  test("does not mind segments of roll-ups that came second", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const before = await replay(rig);
    const [key = ""] = await segmentKeys(rig);
    await putSegment(rig, key, (payload, at) => at < 2 ? payload : undefined);
    expect((await replay(rig)).said).toEqual(before.said);
    const all = await replay(rig, ["--evidence-only"]);
    expect(all.code, all.stderr).toBe(0);
    expect(all.said.map(({ rows, digest }) => [rows, digest]))
      .toEqual(before.said.map(({ rows, digest }) => [rows, digest]));
  });

  test("cannot choose between two segments that differ when there are no commits to tell", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const [key = ""] = await segmentKeys(rig);
    await putSegment(rig, key, (_, at) => at === 0 ? new Uint8Array([7]) : undefined);
    expect((await replay(rig)).code).toBe(0);
    const { code, stderr } = await replay(rig, ["--evidence-only"]);
    expect(code).toBe(4);
    expect(stderr).toContain("another segment holds another message at 1");
  });

  test.each<[string, (path: string) => Promise<void>, string]>([
    ["is missing", (path) => rm(path), "it is missing"],
    ["was changed", (path) => appendFile(path, "x"), "its content is not that of its digest"],
  ])("ends in 4 when evidence %s", async (_, damage, reason) => {
    await using rig = await openRollupRig();
    await fill(rig);
    const [key = ""] = await segmentKeys(rig);
    await damage(rig.store.localPath(key) ?? "");
    const { code, stderr } = await replay(rig);
    expect(code).toBe(4);
    expect(stderr).toContain(`Cannot replay ${key}: ${reason}`);
  });

  test("writes into no bucket that holds a table, least of all the one it reads", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    const bucket = `file://${join(rig.folder, "bucket")}`;
    expect((await replay(rig, ["--into", bucket])).code).toBe(2);
    const other = join(rig.folder, "other");
    await cp(join(rig.folder, "bucket"), other, { recursive: true });
    await using store = await openDirectoryStore({ directory: other });
    const { code, stderr } = await replay(rig, ["--into", store.url]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("there is a table already");
  });
});

async function fieldIdsOf(
  connection: { query(sql: string): Promise<{ readonly rows: readonly object[] }> },
  path: string,
): Promise<readonly string[]> {
  const { rows } = await connection.query(
    `SELECT '"' || name || '": ' || field_id AS entry FROM parquet_schema('${path}')
     WHERE field_id IS NOT NULL`,
  );
  return rows.map((row) => "entry" in row ? String(row.entry) : "");
}

describe.runIf(canRunNats())("rollup status", () => {
  test("says how far each shard is, and how far behind", async () => {
    await using rig = await openRollupRig();
    const status = async () => {
      const words = ["rollup", "status", "--nats", rig.server.url, "--rollup-shards", "2"];
      const bucket = ["--store-url", `file://${join(rig.folder, "bucket")}`];
      const result = await runProbity([...words, ...bucket, "--data", rig.folder]);
      expect(result.code, result.stderr).toBe(0);
      return result.stdout.trim().split("\n").map((line): object => JSON.parse(line));
    };
    expect(await status()).toMatchObject([
      { shard: "0", committedSequence: null, lastSequence: 0, lagMessages: 0, worker: null },
      { shard: "1", committedSequence: null, lastSequence: null, lagMessages: null },
    ]);
    await publishNumbers(rig, createBatchAgent("a"), [1, 2]);
    await rig.once();
    const agent = createBatchAgent("b");
    await publishNumbers(rig, agent, [3]);
    await publishNumbers(rig, agent, [4]);
    const [first] = await status();
    expect(first).toMatchObject({
      committedSequence: 1,
      lastSequence: 3,
      lagMessages: 2,
      isContinued: true,
      agents: 1,
      forks: [],
    });
    await deleteStream(rig.connection, streamOf("0"));
    await makeStream(rig.connection);
    await publishNumbers(rig, createBatchAgent("c"), [5]);
    const [wiped] = await status();
    expect(wiped).toMatchObject({ committedSequence: 1, lagMessages: 1, isContinued: false });
  });

  test("ends in 3 when there is no broker", async () => {
    await using rig = await openRollupRig();
    const { url } = rig.server;
    await rig.server.stop();
    const { code, stderr } = await runProbity([
      ...["rollup", "status", "--nats", url, "--data", rig.folder],
    ]);
    expect(code).toBe(3);
    expect(stderr).toContain("Cannot reach the broker");
  });
});
