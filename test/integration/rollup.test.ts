import { cp, readdir, rm } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { parseWatermark, WATERMARK_BUCKET } from "../../src/event/watermark.ts";
import { commitSubjectOf, streamOf } from "../../src/event/wire.ts";
import { StreamMismatchError } from "../../src/pipeline/stream-start.ts";
import { parseSegment } from "../../src/pipeline/segment.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { deleteStream, openBucket, openStream } from "../../src/runtime/nats.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { readState } from "../../src/storage/state-object.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { mountTmpfs } from "../support/mounts.ts";
import { canRunNats } from "../support/nats-server.ts";
import { requireCapability } from "../support/require.ts";
import { makeStream, openRollupRig, type RollupRig } from "../support/rollup-rig.ts";

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, place) => from + place);

async function publishNumbers(
  rig: RollupRig,
  agent: ReturnType<typeof createBatchAgent>,
  numbers: readonly number[],
) {
  const batch = await agent.batch(numbers.map((number) => numberedEvent(number)));
  return await publishAll(rig.connection, [batch]);
}

async function watermarkOf(rig: RollupRig, agent: string) {
  const bucket = await openBucket(rig.connection, WATERMARK_BUCKET);
  return parseWatermark(await bucket.get(`0.${agent}`) ?? "");
}

function isConnected(rig: RollupRig): Promise<boolean> {
  return rig.connection.rtt().then(() => true, () => false);
}

