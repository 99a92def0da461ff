/** The live tail beside a real broker and roll-up: every event once, in order, through commits, restarts and new streams. */
import { describe, expect, test } from "vitest";
import type { Client } from "../../src/client/client.ts";
import type { TailItem } from "../../src/client/tail.ts";
import { streamOf } from "../../src/event/wire.ts";
import { deleteStream } from "../../src/runtime/nats.ts";
import { createBatchAgent, NOON_US, numberedEvent, publishAll } from "../support/batches.ts";
import type { RpcEndpoint } from "../../src/query/rpc/endpoint.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openQueryRig, QUERY_TOKEN, TEST_DAY } from "../support/query-rig.ts";
import { openRpcClient } from "../support/rpc-client.ts";
import { createSeededRandom } from "../support/seeded-random.ts";
import { makeStream, publishNumbers, range, until } from "../support/rollup-rig.ts";

interface Follower extends AsyncDisposable {
  readonly numbers: readonly number[];
  readonly items: readonly TailItem[];
  /** Place after the last event that was read. */
  readonly place: string;
  waitFor(count: number): Promise<void>;
}

/** Reads a tail in the background. */
function followTail(
  client: Client,
  query: Readonly<Record<string, string>> = {},
  after?: string,
): Follower {
  const end = new AbortController();
  const items: TailItem[] = [];
  const numbers: number[] = [];
  let place = after ?? "";
  const reading = (async () => {
    const options = { signal: end.signal, ...(after === undefined ? {} : { after }) };
    for await (const item of client.tail({ topic: "app/test", ...query }, options)) {
      items.push(item);
      if (item.kind === "event") numbers.push(Number(item.event.pid));
      if ("place" in item) place = item.place;
    }
  })();
  return {
    items,
    numbers,
    get place() {
      return place;
    },
    async waitFor(count) {
      await until(() => Promise.resolve(numbers.length >= count));
    },
    async [Symbol.asyncDispose]() {
      end.abort();
      await reading;
    },
  };
}

/** Numbers of the events that a client of JSON-RPC gets that goes on after its last place again and again. */
async function followWithCuts(rpc: RpcEndpoint, count: number): Promise<number[]> {
  const random = createSeededRandom(7);
  const numbers: number[] = [];
  let seek: unknown;
  while (numbers.length < count) {
    await using client = await openRpcClient(rpc, QUERY_TOKEN);
    const call = client.call("auditEventsGet", {
      ...{ paths: [["app", "test"]], awaitFutureEvents: true },
      ...(seek === undefined ? {} : { seek }),
    });
    await call.untilParts(Math.min(random.between(20, 200), count - numbers.length));
    await client.close();
    numbers.push(...call.parts.map(({ data }) => Number(Object(data).pid)));
    seek = call.parts.at(-1)?.["place"];
  }
  return numbers;
}

