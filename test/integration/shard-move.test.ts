import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { streamOf } from "../../src/event/wire.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import type { Producer } from "../../src/producer/producer.ts";
import { openStream } from "../../src/runtime/nats.ts";
import { numberedEvent } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  isConnected,
  makeStream,
  openRollupRig,
  quietLog,
  range,
  type RollupRig,
  until,
} from "../support/rollup-rig.ts";

/** Longer than the producer takes to publish a batch; so long nothing may come. */
const SILENCE_MS = 1_500;

function openAt(rig: RollupRig, shard: string): Promise<Producer> {
  return openProducer({
    directory: join(rig.folder, "spool"),
    host: "web-1",
    shard,
    nats: { url: rig.server.url },
    flushMs: 20,
    log: quietLog,
  });
}

async function emit(producer: Producer, numbers: readonly number[]): Promise<void> {
  const nowUs = Date.now() * 1000;
  for (const number of numbers) producer.emit(numberedEvent(number, nowUs));
  await producer.flush();
}

async function messagesOf(rig: RollupRig, shard: string): Promise<number> {
  return (await openStream(rig.connection, streamOf(shard)))?.lastSequence ?? 0;
}

/** Rolls a shard up until the spool is empty. */
async function settle(rig: RollupRig, producer: Producer, shard: string): Promise<void> {
  await until(async () => {
    await rig.once({ shard });
    return producer.counters().spoolBatches === 0;
  });
}

describe.runIf(canRunNats())("an agent that moves shard", () => {
  test("drains its epoch first, and nothing is lost, doubled or called missing, there and back", async () => {
    await using rig = await openRollupRig();
    await makeStream(rig.connection, "1");
    {
      await using producer = await openAt(rig, "0");
      await emit(producer, range(0, 10));
      await until(async () => await messagesOf(rig, "0") === 1);
    }
    {
      await using producer = await openAt(rig, "1");
      await emit(producer, range(10, 20));
      await delay(SILENCE_MS);
      // The record of the old shard has not got all of the old epoch yet.
      expect(await messagesOf(rig, "1")).toBe(0);
      await rig.once({ shard: "0" });
      await until(async () => await messagesOf(rig, "1") === 1);
      await settle(rig, producer, "1");
    }
    {
      await using producer = await openAt(rig, "0");
      await emit(producer, range(20, 30));
      await settle(rig, producer, "0");
    }
    expect(await rig.numbers()).toEqual(range(0, 30));
    expect(await rig.query("SELECT * FROM events WHERE topic = 'agent/gap'")).toEqual([]);
    expect(await rig.query("SELECT count(DISTINCT epoch) AS n FROM events")).toEqual([{ n: 3 }]);
  });

  test("twice, while the broker is away, drains one shard after the other", async () => {
    await using rig = await openRollupRig();
    await makeStream(rig.connection, "1");
    await rig.server.stop();
    for (const [at, shard] of ["0", "1", "0"].entries()) {
      await using producer = await openAt(rig, shard);
      await emit(producer, range(at * 10, at * 10 + 10));
    }
    await rig.server.start();
    await until(() => isConnected(rig));
    await using producer = await openAt(rig, "1");
    await until(async () => {
      for (const shard of ["0", "1"]) await rig.once({ shard });
      return producer.counters().spoolBatches === 0;
    });
    expect(await rig.numbers()).toEqual(range(0, 30));
    expect(await rig.query("SELECT * FROM events WHERE topic = 'agent/gap'")).toEqual([]);
  });
});
