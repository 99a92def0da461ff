import { readdir } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { streamOf } from "../../src/event/wire.ts";
import { deleteStream, openStream } from "../../src/runtime/nats.ts";
import { deltaLogKey } from "../../src/storage/layout.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { mountTmpfs, unmount } from "../support/mounts.ts";
import { canRunNats } from "../support/nats-server.ts";
import { requireCapability } from "../support/require.ts";
import {
  isConnected,
  makeStream,
  openRollupRig,
  publishNumbers,
  range,
  until,
  watermarkOf,
} from "../support/rollup-rig.ts";
import { unreliable } from "../support/unreliable-store.ts";

const canMount = requireCapability("root", process.getuid?.() === 0, "mounts need root");

describe.runIf(canRunNats())("a running roll-up", () => {
  test("commits at its interval, and ends when it is told to", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await using rollup = await rig.open({ intervalMs: 200 });
    const stop = new AbortController();
    const startedMs = performance.now();
    const running = rollup.run(stop.signal);
    for (const number of range(0, 20)) {
      await publishNumbers(rig, agent, [number]);
      await delay(50);
    }
    await until(async () => (await rig.numbers()).length === 20);
    stop.abort();
    await running;
    const rounds = (performance.now() - startedMs) / 200;
    expect(await rig.numbers()).toEqual(range(0, 20));
    const { version } = await rig.snapshot();
    expect(version).toBeGreaterThan(1);
    // Not one for each message, however long it took to send them.
    expect(version).toBeLessThan(rounds + 4);
  });

  test("tells of its start and stop, and makes no commit because of a commit", async () => {
    await using rig = await openRollupRig();
    const directory = join(rig.folder, "spool");
    const producer = { directory, host: "machine", version: "1.2.3" };
    {
      await using rollup = await rig.open({ intervalMs: 50, producer });
      const stop = new AbortController();
      const running = rollup.run(stop.signal);
      await until(async () => (await rig.snapshot()).shards.has("0"));
      await delay(1_500);
      expect((await rig.snapshot()).version).toBe(1);
      stop.abort();
      await running;
    }
    await rig.once();
    const events = await rig.query("SELECT topic, host, service, detail FROM events ORDER BY id");
    expect(events.map(({ topic }) => topic)).toEqual(["agent/start", "agent/stop"]);
    expect(events[1]).toMatchObject({ host: "machine", service: "probity-rollup" });
    expect(JSON.parse(String(events[1]?.detail)))
      .toMatchObject({
        version: "1.2.3",
        shard: "0",
        counters: { commits: 1, messages: 1, rows: 1 },
      });
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

  test("truncates nothing of a stream that was made again while it committed", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (const number of [0, 1, 2]) await publishNumbers(rig, agent, [number]);
    const store = unreliable(rig.store);
    let isMadeAgain = false;
    store.beforePut = async (key) => {
      if (key !== deltaLogKey(1) || isMadeAgain) return;
      isMadeAgain = true;
      await deleteStream(rig.connection, streamOf("0"));
      await makeStream(rig.connection);
      for (const number of [3, 4, 5]) await publishNumbers(rig, agent, [number]);
    };
    await rig.once({ store });
    expect(await rig.numbers()).toEqual([0, 1, 2, 3, 4, 5]);
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
        unmount(evidence);
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
