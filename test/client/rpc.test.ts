/** JSON-RPC of the client against the real service on a real port; connections are cut where they hurt. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";
import { webSocketsOf } from "../../src/cli/web-socket.ts";
import { createClient } from "../../src/client/client.ts";
import type { RpcClient } from "../../src/client/rpc.ts";
import type { RpcEventItem, RpcEventsQuery } from "../../src/client/rpc-events.ts";
import type { OpenWebSocket } from "../../src/client/rpc-link.ts";
import { PARTS_MAX } from "../../src/client/rpc-parts.ts";
import {
  METER,
  openQueryFixture,
  type QueryFixture,
  START_US,
  TOKEN,
} from "../support/query-fixture.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

/** More than wait for a slow caller. */
const MANY = PARTS_MAX + 500;
const ALL = MANY + 250;

let query: QueryFixture;
let server: HttpServer;

const listen = () =>
  openHttpServer({
    fetch: query.service.fetch,
    webSockets: webSocketsOf(query.service.rpc),
    address: { host: "127.0.0.1", port: 0 },
    tls: undefined,
  });

beforeAll(async () => {
  query = await openQueryFixture({
    events: Array.from({ length: MANY }, (_, at) => ({
      timeUs: START_US + 4_000_000 + at,
      topic: "app/many",
      severity: "info",
      message: `${at}`,
    })),
  });
  server = await listen();
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await query?.[Symbol.asyncDispose]();
});

/** A client, each of whose sockets is given to `watch`. */
function rpcOf(watch?: (socket: WebSocket) => void, token = TOKEN): RpcClient {
  const openWebSocket: OpenWebSocket = (url, protocols) => {
    const socket = new WebSocket(url, [...protocols]);
    watch?.(socket);
    return socket;
  };
  return createClient({ url: server.url, token, openWebSocket }).openRpc();
}

const idsOf = (items: readonly RpcEventItem[]): string[] =>
  items.flatMap((item) => item.kind === "event" ? [item.event.id] : []);

async function read(rpc: RpcClient, asked: RpcEventsQuery): Promise<string[]> {
  return idsOf(await Array.fromAsync(rpc.auditEventsGet(asked)));
}

describe("events", () => {
  test("are those of the paths, in either order, with their limit", async () => {
    await using rpc = rpcOf();
    const paths = [["file"], ["network", "connect"]];
    const asc = await read(rpc, { paths, seek: 0 });
    expect(asc).toHaveLength(50);
    expect(await read(rpc, { paths, order: "desc" })).toEqual(asc.toReversed());
    expect(await read(rpc, { paths, seek: asc[10] ?? "", limit: 5 })).toEqual(asc.slice(10, 15));
    const [item] = await Array.fromAsync(rpc.auditEventsGet({ paths: [["network"]], limit: 1 }));
    expect(item).toMatchObject({ kind: "event", path: ["network", "connect"], place: undefined });
  });

  test("end with a word where a part of the record could not be seen", async () => {
    await using rpc = rpcOf();
    const items = await Array.fromAsync(rpc.auditEventsGet({ paths: [["network"]] }));
    // The fixture has no hot table.
    expect(items.map(({ kind }) => kind)).toEqual(["event", "incomplete"]);
  });

  test.each(
    [
      ["asc", undefined],
      ["desc", undefined],
      ["asc", ALL - 3],
      ["desc", ALL - 3],
    ] as const,
  )(
    "are not heaped up for a slow caller, who gets each once: %s, limit %s",
    async (order, limit) => {
      const heard = { parts: 0, calls: 0, full: Promise.withResolvers<void>() };
      await using rpc = rpcOf((socket) => {
        const send = socket.send.bind(socket);
        socket.send = (text) => {
          if (String(text).includes('"auditEventsGet"')) heard.calls += 1;
          send(text);
        };
        socket.addEventListener("message", () => {
          heard.parts += 1;
          if (heard.parts > PARTS_MAX + 2) heard.full.resolve();
        });
      });
      const more = limit === undefined ? {} : { limit };
      const got: RpcEventItem[] = [];
      for await (const item of rpc.auditEventsGet({ paths: [[]], order, ...more })) {
        got.push(item);
        if (got.length === 1) await heard.full.promise;
      }
      const truth = (await query.search(`order=${order}`)).map(({ id }) => id);
      expect(idsOf(got)).toEqual(truth.slice(0, limit));
      expect(heard.calls).toBe(2);
    },
  );

  test("that are awaited come each once and in order, however often the connection is cut", async () => {
    const random = createSeededRandom(7);
    let cuts = 0;
    await using rpc = rpcOf((socket) => {
      let left = random.between(1, 120);
      socket.addEventListener("message", () => {
        left -= 1;
        if (left !== 0) return;
        cuts += 1;
        socket.close();
      });
    });
    const asked = { paths: [["process"], ["file"]], awaitFutureEvents: true, limit: 249 };
    const options = { reconnectDelayMs: 1 };
    const items = await Array.fromAsync(rpc.auditEventsGet(asked, options));
    const truth = (await query.search("order=asc&topic=process,file")).map(({ id }) => id);
    expect(idsOf(items)).toEqual(truth);
    expect(cuts).toBeGreaterThan(2);
    expect(items.filter(({ kind }) => kind === "reconnecting").length).toBe(cuts);
  });

  test("that are awaited go on after a place in another connection", async () => {
    const asked = { paths: [["process"]], awaitFutureEvents: true };
    const got: string[] = [];
    let seek: string | undefined;
    for (const count of [1, 7, 192]) {
      await using rpc = rpcOf();
      const more = seek === undefined ? {} : { seek };
      for await (const item of rpc.auditEventsGet({ ...asked, ...more, limit: count })) {
        if (item.kind !== "event") continue;
        got.push(item.event.id);
        seek = item.place;
      }
    }
    const truth = (await query.search("order=asc&topic=process")).map(({ id }) => id);
    expect(got).toEqual(truth);
  });

  test("that wait for a slow caller after their end do not look like silence", async () => {
    const sockets: WebSocket[] = [];
    await using rpc = rpcOf((socket) => sockets.push(socket));
    const asked = { paths: [["process"]], awaitFutureEvents: true, limit: 3 };
    let count = 0;
    for await (const { kind } of rpc.auditEventsGet(asked, { silenceMs: 200 })) {
      if (kind === "event" && ++count === 1) await sleep(500);
    }
    expect(count).toBe(3);
    expect((await rpc.auditMetricGet({ path: ["network"] })).total).toBe(1);
    expect(sockets).toHaveLength(1);
  });

  test("end without an error when the caller aborts, and with the reason for stored ones", async () => {
    await using rpc = rpcOf();
    const end = new AbortController();
    const asked = { paths: [["network"]], awaitFutureEvents: true };
    for await (const { kind } of rpc.auditEventsGet(asked, { signal: end.signal })) {
      if (kind === "event") end.abort(new Error("enough"));
    }
    const stored = rpc.auditEventsGet({ paths: [[]] }, { signal: end.signal });
    await expect(Array.fromAsync(stored)).rejects.toThrow("enough");
    // The connection serves on.
    expect((await rpc.auditMetricGet({ path: ["network"] })).total).toBe(1);
  });
});

