/** The query service behind a real HTTP server: slow and leaving clients, on real sockets. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { createBatchAgent, NOON_US, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openQueryRig, QUERY_TOKEN, type RunningQuery } from "../support/query-rig.ts";
import { range, until } from "../support/rollup-rig.ts";

const serve = (running: RunningQuery) =>
  openHttpServer({
    fetch: running.service.fetch,
    address: { host: "127.0.0.1", port: 0 },
    tls: undefined,
  });

/** A request on a socket of its own, whose answer is read only when asked for. */
async function openRequest(url: string, path: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, "connect");
  socket.pause();
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer ${QUERY_TOKEN}\r\n` +
      "Accept: text/event-stream, application/x-ndjson\r\n\r\n",
  );
  return socket;
}

async function figure(running: RunningQuery, name: string): Promise<number> {
  const text = await (await running.ask("/metrics")).text();
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
}

describe.runIf(canRunNats())("on real sockets", () => {
  test("a slow live client is told what it missed, and a fast one misses nothing", async () => {
    await using query = await openQueryRig();
    await using running = await query.start();
    await using server = await serve(running);
    const agent = createBatchAgent("a");
    const slow = await openRequest(server.url, "/v1/tail?topic=app/test");
    let fastEvents = 0;
    const end = new AbortController();
    const reading = (async () => {
      const { signal } = end;
      for await (const { kind } of running.client.tail({ topic: "app/test" }, { signal })) {
        if (kind === "event") fastEvents += 1;
      }
    })();
    await until(async () => await figure(running, "probity_tail_clients") === 2);
    const filler = "x".repeat(4_000);
    const total = 12_000;
    for (let first = 0; first < total; first += 200) {
      const events = range(first, first + 200).map((pid) => ({
        ...{ timeUs: NOON_US, topic: "app/test", severity: "info" as const, pid },
        // Not the same text again and again, which would compress to nothing.
        message: `${pid}${filler}`,
      }));
      await publishAll(query.rig.connection, [await agent.batch(events)]);
    }
    await until(() => Promise.resolve(fastEvents === total), 60_000);
    end.abort();
    await reading;

    let text = "";
    slow.setEncoding("utf8");
    slow.on("data", (chunk: string) => text += chunk);
    slow.resume();
    await until(() => Promise.resolve(/event: gap\n.*\ndata: .*\n\n/.test(text)), 60_000);
    const gap = JSON.parse(/event: gap\n.*\ndata: (.*)\n\n/.exec(text)?.[1] ?? "{}");
    const before = text.slice(0, text.indexOf("event: gap")).split("event: audit").length - 1;
    expect(gap.count).toBe(total - before);
    expect(gap.to).toHaveLength(1);
    expect(before).toBeGreaterThan(100);
    // The notice leads to what was left out, and to no more of it than the rest of a batch.
    const given = [...text.slice(0, text.indexOf("event: gap")).matchAll(/"pid":(\d+)/g)]
      .map(([, pid]) => Number(pid));
    const missed: number[] = [];
    for (const address of gap.searches) {
      const answer = await running.ask(address, { accept: "application/x-ndjson" });
      for (const line of (await answer.text()).split("\n").slice(0, -1)) {
        missed.push(JSON.parse(line).pid);
      }
    }
    expect(missed.length).toBeLessThan(gap.count + 200);
    expect([...new Set([...given, ...missed])].toSorted((a, b) => a - b)).toEqual(range(0, total));
    slow.destroy();
    await until(async () => await figure(running, "probity_tail_clients") === 0);
  }, 180_000);

  test("a client that leaves an endless answer ends its query", async () => {
    await using query = await openQueryRig();
    await using running = await query.start();
    await using server = await serve(running);
    const agent = createBatchAgent("a");
    const message = "y".repeat(4_000);
    for (let first = 0; first < 10_000; first += 500) {
      const events = range(first, first + 500).map((pid) => ({
        ...{ timeUs: NOON_US + pid, topic: "app/test", severity: "info" as const, pid, message },
      }));
      await publishAll(query.rig.connection, [await agent.batch(events)]);
    }
    await running.found(10_000);
    const path = "/v1/events?from=2026-06-15&to=2026-06-16&topic=app/test";
    const sockets = await Promise.all(range(0, 6).map(() => openRequest(server.url, path)));
    await until(async () => await figure(running, "probity_event_streams") === 6);
    // Those that are stuck do not keep others from their answers.
    const startedMs = performance.now();
    expect((await running.client.page({ from: "2026-06-15", to: "2026-06-16" })).events.length)
      .toBe(100);
    expect(performance.now() - startedMs).toBeLessThan(30_000);
    for (const socket of sockets) socket.destroy();
    await until(async () => await figure(running, "probity_event_streams") === 0);
  }, 180_000);
});
