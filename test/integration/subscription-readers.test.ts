import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { createClient } from "../../src/client/client.ts";
import { EXPIRY_INTERVAL_MS } from "../../src/query/subscriptions/subscriptions.ts";
import { type Clock, systemClock } from "../../src/runtime/clock.ts";
import { createSubscriptionRegistry } from "../../src/storage/subscription.ts";
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
const ALL = "since=2026-06-15&topic=app/test";
const DAY_MS = 86_400_000;

function subscriberOf({ service }: RunningQuery, name: string): Subscriber {
  return createSubscriber((path, init = {}) => {
    const headers = { ...Object.fromEntries(new Headers(init.headers)), authorization };
    return service.fetch(new Request(`http://localhost${path}`, { ...init, headers }));
  }, name);
}

/** A live reader that asks, and then takes nothing of the answer. */
async function openDeadReader(url: string, path: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.pause();
  await once(socket, "connect");
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: ${authorization}\r\n` +
      "Accept: text/event-stream\r\n\r\n",
  );
  return socket;
}

describe.runIf(canRunNats())("readers of subscriptions", () => {
  let rigs: QueryRig;
  let agent: BatchAgent;
  let published = 0;
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

  test(
    "that take nothing are in nobody's way, and what they were sent is named to the next",
    async () => {
      // What a reader took some seconds ago counts as received, although it may lie in the sockets' buffers: none of it
      // does here, however long all of this takes.
      const clock: Clock = {
        nowUs: () => systemClock.nowUs(),
        elapsedMs: () => systemClock.elapsedMs() / 1_000,
        sleep: (ms, signal) => systemClock.sleep(ms, signal),
      };
      await using query = await rigs.start({ clock });
      await using server = await openHttpServer({
        fetch: query.service.fetch,
        address: { host: "127.0.0.1", port: 0 },
        tls: undefined,
      });
      const over = (name: string) =>
        createSubscriber((path, init = {}) => {
          const headers = { ...Object.fromEntries(new Headers(init.headers)), authorization };
          return fetch(`${server.url}${path}`, { ...init, headers });
        }, name);
      const [dead, quick] = [over("dead"), over("quick")];
      await dead.put(ALL);
      await quick.put(ALL);
      const sockets = [await openDeadReader(server.url, "/v1/subscriptions/dead/events")];
      await until(async () => (await dead.show()).state === "reading");
      const reader = await quick.live();
      const following = new AbortController();
      const client = createClient({ url: server.url, token: QUERY_TOKEN });
      let followed = 0;
      const tailing = (async () => {
        const tail = client.tail({ topic: "app/test", since: "2026-06-15" }, {
          signal: following.signal,
        });
        for await (const { kind } of tail) if (kind === "event") followed += 1;
      })();
      // More than the sockets' buffers and a queue hold.
      const count = 60;
      for (let batch = 0; batch < count; batch++) await publish(1_000);
      await until(() => Promise.resolve(reader.numbers.length >= count * 1_000), 60_000);
      await until(() => Promise.resolve(followed >= count * 1_000), 60_000);
      expect(reader.numbers).toEqual(range(0, count * 1_000));
      expect(reader.gaps).toEqual([]);
      const { delivered } = await dead.show();
      expect(delivered).toBeLessThan(count * 1_000);
      await reader.leave();
      following.abort();
      await tailing;
      sockets.forEach((socket) => socket.destroy());
      await until(async () => (await dead.show()).state === "idle");
      const rest = await dead.lines();
      expect(rest.numbers).toEqual(range(delivered, count * 1_000));
      expect(rest.gaps).toMatchObject([{ count: delivered }]);
    },
    180_000,
  );

  test("that come daily get each event exactly once, whatever was committed by then", async () => {
    let days = 0;
    const clock: Clock = {
      nowUs: () => systemClock.nowUs() + days * DAY_MS * 1_000,
      elapsedMs: () => systemClock.elapsedMs(),
      sleep: (ms, signal) => systemClock.sleep(ms, signal),
    };
    const seen: number[] = [];
    {
      await using query = await rigs.start({ clock });
      await subscriberOf(query, "daily").put(`${ALL}&lag_max=2d`);
    }
    for (days = 1; days <= 8; days++) {
      await using query = await rigs.start({ clock });
      for (let commit = 0; commit < 3; commit++) {
        await publish(7);
        await rigs.rig.once();
      }
      await publish(5);
      await query.found(published);
      const daily = subscriberOf(query, "daily");
      const day = await daily.lines();
      expect(day.gaps).toEqual([]);
      seen.push(...day.numbers);
      // Until the end of the day it may come again, and more is committed.
      if (days % 2 === 0) await rigs.rig.once();
      if (days % 3 === 0) expect((await daily.lines()).numbers).toEqual([]);
      expect(await daily.show()).toMatchObject({ state: "idle", delivered: published });
    }
    expect(seen).toEqual(range(0, published));
    expect(published).toBe(8 * 26);
  }, 120_000);

  test("that never come lose their subscription, and no others", async () => {
    let aheadMs = 0;
    const clock: Clock = {
      nowUs: () => systemClock.nowUs() + aheadMs * 1_000,
      elapsedMs: () => systemClock.elapsedMs(),
      sleep: (ms, signal) => systemClock.sleep(ms === EXPIRY_INTERVAL_MS ? 100 : ms, signal),
    };
    await using query = await rigs.start({ clock });
    const [left, polled, live, patient] = ["left", "polled", "live", "patient"].map((name) =>
      subscriberOf(query, name)
    );
    const names = async (): Promise<readonly string[]> => {
      const { subscriptions } = await (await query.ask("/v1/subscriptions")).json();
      return subscriptions.map(({ name }: { readonly name: string }) => name);
    };
    for (const each of [left, polled, live]) await each?.put(`${ALL}&expire=2s`);
    await patient?.put(`${ALL}&expire=1d`);
    // A clock that is wrong removes nothing.
    aheadMs = 400 * DAY_MS;
    await delay(500);
    expect(await names()).toEqual(["left", "live", "patient", "polled"]);
    aheadMs = 0;
    const reader = await live?.live();
    const seen: number[] = [];
    await until(async () => {
      await publish();
      await delay(300);
      seen.push(...(await polled?.lines())?.numbers ?? []);
      return !(await names()).includes("left");
    });
    await publish();
    await query.found(published);
    expect(await names()).toEqual(["live", "patient", "polled"]);
    seen.push(...(await polled?.lines())?.numbers ?? []);
    expect(seen).toEqual(range(0, published));
    await until(() => Promise.resolve(reader?.numbers.length === published));
    await reader?.leave();
    await expect(left?.lines()).rejects.toThrow("404");
    await until(async () => {
      const { events } = await (await query.ask("/v1/events?topic=audit/admin&from=1h")).json();
      return events.some(({ message }: { readonly message: string }) =>
        message.includes(`removed subscription "left"`)
      );
    });
  }, 60_000);

  test("keep their places through two services at once, one of them behind", async () => {
    await publish();
    await rigs.rig.once();
    await publish();
    await using first = await rigs.start();
    await using second = await rigs.start({
      producerDirectory: `${rigs.rig.folder}/second-spool`,
      cacheDirectory: `${rigs.rig.folder}/second-cache`,
    });
    const [one, two] = [subscriberOf(first, "both"), subscriberOf(second, "both")];
    await one.put(ALL);
    const seen: number[] = [];
    for (let round = 0; round < 6; round++) {
      await publish();
      if (round % 3 === 1) await rigs.rig.once();
      for (const each of round % 2 === 0 ? [one, two] : [two, one]) {
        const { numbers, gaps } = await each.block("limit=7");
        expect(gaps).toEqual([]);
        seen.push(...numbers);
      }
      // Of two that ask at once each gets something of its own, or is told that somebody reads.
      const both = await Promise.allSettled([one.block("limit=3"), two.block("limit=3")]);
      const given = both.flatMap((each) => each.status === "fulfilled" ? each.value.numbers : []);
      for (const each of both) {
        if (each.status === "rejected") expect(String(each.reason)).toContain("409");
      }
      seen.push(...given.toSorted((a, b) => a - b));
    }
    await second.found(published);
    seen.push(...(await two.lines()).numbers);
    expect(seen).toEqual(range(0, published));
    const registry = createSubscriptionRegistry({ store: rigs.rig.store });
    expect((await registry.get("both"))?.value).toMatchObject({
      reader: undefined,
      delivered: published,
    });
  }, 60_000);
});
