import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { incarnationOf, WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import { streamOf } from "../../src/event/wire.ts";
import { createSubscriptionReaders } from "../../src/pipeline/subscription-readers.ts";
import type { LogReaders } from "../../src/pipeline/truncation.ts";
import { truncateLog } from "../../src/pipeline/truncation.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { deleteStream, openStream, readMessage } from "../../src/runtime/nats.ts";
import { sequenceAt } from "../../src/runtime/stream-reader.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createSubscriptionRegistry, type Subscription } from "../../src/storage/subscription.ts";
import { createBatchAgent } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  makeStream,
  openRollupRig,
  publishNumbers,
  quietLog,
  range,
  type RollupRig,
  until,
} from "../support/rollup-rig.ts";

const STREAM = streamOf("0");

async function held(rig: RollupRig): Promise<readonly number[]> {
  const status = await openStream(rig.connection, STREAM);
  return [status?.firstSequence ?? 0, status?.lastSequence ?? 0];
}

/** Publishes messages of one event each. */
async function publish(rig: RollupRig, agent: string, numbers: readonly number[]): Promise<void> {
  const batches = createBatchAgent(agent);
  for (const number of numbers) await publishNumbers(rig, batches, [number]);
}

/** A subscription that has read the messages up to a sequence. */
function subscriptionAt(incarnation: string, sequence: number): Subscription {
  const nowUs = Date.now() * 1000;
  return {
    id: "1",
    owner: "test",
    createdUs: nowUs,
    filters: {},
    filterTime: { nowUs, bootUs: nowUs },
    sinceUs: undefined,
    policy: { whenBehind: "pause", lagMaxMs: 3_600_000, expireMs: 3_600_000 },
    place: {
      streams: { [incarnation]: { sequence, idx: WHOLE_MESSAGE } },
      reached: {},
      knownUs: nowUs,
      reachedUs: nowUs,
    },
    reader: undefined,
    reserved: undefined,
    lastId: undefined,
    ahead: {},
    seenUs: nowUs,
    delivered: 0,
    skipped: 0,
  };
}

