import { createHash, randomUUID } from "node:crypto";
import { appendFile, cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HEADER, streamOf } from "../../src/event/wire.ts";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { retainTable } from "../../src/pipeline/maintenance/retention.ts";
import { parseKeepRules } from "../../src/pipeline/maintenance/retention-policy.ts";
import { replayEvidence } from "../../src/pipeline/replay.ts";
import { type Proof, proveReplay } from "../../src/pipeline/replay-proof.ts";
import { createSegmentEncoder, parseSegment } from "../../src/pipeline/segment.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { deleteStream } from "../../src/runtime/nats.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { dataFileKey, evidenceKey, parseEvidenceKey } from "../../src/storage/layout.ts";
import { openHolds } from "../../src/storage/hold.ts";
import { createSubscriptionRegistry } from "../../src/storage/subscription.ts";
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
  readonly missing?: number;
  readonly unexplained?: number;
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

/** The same without the command's process. */
async function prove(rig: RollupRig): Promise<Proof> {
  const scratchDirectory = join(rig.folder, "proof");
  const directory = join(scratchDirectory, randomUUID());
  await mkdir(directory, { recursive: true });
  await using target = await openDirectoryStore({ directory });
  const work = { source: rig.store, target, scratchDirectory };
  const made = await replayEvidence({ ...work, evidenceOnly: false, isKept: false, log: quietLog });
  return await proveReplay({ ...work, replay: made });
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

/** A way to write a data file anew, again and again, from what it held at first: `FILE` in the statement. */
async function openRewriter(rig: RollupRig, file: { readonly path: string } | undefined) {
  const path = rig.store.localPath(dataFileKey(file?.path ?? "")) ?? "";
  const original = await readFile(path);
  return async (select: string): Promise<void> => {
    await using database = await openDatabase({
      memoryLimitBytes: 300_000_000,
      threads: 1,
      tempDirectory: "/nonexistent",
      tempLimitBytes: 0,
    });
    await using connection = await database.connect();
    await writeFile(`${path}.old`, original);
    const keep = `FIELD_IDS {${(await fieldIdsOf(connection, `${path}.old`)).join(", ")}}`;
    const from = `read_parquet('${path}.old')`;
    await connection.run(
      `COPY (${select.replaceAll("FILE", from)}) TO '${path}.new' (FORMAT parquet, ${keep})`,
    );
    await rename(`${path}.new`, path);
    await rm(`${path}.old`);
  };
}

const DAY_MS = 86_400_000;
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
    const write = await openRewriter(rig, file);
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
    expect((await prove(rig)).shards[0])
      .toMatchObject({ verdict: "different", differences: { extra: 1, changed: 0, missing: 0 } });
    await write("SELECT * FROM FILE WHERE idx <> 7 OR seq <> 1");
    expect((await prove(rig)).shards[0])
      .toMatchObject({ verdict: "different", differences: { missing: 1, extra: 0 } });
    await write("SELECT * REPLACE ('ffffffff' AS incarnation) FROM FILE");
    expect((await replay(rig)).code).toBe(4);
  });

  test("finds a row more missing than retention removed", async () => {
    await using rig = await openRollupRig();
    await fill(rig);
    await using context = await openMaintenanceContext({
      store: rig.store,
      scratchDirectory: join(rig.folder, "maintenance"),
      clock: { ...systemClock, nowUs: () => systemClock.nowUs() + 400 * DAY_MS * 1000 },
      log: quietLog,
    });
    // One file of rows of both shards.
    expect(await compactTable(context)).toMatchObject({ filesAdded: 1 });
    const rules = parseKeepRules({ "app/**": 30 * DAY_MS });
    const { rowsRemoved } = await retainTable(context, { rules });
    expect(rowsRemoved).toBeGreaterThan(50);
    const reduced = await replay(rig);
    expect(reduced.code, reduced.stderr).toBe(0);
    expect(reduced.said).toMatchObject([
      { verdict: "reduced", missing: rowsRemoved - 1, unexplained: 0, extra: 0, changed: 0 },
      { verdict: "reduced", missing: 1, unexplained: 0 },
    ]);
    const { files } = await rig.snapshot();
    const [file] = files.values();
    if (file === undefined) throw new Error("no file");
    const write = await openRewriter(rig, file);
    await write("SELECT * FROM FILE ORDER BY seq LIMIT (SELECT count(*) - 1 FROM FILE)");
    const lost = await replay(rig);
    expect(lost.code).toBe(4);
    expect(lost.said[0]).toMatchObject({ verdict: "different", unexplained: 1, extra: 0 });
    await write("SELECT * FROM FILE");
    // Entries that say of more rows that they were removed, and not by which rules, or not how many.
    const { table } = context;
    const work = { operation: "DELETE", isDataChange: true, removed: [file], added: [] } as const;
    await table.replace({ ...work, detail: { kind: "retain", rows: file.rows } });
    expect(await prove(rig)).toMatchObject({
      removed: rowsRemoved,
      shards: [{ verdict: "different", differences: { unexplained: file.rows } }, {}],
    });
    const record = { kind: "retain", before: { "**": Date.now() + DAY_MS } };
    const back = { added: [file], removed: [], notAfterMs: Number.MAX_SAFE_INTEGER, detail: {} };
    await table.replace({ ...work, ...back });
    await table.replace({ ...work, detail: { ...record, rows: file.rows - 1 } });
    expect(await prove(rig)).toMatchObject({
      missing: rowsRemoved + file.rows,
      removed: rowsRemoved + file.rows - 1,
      shards: [
        { verdict: "different", differences: { unexplained: 0 } },
        { verdict: "different", differences: { unexplained: 0 } },
      ],
    });
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