describe.runIf(canRunNats())("a live tail", () => {
  test("gives every event once and in order while roll-ups commit", async () => {
    await using query = await openQueryRig();
    await using running = await query.start();
    const agent = createBatchAgent("a");
    await publishNumbers(query.rig, agent, [0]);
    await running.found(1);
    await using all = followTail(running.client);
    await using late = followTail(running.client, { pid: ">=1000" });
    await until(async () => (await metric(running, "probity_tail_clients")) === 2);
    await using rpc = await openRpcClient(running.service.rpc, QUERY_TOKEN);
    const counted = rpc.call("auditMetricTail", { path: ["app", "test"] });
    let isDone = false;
    const committing = (async () => {
      while (!isDone) await query.rig.once();
    })();
    const cutting = followWithCuts(running.service.rpc, 2_001);
    for (let number = 1; number < 2_001; number += 40) {
      await publishNumbers(query.rig, agent, range(number, number + 40));
    }
    await all.waitFor(2_000);
    await late.waitFor(1_001);
    // Over JSON-RPC: from the first event on, each once, however often the connection is cut.
    expect(await cutting).toEqual(range(0, 2_001));
    const totals = () => counted.parts.map(({ data }) => Number(Object(data).total));
    await until(() => Promise.resolve(totals().at(-1) === 2_001));
    expect(totals()).toEqual(totals().toSorted((a, b) => a - b));
    expect(totals().length).toBeGreaterThan(1);
    isDone = true;
    await committing;
    expect(all.numbers).toEqual(range(1, 2_001));
    expect(late.numbers).toEqual(range(1_000, 2_001));
  });

  test("gives each of many clients what its own filter asks for while roll-ups commit", async () => {
    await using query = await openQueryRig();
    await using running = await query.start();
    const agent = createBatchAgent("a");
    await publishNumbers(query.rig, agent, [0]);
    await running.found(1);
    await using stack = new AsyncDisposableStack();
    const clients = range(1, 21).map((at) =>
      stack.use(followTail(running.client, { pid: `>=${at}00`, message: `*${at % 10}.` }))
    );
    await until(async () => (await metric(running, "probity_tail_clients")) === clients.length);
    for (let number = 1; number < 2_001; number += 40) {
      await publishNumbers(query.rig, agent, range(number, number + 40));
      if (number % 400 === 1) await query.rig.once();
    }
    const wanted = clients.map((_, at) =>
      range((at + 1) * 100, 2_001).filter((number) => number % 10 === (at + 1) % 10)
    );
    await Promise.all(clients.map((client, at) => client.waitFor(wanted[at]?.length ?? 0)));
    expect(clients.map(({ numbers }) => numbers)).toEqual(wanted);
    const last = { ...TEST_DAY, pid: "2000" };
    const live = clients.at(-1)?.items.flatMap((item) => item.kind === "event" ? [item.event] : []);
    expect(live?.slice(-1)).toEqual(await Array.fromAsync(running.client.events(last)));
  });

  test("goes on exactly where it was, across restarts of the service and roll-ups", async () => {
    await using query = await openQueryRig();
    const agent = createBatchAgent("a");
    const seen: number[] = [];
    let place: string | undefined;
    let published = 0;
    const publish = async (count: number) => {
      await publishNumbers(query.rig, agent, range(published, published += count));
    };
    for (let round = 0; round < 4; round++) {
      await using running = await query.start();
      if (round === 0) {
        await until(async () => (await running.ask("/readyz")).status === 200);
      }
      await using follower = followTail(running.client, {}, place);
      if (round === 0) {
        await until(async () => (await metric(running, "probity_tail_clients")) === 1);
      }
      await publish(30);
      if (round % 2 === 1) await query.rig.once();
      await follower.waitFor(published - seen.length);
      seen.push(...follower.numbers);
      place = follower.place;
      await follower[Symbol.asyncDispose]();
      // What comes while nobody follows, some of it in the archive by then.
      await publish(20);
      if (round % 2 === 0) await query.rig.once();
      await publish(5);
    }
    await using running = await query.start();
    await using follower = followTail(running.client, {}, place);
    await follower.waitFor(published - seen.length);
    seen.push(...follower.numbers);
    expect(seen).toEqual(range(0, published));
  });

  test("goes on in the middle of a batch", async () => {
    await using query = await openQueryRig();
    const agent = createBatchAgent("a");
    await using running = await query.start();
    await publishNumbers(query.rig, agent, range(0, 100));
    await running.found(100);
    const since = "2026-06-01T00:00:00Z";
    await using whole = followTail(running.client, { since });
    await whole.waitFor(100);
    const places = whole.items.flatMap((item) => item.kind === "event" ? [item.place] : []);
    for (const at of [0, 41, 98]) {
      await using follower = followTail(running.client, {}, places[at]);
      await follower.waitFor(99 - at);
      expect(follower.numbers).toEqual(range(at + 1, 100));
      await query.rig.once();
    }
  });

  test("begins in the past at a time or an event, without a seam to what comes", async () => {
    await using query = await openQueryRig();
    const agent = createBatchAgent("a");
    await using running = await query.start();
    const batchOf = async (numbers: readonly number[]) => {
      const events = numbers.map((each) => numberedEvent(each, NOON_US + each * 1_000_000));
      await publishAll(query.rig.connection, [await agent.batch(events)]);
    };
    await batchOf(range(0, 100));
    await query.rig.once();
    await batchOf(range(100, 200));
    const events = await running.found(200);
    const at = (number: number): string =>
      new Date((NOON_US + number * 1_000_000) / 1_000).toISOString();
    await using byTime = followTail(running.client, { since: at(50) });
    await using byArchived = followTail(running.client, { since: String(events[70]?.id) });
    await using byHot = followTail(running.client, { since: String(events[150]?.id) });
    await batchOf(range(200, 250));
    await query.rig.once();
    await batchOf(range(250, 300));
    await byTime.waitFor(250);
    await byArchived.waitFor(229);
    await byHot.waitFor(149);
    expect(byTime.numbers).toEqual(range(50, 300));
    expect(byArchived.numbers).toEqual(range(71, 300));
    expect(byHot.numbers).toEqual(range(151, 300));
  });

  test("reads a long backlog in order and then goes live", async () => {
    await using query = await openQueryRig();
    const agent = createBatchAgent("a");
    for (let number = 0; number < 24_000; number += 1_000) {
      await publishNumbers(query.rig, agent, range(number, number + 1_000));
      if (number % 6_000 === 5_000) await query.rig.once();
    }
    await using running = await query.start();
    await using follower = followTail(running.client, { since: "2026-06-15T00:00:00Z" });
    await follower.waitFor(1);
    await publishNumbers(query.rig, agent, range(24_000, 24_100));
    await follower.waitFor(24_100);
    expect(follower.numbers).toEqual(range(0, 24_100));
  });

  test("goes on in a stream that was made again", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await using running = await query.start();
    await publishNumbers(rig, agent, range(0, 20));
    await running.found(20);
    await using follower = followTail(running.client);
    await until(async () => (await metric(running, "probity_tail_clients")) === 1);
    await publishNumbers(rig, agent, range(20, 40));
    await follower.waitFor(20);
    await rig.once();
    await deleteStream(rig.connection, streamOf("0"));
    await makeStream(rig.connection);
    await publishNumbers(rig, agent, range(40, 60));
    await follower.waitFor(40);
    expect(follower.numbers).toEqual(range(20, 60));
    expect(
      (await running.found(60)).map(({ pid }) => pid).toSorted((a, b) => Number(a) - Number(b)),
    )
      .toEqual(range(0, 60));
    await rig.once({ acceptNewStream: true });
    await publishNumbers(rig, agent, range(60, 70));
    await follower.waitFor(50);
    expect(follower.numbers).toEqual(range(20, 70));
    await using later = followTail(running.client, {}, follower.place);
    await publishNumbers(rig, agent, range(70, 75));
    await later.waitFor(5);
    expect(later.numbers).toEqual(range(70, 75));
  });

  test("sends comments when nothing comes, and moves the client's place by them", async () => {
    await using query = await openQueryRig();
    const agent = createBatchAgent("a");
    await using running = await query.start({ heartbeatMs: 100 });
    await publishNumbers(query.rig, agent, range(0, 10));
    await running.found(10);
    const answer = await running.ask("/v1/tail?topic=nothing", { "last-event-id": "" });
    expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    await until(async () => {
      text += (await reader?.read())?.value ?? "";
      return text.split(": \n").length > 4;
    });
    expect(text).toMatch(/^retry: \d+\n\n/);
    expect(text).not.toContain("data:");
    const [first] = /id: (\S+)\n\n/.exec(text) ?? [];
    await publishNumbers(query.rig, agent, range(10, 20));
    await running.found(20);
    const before = text.length;
    await until(async () => {
      text += (await reader?.read())?.value ?? "";
      return text.slice(before).includes("id: ") && !text.endsWith(String(first));
    });
    await reader?.cancel();
    await until(async () => (await metric(running, "probity_tail_clients")) === 0);
  });

  test("ends cleanly when the service stops", async () => {
    await using query = await openQueryRig();
    const running = await query.start();
    const answer = await running.service.fetch(
      new Request("http://localhost/v1/tail", {
        headers: { authorization: `Bearer ${QUERY_TOKEN}` },
      }),
    );
    const text = answer.text();
    await running[Symbol.asyncDispose]();
    expect(await text).toContain(": the service is stopping\n\n");
  });
});

async function metric(
  running: { ask(path: string): Promise<Response> },
  name: string,
): Promise<number> {
  const text = await (await running.ask("/metrics")).text();
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
}