describe.runIf(canRunNats())("the log after a commit", () => {
  test("keeps the committed message, and loses all before it", async () => {
    await using rig = await openRollupRig();
    await publish(rig, "a", range(0, 5));
    await rig.once();
    expect(await held(rig)).toEqual([5, 5]);
  });

  test("keeps what is younger than it must be, and loses it when its time is over", async () => {
    await using rig = await openRollupRig();
    await publish(rig, "a", range(0, 5));
    await rig.once({ truncation: { keepMs: 3_600_000 } });
    expect(await held(rig)).toEqual([1, 5]);
    await delay(300);
    await publish(rig, "b", range(5, 8));
    const young = await readMessage(rig.connection, { stream: STREAM, sequence: 6 });
    // As if it were a second after the sixth message, less a tenth: only that one and those after it are younger.
    const nowUs = (young?.storedAtUs ?? 0) + 900_000;
    const clock = { ...systemClock, nowUs: () => nowUs };
    await rig.once({ truncation: { keepMs: 1_000 }, clock });
    expect(await held(rig)).toEqual([6, 8]);
    expect(await rig.numbers()).toEqual(range(0, 8));
  });

  test("keeps what another reader still needs, until it has read it", async () => {
    await using rig = await openRollupRig();
    let needed: number | undefined = 3;
    const asked: unknown[] = [];
    const readers: LogReaders = {
      lowestNeeded: (stream) => {
        asked.push(stream);
        return Promise.resolve(needed);
      },
    };
    await publish(rig, "a", range(0, 5));
    await rig.once({ truncation: { keepMs: 0, readers } });
    expect(await held(rig)).toEqual([3, 5]);
    const incarnation = (await rig.snapshot()).shards.get("0")?.incarnation;
    expect(asked).toEqual([{ shard: "0", incarnation, lastSequence: 5 }]);
    needed = undefined;
    await publish(rig, "b", [5]);
    await rig.once({ truncation: { keepMs: 0, readers } });
    expect(await held(rig)).toEqual([6, 6]);
  });

  test("keeps what a subscription has not read, unless it is too far behind", async () => {
    await using rig = await openRollupRig();
    const status = await openStream(rig.connection, STREAM);
    const incarnation = incarnationOf(STREAM, status?.created ?? "");
    const registry = createSubscriptionRegistry({ store: rig.store });
    const made = await registry.create("slow", subscriptionAt(incarnation, 2));
    if (made === undefined) throw new Error("not made");
    const truncation = () => ({
      keepMs: 0,
      readers: createSubscriptionReaders({ store: rig.store, clock: systemClock, log: quietLog }),
    });
    await publish(rig, "a", range(0, 5));
    await rig.once({ truncation: truncation() });
    expect(await held(rig)).toEqual([3, 5]);
    const behind = { ...made.value.policy, lagMaxMs: 1 };
    const old = { ...made.value, policy: behind, place: { ...made.value.place, reachedUs: 1 } };
    await registry.replace(made, old);
    await publish(rig, "b", [5]);
    await rig.once({ truncation: truncation() });
    expect(await held(rig)).toEqual([6, 6]);
  });

  test("stays as it is while nobody can say what is needed; the commit stands", async () => {
    await using rig = await openRollupRig();
    const readers: LogReaders = { lowestNeeded: () => Promise.reject(new Error("away")) };
    await publish(rig, "a", range(0, 3));
    await rig.once({ truncation: { keepMs: 0, readers } });
    expect(await held(rig)).toEqual([1, 3]);
    expect(await rig.numbers()).toEqual(range(0, 3));
  });

  test("is not truncated at a sequence that was of another stream of its name", async () => {
    await using rig = await openRollupRig();
    const before = await openStream(rig.connection, STREAM);
    await deleteStream(rig.connection, STREAM);
    await makeStream(rig.connection);
    await publish(rig, "a", range(0, 5));
    const { connection } = rig;
    const place = { connection, shard: "0", incarnation: "", nowUs: Date.now() * 1000 };
    const policy = { keepMs: 0 };
    const created = before?.created ?? "";
    expect(await truncateLog({ ...place, policy, created, committedSequence: 4 })).toBeUndefined();
    expect(await held(rig)).toEqual([1, 5]);
  });

  test("has a first sequence for every time", async () => {
    await using rig = await openRollupRig();
    await publish(rig, "a", [0, 1]);
    await delay(50);
    await publish(rig, "b", [2]);
    const { connection } = rig;
    const at = (timeUs: number) => sequenceAt(connection, { stream: STREAM, timeUs });
    const third = await readMessage(connection, { stream: STREAM, sequence: 3 });
    expect(await at(0)).toBe(1);
    expect(await at((third?.storedAtUs ?? 0) - 20_000)).toBe(3);
    expect(await at((third?.storedAtUs ?? 0) + 1_000_000)).toBe(4);
  });
});

describe.runIf(canRunNats())("the lag", () => {
  test("is told while the bucket is away, although nothing can be read on", async () => {
    await using rig = await openRollupRig();
    await publish(rig, "a", range(0, 4));
    const metrics = createMetrics();
    const store = new Proxy(rig.store, {
      get(target, name) {
        if (name === "get") return () => Promise.reject(new Error("away"));
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    await using rollup = await rig.open({ metrics, store });
    const stop = new AbortController();
    const running = rollup.run(stop.signal);
    const figure = async (name: string): Promise<number> =>
      Number(new RegExp(`^${name}\\{shard="0"\\} (.*)$`, "m").exec(await metrics.text())?.[1]);
    await until(async () => await figure("probity_rollup_lag_messages") === 4);
    await delay(1_100);
    expect(await figure("probity_rollup_lag_seconds")).toBeGreaterThan(1);
    stop.abort();
    await running;
  });
});