describe("a metric", () => {
  test("is given once, and as a state that is replayed whenever it is opened again", async () => {
    const sockets: WebSocket[] = [];
    await using rpc = rpcOf((socket) => sockets.push(socket));
    expect(await rpc.auditMetricGet({ path: ["file"], seekEnd: "2026-06-02" })).toMatchObject({
      ...{ total: 49, complete: false, averagePerMinute: 49 },
    });
    const seen: unknown[] = [];
    for await (const item of rpc.auditMetricTail({ path: ["process"] }, { reconnectDelayMs: 1 })) {
      seen.push(item.kind === "metric" ? item.metric.total : item.kind);
      if (seen.length === 1) sockets.at(-1)?.close();
      if (seen.length === 3) break;
    }
    expect(seen).toEqual([200, "reconnecting", 200]);
    expect(sockets).toHaveLength(2);
  });
});

describe("a refusal", () => {
  test("says what is wrong with a parameter", async () => {
    await using rpc = rpcOf();
    await expect(rpc.auditMetricGet({ path: ["*"] })).rejects.toMatchObject({
      ...{ name: "ProblemError", status: 400, problem: { parameter: "path" } },
    });
    await expect(read(rpc, { paths: [[]], seek: "soon" })).rejects.toMatchObject({ status: 400 });
  });

  test.each([["unknown-token-of-enough-length", 401], [METER, 403]])(
    "of the connection says why: %s",
    async (token, status) => {
      await using rpc = rpcOf(undefined, token);
      const asked = { paths: [[]], awaitFutureEvents: true };
      await expect(read(rpc, asked)).rejects.toMatchObject({ name: "ProblemError", status });
    },
  );

  test("comes from a service that is not there, and one that is gone meanwhile", async () => {
    const other = await listen();
    await using rpc = createClient({ url: other.url, token: TOKEN }).openRpc();
    expect((await rpc.auditMetricGet({ path: [] })).total).toBe(ALL);
    await other[Symbol.asyncDispose]();
    await expect(rpc.auditMetricGet({ path: [] })).rejects.toMatchObject({
      name: "UnreachableError",
    });
  });

  test("names no token in the address", async () => {
    const urls: string[] = [];
    await using rpc = rpcOf((socket) => urls.push(socket.url));
    await rpc.auditMetricGet({ path: [] });
    expect(urls.join("")).not.toContain(TOKEN);
    expect(urls).toEqual([`${server.url.replace("http", "ws")}/rpc`]);
  });
});
