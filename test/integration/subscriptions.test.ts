import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { streamOf } from "../../src/event/wire.ts";
import { openStream } from "../../src/runtime/nats.ts";
import { type BatchAgent, createBatchAgent } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  openQueryRig,
  QUERY_TOKEN,
  type QueryRig,
  type RunningQuery,
} from "../support/query-rig.ts";
import { publishNumbers, range, until } from "../support/rollup-rig.ts";
import { createSubscriber, type Subscriber } from "../support/subscriber.ts";

const authorization = `Bearer ${QUERY_TOKEN}`;

function subscriberOf({ service }: RunningQuery, name?: string): Subscriber {
  return createSubscriber(
    (path, init = {}) =>
      service.fetch(
        new Request(`http://localhost${path}`, {
          ...init,
          headers: { ...Object.fromEntries(new Headers(init.headers)), authorization },
        }),
      ),
    name,
  );
}

describe.runIf(canRunNats())("a subscription", () => {
  let rigs: QueryRig;
  let agent: BatchAgent;
  let published = 0;

  /** Publishes so many further numbers as one message. */
  const publish = async (count = 10): Promise<void> => {
    await publishNumbers(rigs.rig, agent, range(published, published + count));
    published += count;
  };

  beforeEach(async () => {
    rigs = await openQueryRig();
    agent = createBatchAgent("a");
    published = 0;
  });
  afterEach(() => rigs[Symbol.asyncDispose]());

  test("begins now, gives each event once and in order, and says how far it is", async () => {
    await publish();
    await using query = await rigs.start();
    await query.found(10);
    const subscriber = subscriberOf(query);
    expect((await subscriber.put()).status).toBe(201);
    expect(await subscriber.block()).toEqual({ numbers: [], gaps: [] });
    await publish();
    await rigs.rig.once();
    await publish();
    await query.found(30);
    expect((await subscriber.show()).lag.messages).toBeGreaterThanOrEqual(2);
    expect(await subscriber.block("limit=15")).toEqual({ numbers: range(10, 25), gaps: [] });
    expect(await subscriber.block()).toEqual({ numbers: range(25, 30), gaps: [] });
    expect(await subscriber.block()).toEqual({ numbers: [], gaps: [] });
    expect(await subscriber.show()).toMatchObject({ state: "idle", delivered: 20, skipped: 0 });
    expect((await subscriber.put()).status).toBe(200);
  });

  test("begins in the past, and keeps its filter and its place when its reader comes daily", async () => {
    for (let day = 0; day < 4; day++) await publish();
    await rigs.rig.once();
    for (let day = 0; day < 2; day++) await publish();
    await using query = await rigs.start();
    await query.found(60);
    const subscriber = subscriberOf(query);
    await subscriber.put("since=2026-06-15&topic=app&pid=<45");
    expect(await subscriber.lines()).toEqual({ numbers: range(0, 45), gaps: [] });
    await publish(3);
    await query.found(63);
    expect(await subscriber.lines()).toEqual({ numbers: [], gaps: [] });
    await subscriber.put("topic=app/test");
    await publish(2);
    await query.found(65);
    expect(await subscriber.lines()).toEqual({ numbers: range(63, 65), gaps: [] });
  });

  test("is followed live by one reader, who is told when another takes over", async () => {
    await publish();
    await using query = await rigs.start();
    await query.found(10);
    const subscriber = subscriberOf(query);
    await subscriber.put("since=2026-06-15&topic=app/test");
    const reader = await subscriber.live();
    await until(() => Promise.resolve(reader.numbers.length >= 10));
    await publish();
    await until(() => Promise.resolve(reader.numbers.length >= 20));
    expect((await subscriber.show()).state).toBe("reading");
    await expect(subscriber.block()).rejects.toThrow("409");
    await expect(subscriber.live()).rejects.toThrow("409");
    await expect(subscriber.lines()).rejects.toThrow("409");
    await subscriber.skip("to=now");
    await publish();
    await until(() => Promise.resolve(reader.numbers.length >= 30));
    const second = await subscriber.lines("take_over=true&wait=1s");
    await publish();
    await reader.ended;
    expect(reader.numbers).toEqual(range(0, 30));
    expect(second.numbers.every((number) => number >= 30)).toBe(true);
    const rest = await subscriber.lines();
    expect([...second.numbers, ...rest.numbers]).toEqual(range(30, 40));
  });

  test("waits for a first event as long as it is told", async () => {
    await using query = await rigs.start();
    const subscriber = subscriberOf(query);
    await subscriber.put();
    const startedMs = performance.now();
    expect((await subscriber.block("wait=300ms")).numbers).toEqual([]);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(290);
    const waiting = subscriber.block("wait=60s");
    await delay(100);
    await publish();
    expect((await waiting).numbers).toEqual(range(0, 10));
  });

  test("reads on from the archive, without a seam, after the log was purged and both were restarted", async () => {
    await publish();
    await publish();
    await rigs.rig.once();
    {
      await using query = await rigs.start();
      await query.found(20);
      const subscriber = subscriberOf(query);
      await subscriber.put("since=2026-06-15&topic=app/test");
      expect((await subscriber.block("limit=5")).numbers).toEqual(range(0, 5));
    }
    for (let round = 0; round < 3; round++) {
      await publish();
      await rigs.rig.once();
    }
    await publish();
    // Only the message at the commit and what came after it is left.
    const stream = await openStream(rigs.rig.connection, streamOf("0"));
    expect(stream?.messages).toBe(2);
    await using query = await rigs.start();
    const subscriber = subscriberOf(query);
    await query.found(60);
    expect((await subscriber.block("limit=20")).numbers).toEqual(range(5, 25));
    const reader = await subscriber.live();
    await until(() => Promise.resolve(reader.numbers.length >= 35));
    await publish();
    await rigs.rig.once();
    await publish();
    await until(() => Promise.resolve(reader.numbers.length >= 55));
    await reader.leave();
    expect(reader.numbers).toEqual(range(25, 80));
    expect(reader.gaps).toEqual([]);
  });

  test(
    "gives nothing twice when readers and service go away at any time, and names what may be lost",
    async () => {
      const seen: number[] = [];
      let uncertain = 0;
      let isDone = false;
      const publishing = (async () => {
        while (!isDone) {
          await publish(20);
          await delay(10);
        }
      })();
      const rolling = (async () => {
        while (!isDone) {
          await delay(400);
          await rigs.rig.once();
        }
      })();
      {
        await using query = await rigs.start();
        await subscriberOf(query).put("since=2026-06-15&topic=app/test");
      }
      for (let turn = 0; turn < 6; turn++) {
        await using query = await rigs.start();
        for (let visit = 0; visit < 3; visit++) {
          const reader = await subscriberOf(query).live();
          await delay(50 + 100 * Math.random());
          await reader.leave();
          // The service hears of it, and the turn ends.
          await until(async () => (await subscriberOf(query).show()).state === "idle");
          seen.push(...reader.numbers);
          for (const { count } of reader.gaps) uncertain += count ?? 0;
        }
      }
      isDone = true;
      await Promise.all([publishing, rolling]);
      await using query = await rigs.start();
      await query.found(published);
      const rest = await subscriberOf(query).lines();
      for (const { count } of rest.gaps) uncertain += count ?? 0;
      seen.push(...rest.numbers);
      expect(seen).toEqual(seen.toSorted((a, b) => a - b));
      expect(new Set(seen).size).toBe(seen.length);
      expect(published - seen.length).toBeLessThanOrEqual(uncertain);
    },
    120_000,
  );

  test("goes forward without reading: to the present, to a time, to an event, by a number", async () => {
    for (let at = 0; at < 6; at++) await publish();
    await rigs.rig.once();
    await publish();
    await using query = await rigs.start();
    const events = await query.found(70);
    const subscriber = subscriberOf(query);
    await subscriber.put("since=2026-06-15&topic=app/test");
    expect(await subscriber.skip("events=5")).toMatchObject({ count: 5, from: events[0]?.id });
    expect((await subscriber.block("limit=5")).numbers).toEqual(range(5, 10));
    expect(await subscriber.skip(`to=${events[14]?.id}`)).toMatchObject({ count: 5 });
    expect(await subscriber.skip(`to=${events[3]?.id}`)).toMatchObject({ count: 0 });
    expect((await subscriber.block("limit=5")).numbers).toEqual(range(15, 20));
    expect(await subscriber.skip("to=2026-06-15T13:00:00Z")).toMatchObject({ count: 50 });
    expect((await subscriber.block()).numbers).toEqual([]);
    await publish();
    await query.found(80);
    expect(await subscriber.skip()).toMatchObject({ count: 10, to: expect.any(String) });
    expect(await subscriber.show()).toMatchObject({ delivered: 10, skipped: 70 });
  });

  test("that is too far behind goes on at the present, with a gap, if that is its policy", async () => {
    await publish();
    await rigs.rig.once();
    await publish();
    await using query = await rigs.start();
    const events = await query.found(20);
    const [slow, patient] = [subscriberOf(query, "slow"), subscriberOf(query, "patient")];
    await slow.put("since=2026-06-15&topic=app/test&when_behind=skip&lag_max=1s");
    await patient.put("since=2026-06-15&topic=app/test&lag_max=1s");
    await delay(1_100);
    expect(await slow.lines()).toMatchObject({
      numbers: [],
      gaps: [{ count: 20, from: events[0]?.id, to: events[19]?.id }],
    });
    expect((await patient.show()).state).toBe("paused");
    expect((await patient.lines()).numbers).toEqual(range(0, 20));
    expect((await patient.show()).state).toBe("idle");
    expect(await slow.show()).toMatchObject({ skipped: 20, delivered: 0 });
  });
});