async function until(holds: () => Promise<boolean>, limitMs = 30_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms`);
    await delay(50);
  }
}

const canMount = requireCapability("root", process.getuid?.() === 0, "mounts need root");

describe.runIf(canRunNats())("one run over what is there", () => {
  test("commits all of it, with evidence, state, watermarks and news, and truncates", async () => {
    await using rig = await openRollupRig();
    const news = rig.connection.subscribe(commitSubjectOf("0"), { max: 1 });
    const [a, b] = [createBatchAgent("a"), createBatchAgent("b")];
    await publishNumbers(rig, a, range(0, 10));
    await publishNumbers(rig, b, range(10, 15));
    const [last] = await publishNumbers(rig, a, range(15, 20));
    expect(await rig.once()).toEqual({ commits: 1, messages: 3, rows: 20, sequence: 3 });
    expect(await rig.numbers()).toEqual(range(0, 20));

    const { shards, version, files } = await rig.snapshot();
    const position = shards.get("0");
    expect(position).toMatchObject({ sequence: last, version });
    const state = await readState(rig.store, String(position?.state));
    expect(state.agents["a"]?.epochs["e1"]?.number).toBe(2);
    expect([...files.values()].map(({ rows }) => rows)).toEqual([20]);

    const [segment] = await Array.fromAsync(rig.store.list("evidence/"));
    const stored = await rig.store.get(String(segment?.key));
    expect(parseSegment(stored?.body ?? new Uint8Array()).messages).toHaveLength(3);

    expect(await watermarkOf(rig, "a")).toMatchObject({ sequence: 3, epoch: "e1", number: 2 });
    expect(await watermarkOf(rig, "b")).toMatchObject({ sequence: 3, epoch: "e1", number: 1 });
    for await (const message of news) expect(message.string()).toBe(String(version));
    expect(await openStream(rig.connection, streamOf("0")))
      .toMatchObject({ firstSequence: 3, lastSequence: 3 });
  });

  test("does nothing the second time, and goes on where it was the third", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [1]);
    await rig.once();
    const before = (await rig.snapshot()).version;
    expect(await rig.once()).toEqual({ commits: 0, messages: 0, rows: 0, sequence: 1 });
    expect((await rig.snapshot()).version).toBe(before);
    await publishNumbers(rig, agent, [2]);
    expect(await rig.once()).toMatchObject({ commits: 1, sequence: 2 });
    expect(await rig.numbers()).toEqual([1, 2]);
  });

  test("of an empty stream, or none, commits nothing", async () => {
    await using rig = await openRollupRig();
    expect(await rig.once()).toMatchObject({ commits: 0, sequence: 0 });
    await deleteStream(rig.connection, streamOf("0"));
    expect(await rig.once()).toMatchObject({ commits: 0, sequence: 0 });
    expect(await openStream(rig.connection, streamOf("0"))).toBeDefined();
  });

  test("makes as many rounds as the size of a segment asks for", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (const number of range(0, 12)) {
      await publishNumbers(rig, agent, range(number * 50, number * 50 + 50));
    }
    const { commits, rows } = await rig.once({ segmentMaxBytes: 12_000 });
    expect(commits).toBeGreaterThan(3);
    expect(rows).toBe(600);
    expect(await rig.numbers()).toEqual(range(0, 600));
  });

  test("twice at the same time doubles nothing, in one process or as two", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await using one = await rig.open({ segmentMaxBytes: 4_000 });
    await using two = await rig.open({ segmentMaxBytes: 6_000 });
    for (const round of range(0, 3)) {
      for (const number of range(round * 10, round * 10 + 10)) {
        await publishNumbers(rig, agent, range(number * 20, number * 20 + 20));
      }
      await Promise.all([one.runOnce(), two.runOnce(), one.runOnce()]);
      expect(await rig.numbers()).toEqual(range(0, (round + 1) * 200));
    }
    const ids = await rig.query("SELECT count(*) AS n, count(DISTINCT id) AS d FROM events");
    expect(ids).toEqual([{ n: 600, d: 600 }]);
  });

  test("brings bad batches to quarantine with their reasons, and their neighbours to the table", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    const good = await agent.batch([numberedEvent(1)]);
    const wrong = { ...await agent.batch([numberedEvent(2)]), payload: new Uint8Array([1, 2]) };
    const spoiled = createBatchAgent("b").raw(new Uint8Array([9, 9, 9]), { count: 4 });
    const liar = await createBatchAgent("c").lines("{}\n", { count: 1 });
    await publishAll(rig.connection, [good, wrong, spoiled, liar]);
    const metrics = createMetrics();
    expect(await rig.once({ metrics })).toMatchObject({ commits: 1, messages: 4, rows: 3 });
    const found = await rig.query("SELECT seq, topic FROM events ORDER BY seq");
    expect(found).toEqual([
      { seq: 1, topic: "app/test" },
      { seq: 3, topic: "agent/gap" },
      { seq: 4, topic: "agent/gap" },
    ]);
    const keys = (await Array.fromAsync(rig.store.list("quarantine/"))).map(({ key }) => key);
    expect(keys.map((key) => key.replace(/^quarantine\/[0-9a-f]{8}\//, "")))
      .toEqual(["2", "2.json", "3", "3.json", "4", "4.json"]);
    const note = await rig.store.get(keys.find((key) => key.endsWith("2.json")) ?? "");
    expect(JSON.parse(new TextDecoder().decode(note?.body))).toMatchObject({
      sequence: 2,
      agent: "a",
      verdict: "refused",
      reason: "the digest is not the payload's",
    });
    expect((await rig.store.get(keys.find((key) => key.endsWith("/3")) ?? ""))?.body)
      .toEqual(Buffer.from([9, 9, 9]));
    const text = await metrics.text();
    expect(text).toContain('probity_rollup_refused_total{shard="0"} 1');
    expect(text).toContain('probity_rollup_unreadable_total{shard="0"} 2');
    expect(text).toContain("probity_rollup_lag_messages 0");
  });

  test("leaves nothing in its scratch folder", async () => {
    await using rig = await openRollupRig();
    await publishNumbers(rig, createBatchAgent("a"), [1]);
    await rig.once();
    expect(await readdir(join(rig.folder, "scratch"))).toEqual([]);
  });

  test("stops when it is told to", async () => {
    await using rig = await openRollupRig();
    await publishNumbers(rig, createBatchAgent("a"), [1]);
    await using rollup = await rig.open();
    await expect(rollup.runOnce(AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
    expect((await rig.snapshot()).version).toBe(-1);
  });
});

describe.runIf(canRunNats())("a running roll-up", () => {
  test("commits at its interval, and ends when it is told to", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await using rollup = await rig.open({ intervalMs: 200 });
    const stop = new AbortController();
    const running = rollup.run(stop.signal);
    for (const number of range(0, 20)) {
      await publishNumbers(rig, agent, [number]);
      await delay(50);
    }
    await until(async () => (await rig.numbers()).length === 20);
    stop.abort();
    await running;
    expect(await rig.numbers()).toEqual(range(0, 20));
    const { version } = await rig.snapshot();
    expect(version).toBeGreaterThan(1);
    expect(version).toBeLessThan(15);
  });

  test("survives the broker's death in the middle of a round", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await using rollup = await rig.open({ intervalMs: 1_000 });
    const stop = new AbortController();
    const running = rollup.run(stop.signal);
    await publishNumbers(rig, agent, [0]);
    await delay(300);
    await rig.server.kill();
    await delay(1_500);
    await rig.server.start();
    await until(() => isConnected(rig));
    await publishNumbers(rig, agent, [1]);
    await until(async () => (await rig.numbers()).length === 2);
    stop.abort();
    await running;
    expect(await rig.numbers()).toEqual([0, 1]);
  });

  test("goes on with a stream that was made again, as another incarnation", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await using rollup = await rig.open({ intervalMs: 100 });
    const stop = new AbortController();
    const running = rollup.run(stop.signal);
    await publishNumbers(rig, agent, [0]);
    await until(async () => (await rig.numbers()).length === 1);
    const old = (await rig.snapshot()).shards.get("0")?.incarnation;
    await deleteStream(rig.connection, streamOf("0"));
    await makeStream(rig.connection);
    await publishNumbers(rig, agent, [1]);
    await until(async () => (await rig.numbers()).length === 2);
    stop.abort();
    await running;
    const { incarnation } = (await rig.snapshot()).shards.get("0") ?? {};
    expect(incarnation).not.toBe(old);
    expect(await rig.query("SELECT incarnation, seq, idx, pid FROM events ORDER BY pid")).toEqual([
      { incarnation: old, seq: 1, idx: 0, pid: 0 },
      { incarnation, seq: 1, idx: 0, pid: 1 },
    ]);
    expect(await watermarkOf(rig, "a")).toMatchObject({ incarnation, sequence: 1, number: 2 });
  });

  test.runIf(canMount)(
    "waits out a bucket that cannot be written, and keeps everything in the stream",
    async () => {
      using bucket = mountTmpfs();
      await using rig = await openRollupRig({ bucket: bucket.path });
      const agent = createBatchAgent("a");
      await using rollup = await rig.open({ intervalMs: 100 });
      const stop = new AbortController();
      const running = rollup.run(stop.signal);
      await publishNumbers(rig, agent, [0]);
      await until(async () => (await rig.numbers()).length === 1);
      const evidence = join(bucket.path, "evidence");
      execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "probity-test", evidence]);
      try {
        await publishNumbers(rig, agent, [1]);
        await delay(1_500);
        await publishNumbers(rig, agent, [2]);
        expect(await rig.numbers()).toEqual([0]);
        expect(await openStream(rig.connection, streamOf("0"))).toMatchObject({
          firstSequence: 1,
          lastSequence: 3,
        });
      } finally {
        execFileSync("umount", [evidence]);
      }
      await until(async () => (await rig.numbers()).length === 3);
      stop.abort();
      await running;
      expect(await rig.numbers()).toEqual([0, 1, 2]);
    },
  );
});

describe.runIf(canRunNats() && canMount)("a full disk", () => {
  test("under the scratch folder is a clear error, and nothing is half done", async () => {
    using small = mountTmpfs();
    execFileSync("mount", ["-o", "remount,size=256k", small.path]);
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (const from of [0, 5_000, 10_000]) {
      const noisy = range(from, from + 5_000).map((number) => ({
        ...numberedEvent(number),
        detail: { noise: Math.random().toString(36).repeat(2) },
      }));
      await publishAll(rig.connection, [await agent.batch(noisy)]);
    }
    await expect(rig.once({ scratchDirectory: small.path })).rejects.toThrow(/space/i);
    expect((await rig.snapshot()).version).toBe(-1);
    expect(await readdir(small.path)).toEqual([]);
    await rig.once();
    expect(await rig.numbers()).toEqual(range(0, 15_000));
  });

  test("under the bucket is a clear error, and nothing is half done", async () => {
    using bucket = mountTmpfs();
    await using rig = await openRollupRig({ bucket: bucket.path });
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [0]);
    await rig.once();
    execFileSync("mount", ["-o", "remount,size=150k", bucket.path]);
    const batch = await agent.batch(
      range(1, 5001).map((number) => ({
        ...numberedEvent(number),
        message: Math.random().toString(36).repeat(2),
      })),
    );
    await publishAll(rig.connection, [batch]);
    await using rollup = await rig.open();
    await expect(rollup.runOnce()).rejects.toThrow(/space/i);
    expect(await rig.numbers()).toEqual([0]);
    execFileSync("mount", ["-o", "remount,size=50m", bucket.path]);
    await rollup.runOnce();
    expect(await rig.numbers()).toEqual(range(0, 5001));
  });
});

describe.runIf(canRunNats())("stream and bucket that do not belong together:", () => {
  /** What the broker held at some time, put back later. */
  async function keepBroker(rig: RollupRig): Promise<() => Promise<void>> {
    const copy = join(rig.folder, "broker-copy");
    await rig.server.stop();
    await cp(rig.server.storeDirectory, copy, { recursive: true });
    await rig.server.start();
    await until(() => isConnected(rig));
    return async () => {
      await rig.server.stop();
      await rig.server.wipe();
      await cp(copy, rig.server.storeDirectory, { recursive: true });
      await rig.server.start();
      await until(() => isConnected(rig));
    };
  }

  async function keepBucket(rig: RollupRig): Promise<() => Promise<void>> {
    const bucket = join(rig.folder, "bucket");
    const copy = join(rig.folder, "bucket-copy");
    await cp(bucket, copy, { recursive: true });
    return async () => {
      await rm(bucket, { recursive: true });
      await cp(copy, bucket, { recursive: true });
    };
  }

  test("a broker that lost its tail gets its stream made again, and what agents send again fits", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [0]);
    await rig.once();
    const restore = await keepBroker(rig);
    const lost = [await agent.batch([numberedEvent(1)]), await agent.batch([numberedEvent(2)])];
    await publishAll(rig.connection, lost);
    await rig.once();
    const old = (await rig.snapshot()).shards.get("0")?.incarnation;
    await restore();
    expect(await rig.once()).toMatchObject({ commits: 0, sequence: 0 });
    const { incarnation, sequence, number } = await watermarkOf(rig, "a") ?? {};
    expect({ sequence, number }).toEqual({ sequence: 0, number: 3 });
    expect(incarnation).not.toBe(old);
    // An agent that heard of it sends what it holds again: what was committed is a duplicate.
    await publishAll(rig.connection, [...lost, await agent.batch([numberedEvent(3)])]);
    await rig.once();
    expect(await rig.numbers()).toEqual([0, 1, 2, 3]);
  });

  test("a broker that lost its tail and filled its place is not touched until a person says so", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [0]);
    await rig.once();
    const restore = await keepBroker(rig);
    await publishNumbers(rig, agent, [1]);
    await rig.once();
    await restore();
    const other = createBatchAgent("b");
    await publishNumbers(rig, other, [100]);
    await publishNumbers(rig, other, [101]);
    await expect(rig.once()).rejects.toThrow(StreamMismatchError);
    await expect(rig.once()).rejects.toThrow("--accept-new-stream");
    expect(await rig.numbers()).toEqual([0, 1]);
    expect(await rig.once({ acceptNewStream: true })).toMatchObject({ commits: 0, sequence: 0 });
    const again = createBatchAgent("b");
    await publishNumbers(rig, again, [100]);
    await publishNumbers(rig, again, [101]);
    await rig.once();
    expect(await rig.numbers()).toEqual([0, 1, 100, 101]);
  });

  test("a bucket that was rolled back is not written until a person says so", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [0]);
    await rig.once();
    const restore = await keepBucket(rig);
    await publishNumbers(rig, agent, [1]);
    await rig.once();
    await restore();
    await expect(rig.once()).rejects.toThrow(/rolled back|older than what agent/);
    const running = await rig.open();
    await expect(running.run(new AbortController().signal)).rejects.toThrow(StreamMismatchError);
    await running[Symbol.asyncDispose]();
    await rig.once({ acceptNewStream: true });
    expect(await watermarkOf(rig, "a")).toMatchObject({ sequence: 0, number: 1 });
    await publishNumbers(rig, createBatchAgent("a", "e2"), [2]);
    await rig.once();
    expect(await rig.numbers()).toEqual([0, 2]);
  });

  test("an empty bucket beside a broker that knows of commits is not written until a person says so", async () => {
    await using rig = await openRollupRig();
    await publishNumbers(rig, createBatchAgent("a"), [0]);
    await rig.once();
    await using store = await openDirectoryStore({ directory: join(rig.folder, "other") });
    await expect(rig.once({ store })).rejects.toThrow("no commit of the shard");
    await rig.once({ store, acceptNewStream: true });
    expect(await watermarkOf(rig, "a")).toMatchObject({ sequence: 0, epoch: "e1", number: 0 });
    await publishNumbers(rig, createBatchAgent("a", "e2"), [1]);
    expect(await rig.once({ store })).toMatchObject({ commits: 1, rows: 1, sequence: 1 });
  });

  test("a broker that lost everything is a new beginning of the same record", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [0]);
    await rig.once();
    await rig.server.stop();
    await rig.server.wipe();
    await rig.server.start();
    await until(() => isConnected(rig));
    expect(await rig.once()).toMatchObject({ commits: 0, sequence: 0 });
    await publishNumbers(rig, agent, [1]);
    await rig.once();
    expect(await rig.numbers()).toEqual([0, 1]);
  });
});
