/** What becomes of subscriptions when the service is killed, and when the broker loses what they were given. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseEventId } from "../../src/event/event-id.ts";
import {
  type BatchAgent,
  createBatchAgent,
  numberedEvent,
  publishAll,
  type SentMessage,
} from "../support/batches.ts";
import { MAIN_FILE } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  openQueryRig,
  QUERY_TOKEN,
  type QueryRig,
  type RunningQuery,
} from "../support/query-rig.ts";
import { isConnected, makeStream, publishNumbers, range, until } from "../support/rollup-rig.ts";
import { createSubscriber, type Gap, type Subscriber } from "../support/subscriber.ts";

const authorization = `Bearer ${QUERY_TOKEN}`;
const ALL = "since=2026-06-15&topic=app/test";

/** Whether a gap names an event; all are of one stream here. */
function isWithin(id: string, { from = id, to = id }: Gap): boolean {
  const order = (text: string): number => {
    const { sequence, idx } = parseEventId(text) ?? { sequence: Infinity, idx: 0 };
    return sequence * 1_000_000 + idx;
  };
  return order(from) <= order(id) && order(id) <= order(to);
}

describe.runIf(canRunNats())("a subscription outlives", () => {
  let rigs: QueryRig;
  beforeEach(async () => {
    rigs = await openQueryRig();
  });
  afterEach(() => rigs[Symbol.asyncDispose]());

  const subscriberOf = ({ service }: RunningQuery): Subscriber =>
    createSubscriber((path, init = {}) => {
      const headers = { ...Object.fromEntries(new Headers(init.headers)), authorization };
      return service.fetch(new Request(`http://localhost${path}`, { ...init, headers }));
    });

  /** A service as a process of its own, which can be killed. */
  async function openServe(data: string) {
    const { folder, server } = rigs.rig;
    const child = spawn(process.execPath, [
      ...[MAIN_FILE, "serve", "--json", "--quiet", "--listen", "127.0.0.1:0"],
      ...["--data", join(folder, data), "--token-file", join(folder, "token")],
      ...["--nats", server.url, "--store-url", pathToFileURL(join(folder, "bucket")).href],
    ], { stdio: ["ignore", "pipe", "ignore"], env: { PATH: process.env["PATH"] } });
    const closed = once(child, "close");
    const [line] = await once(createInterface({ input: child.stdout }), "line");
    const { url } = JSON.parse(String(line));
    return {
      subscriber: createSubscriber((path, init = {}) => {
        const headers = { ...Object.fromEntries(new Headers(init.headers)), authorization };
        return fetch(`${url}${path}`, { ...init, headers });
      }),
      async [Symbol.asyncDispose]() {
        child.kill("SIGKILL");
        await closed;
      },
    };
  }

  test(
    "a service that is killed again and again: nothing twice, and what may be lost is named",
    async () => {
      const agent = createBatchAgent("a");
      let published = 0;
      let isDone = false;
      const publishing = (async () => {
        while (!isDone) {
          await publishNumbers(rigs.rig, agent, range(published, published + 50));
          published += 50;
          await delay(10);
        }
      })();
      const rolling = (async () => {
        while (!isDone) {
          await delay(500);
          await rigs.rig.once();
        }
      })();
      const seen: number[] = [];
      const gaps: Gap[] = [];
      let lastId = "";
      for (let turn = 0; turn < 6; turn++) {
        await using serve = await openServe("serve");
        if (turn === 0) await serve.subscriber.put(ALL);
        const reader = await until(() => Promise.resolve(true)).then(() =>
          // The dead one's turn has not ended yet.
          serve.subscriber.live({ query: "take_over=true", ...(turn % 2 === 0 ? {} : { lastId }) })
        );
        await until(() => Promise.resolve(reader.numbers.length > 100));
        await delay(300 * Math.random());
        await serve[Symbol.asyncDispose]();
        await reader.ended;
        seen.push(...reader.numbers);
        lastId = reader.lastId;
        gaps.push(...reader.gaps);
      }
      isDone = true;
      await Promise.all([publishing, rolling]);
      await using query = await rigs.start();
      const events = await query.found(published);
      const rest = await subscriberOf(query).lines("take_over=true");
      seen.push(...rest.numbers);
      gaps.push(...rest.gaps);
      expect(seen).toEqual(seen.toSorted((a, b) => a - b));
      expect(new Set(seen).size).toBe(seen.length);
      const given = new Set(seen);
      const missing = events.filter(({ pid }) => !given.has(Number(pid)));
      expect(missing.filter(({ id }) => !gaps.some((gap) => isWithin(id, gap)))).toEqual([]);
      expect(seen.length).toBeGreaterThan(600);
    },
    180_000,
  );

  describe("a broker that loses what was given and not committed", () => {
    let [a, b, c]: BatchAgent[] = [];
    let copy: string;
    beforeEach(async () => {
      [a, b, c] = ["a", "b", "c"].map((name) => createBatchAgent(name));
      const { rig } = rigs;
      if (a !== undefined) await publishNumbers(rig, a, range(0, 10));
      await rig.once();
      await rig.server.stop();
      copy = join(rig.folder, "store-copy");
      await cp(rig.server.storeDirectory, copy, { recursive: true });
      await rig.server.start();
      await until(() => isConnected(rig));
    });

    const batchOf = async (from: BatchAgent | undefined, start: number): Promise<SentMessage> => {
      if (from === undefined) throw new Error("there is no agent");
      return await from.batch(range(start, start + 10).map((number) => numberedEvent(number)));
    };
    const send = (...batches: readonly SentMessage[]) => publishAll(rigs.rig.connection, batches);
    const lose = async (what: "tail" | "everything"): Promise<void> => {
      const { rig } = rigs;
      await rig.server.stop();
      await rig.server.wipe();
      if (what === "tail") await cp(copy, rig.server.storeDirectory, { recursive: true });
      await rig.server.start();
      await until(() => isConnected(rig));
      if (what === "everything") await makeStream(rig.connection);
    };

    test.each(["tail", "everything"] as const)("its %s: each event comes once", async (what) => {
      await using query = await rigs.start();
      const subscriber = subscriberOf(query);
      await subscriber.put(ALL);
      const [a2, b1, c1] = [await batchOf(a, 10), await batchOf(b, 100), await batchOf(c, 200)];
      await send(a2, b1);
      await query.found(30);
      expect((await subscriber.block()).numbers).toEqual([...range(0, 20), ...range(100, 110)]);
      await lose(what);
      // Sent again in another order, and somebody else came first.
      await send(c1, b1, a2);
      await rigs.rig.once({ acceptNewStream: true });
      await query.found(40);
      expect((await subscriber.lines()).numbers).toEqual(range(200, 210));
      await send(await batchOf(a, 20), await batchOf(b, 110));
      await query.found(60);
      expect((await subscriber.lines()).numbers).toEqual([...range(20, 30), ...range(110, 120)]);
      await rigs.rig.once();
      expect((await subscriber.lines()).numbers).toEqual([]);
      expect(await subscriber.show()).toMatchObject({ delivered: 60, skipped: 0 });
    }, 60_000);

    test.each(["tail", "everything"] as const)(
      "its %s: what was skipped stays skipped, and what is new comes",
      async (what) => {
        await using query = await rigs.start();
        const subscriber = subscriberOf(query);
        await subscriber.put(ALL);
        const [a2, b1, c1] = [await batchOf(a, 10), await batchOf(b, 100), await batchOf(c, 200)];
        await send(a2, b1);
        await query.found(30);
        expect(await subscriber.skip()).toMatchObject({ count: 30 });
        await lose(what);
        await send(c1, b1, a2);
        await rigs.rig.once({ acceptNewStream: true });
        await query.found(40);
        expect((await subscriber.lines()).numbers).toEqual(range(200, 210));
      },
      60_000,
    );
  });
});
