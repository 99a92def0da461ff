import { jetstreamManager } from "@nats-io/jetstream";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { streamOf } from "../../src/event/wire.ts";
import { StreamMismatchError } from "../../src/pipeline/stream-start.ts";
import { readMessage } from "../../src/runtime/nats.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  isConnected,
  openRollupRig,
  publishNumbers,
  range,
  type RollupRig,
  until,
  watermarkOf,
} from "../support/rollup-rig.ts";

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

  test("a copy of the stream that took its place doubles nothing, and what it lacks is sent again", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    const batches = await Promise.all(
      range(0, 7).map((each) => agent.batch([numberedEvent(each)])),
    );
    const { streams } = await jetstreamManager(rig.connection);
    const copied = async (name: string, count: number) => {
      await until(async () => (await streams.info(name)).state.messages === count);
    };
    await streams.add({ name: "COPY", sources: [{ name: streamOf("0") }] });
    await publishAll(rig.connection, batches.slice(0, 4));
    await copied("COPY", 4);
    await rig.once();
    await publishAll(rig.connection, batches.slice(4, 6));
    await copied("COPY", 6);
    // One that is in the table, and the last, which is not.
    for (const missing of [3, 6]) await streams.deleteMessage("COPY", missing);
    const { config: copy } = await streams.info("COPY");
    await streams.update("COPY", { ...copy, sources: [] });
    const { config } = await streams.info(streamOf("0"));
    await streams.delete(streamOf("0"));
    await streams.add({ ...config, sources: [{ name: "COPY" }] });
    await copied(streamOf("0"), 4);
    const first = await readMessage(rig.connection, { stream: streamOf("0"), sequence: 1 });
    expect(first?.headers.get("Nats-Stream-Source")).toContain("COPY");
    expect(await rig.once()).toMatchObject({ commits: 1, messages: 4, rows: 1 });
    expect(await rig.numbers()).toEqual([0, 1, 2, 3, 4]);
    expect(await watermarkOf(rig, "a")).toMatchObject({ number: 5, sequence: 4 });
    await publishAll(rig.connection, batches.slice(4));
    await rig.once();
    expect(await rig.numbers()).toEqual(range(0, 7));
    expect(await rig.query("SELECT count(*) AS n FROM events")).toEqual([{ n: 7 }]);
  });
});
