/** `/rpc` on a real port, asked by the library's own client and by hand. */
import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";
import { MESSAGE_BYTES_MAX, webSocketsOf } from "../../src/cli/web-socket.ts";
import { HEADER_BYTES_MAX, URL_LENGTH_MAX } from "../../src/query/door.ts";
import { JWT_LENGTH_MAX } from "../../src/query/oidc/oidc.ts";
import { QUERY_LENGTH_MAX } from "../../src/query/request.ts";
import { RPC_PROTOCOL, type RpcEndpoint, TOKEN_PROTOCOL } from "../../src/query/rpc/endpoint.ts";
import { CODES } from "../../src/query/rpc/protocol.ts";
import { CALLS_MAX } from "../../src/query/rpc/session.ts";
import {
  METER,
  openQueryFixture,
  type QueryFixture,
  START_US,
  TOKEN,
  VIEWER,
} from "../support/query-fixture.ts";
import { createRpcClient, type RpcClient } from "../support/rpc-client.ts";

/** Events that are larger together than what a socket takes without being read. */
const LARGE = 120;

let query: QueryFixture;
let server: HttpServer;

/** On a busy machine a sign of life takes longer than the service's own tests want one. */
const PATIENT_MS = 60_000;

/** An end that waits for somebody takes so long; others are over much sooner. */
const DRAIN_MS = 30_000;

/** A request to upgrade, without a token. */
const UPGRADE = "GET /rpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

const listen = (heartbeatMs = PATIENT_MS, more: Partial<RpcEndpoint> = {}) =>
  openHttpServer({
    fetch: query.service.fetch,
    webSockets: webSocketsOf({ ...query.service.rpc, heartbeatMs, ...more }),
    address: { host: "127.0.0.1", port: 0 },
    tls: undefined,
    drainMs: DRAIN_MS,
  });

beforeAll(async () => {
  query = await openQueryFixture({
    events: Array.from({ length: LARGE }, (_, at) => ({
      timeUs: START_US + at,
      topic: "app/large",
      severity: "info",
      message: `${at} ${"x".repeat(12_000)}`,
    })),
  });
  server = await listen();
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await query?.[Symbol.asyncDispose]();
});

interface Opening {
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly at?: HttpServer;
}

function open({ protocols = [], headers, path = "/rpc", at = server }: Opening = {}): WebSocket {
  const socket = new WebSocket(at.url.replace("http", "ws") + path, [...protocols], {
    headers: headers ?? { authorization: `Bearer ${TOKEN}` },
  });
  socket.on("error", () => undefined);
  return socket;
}

async function clientOf(socket: WebSocket): Promise<RpcClient> {
  await once(socket, "open");
  return createRpcClient((onText) => {
    socket.on("message", (data) => onText(String(data)));
    return {
      send: (text) => socket.send(text),
      async close() {
        if (socket.readyState === socket.CLOSED) return;
        socket.close();
        await once(socket, "close");
      },
    };
  });
}

const closed = async (socket: WebSocket): Promise<number> => (await once(socket, "close"))[0];

describe("a route on the same port", () => {
  const token = { authorization: `Bearer ${TOKEN}` };
  test.each<[string, string, Readonly<Record<string, string>>, number]>([
    ["a query just short enough", `?user=${"x".repeat(QUERY_LENGTH_MAX - 6)}`, token, 200],
    ["a query that is too long", `?user=${"x".repeat(QUERY_LENGTH_MAX)}`, token, 414],
    ["an address that is too long", `?user=${"x".repeat(URL_LENGTH_MAX)}`, token, 414],
    ["both as long as they may be", `?user=${"x".repeat(QUERY_LENGTH_MAX - 6)}`, {
      authorization: `Bearer a.${"b".repeat(JWT_LENGTH_MAX - 4)}.c`,
    }, 401],
    ["headers that are too long", "", { ...token, "x-long": "x".repeat(HEADER_BYTES_MAX) }, 431],
  ])("answers %s itself", async (_name, query, headers, status) => {
    const answer = await fetch(`${server.url}/v1/events${query}`, { headers });
    expect(answer.status).toBe(status);
    const { status: told } = await answer.json();
    if (status !== 200) expect(told).toBe(status);
  });
});

describe("a connection of /rpc", () => {
  test("carries calls, with the token in a header or, as browsers must, in a protocol", async () => {
    const named = `${TOKEN_PROTOCOL}${Buffer.from(TOKEN).toString("base64url")}`;
    const host = new URL(server.url).host;
    for (
      const opening of [{}, {
        headers: { origin: `http://${host}` },
        protocols: [RPC_PROTOCOL, named],
      }]
    ) {
      const socket = open(opening);
      await using client = await clientOf(socket);
      expect(socket.protocol).toBe(opening.protocols === undefined ? "" : RPC_PROTOCOL);
      const { result } = await client.call("auditMetricGet", { path: ["process"] }).answer;
      expect(result).toMatchObject({ data: { total: 200 } });
      const { parts } = await client.call("auditEventsGet", { paths: [[]], limit: 240 }).all();
      expect(parts).toHaveLength(240);
    }
  });

  test.each<[string, Opening, number]>([
    ["without a token", { headers: {} }, 401],
    ["with an unknown one", { headers: { authorization: "Bearer of-somebody-else-here" } }, 401],
    ["with one that may not read", { headers: { authorization: `Bearer ${METER}` } }, 403],
    ["from another site's page", {
      headers: { authorization: `Bearer ${TOKEN}`, origin: "https://evil.example" },
    }, 403],
    ["of another protocol", { protocols: ["mqtt"] }, 400],
    ["of a protocol that is a token alone", { headers: {}, protocols: ["probity.token.eHg"] }, 400],
  ])("%s is refused, and why is a problem", async (_name, opening, status) => {
    const [, response] = await once(open(opening), "unexpected-response");
    expect(response.statusCode).toBe(status);
    expect(response.headers["content-type"]).toBe("application/problem+json");
    if (status === 401) expect(response.headers["www-authenticate"]).toContain("Bearer");
    expect(JSON.parse(String((await once(response, "data"))[0]))).toMatchObject({ status });
  });

  test("that was refused is closed, even where the client never closes its side", async () => {
    const other = await listen();
    const { hostname, port } = new URL(other.url);
    const sockets = await Promise.all(Array.from({ length: 3 }, async () => {
      const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
      socket.on("error", () => undefined);
      await once(socket, "connect");
      socket.write(UPGRADE);
      return socket;
    }));
    for (const socket of sockets) {
      expect(String((await once(socket, "data"))[0])).toContain(" 401 ");
    }
    const startedMs = performance.now();
    await other[Symbol.asyncDispose]();
    expect(performance.now() - startedMs).toBeLessThan(DRAIN_MS / 2);
    for (const socket of sockets) socket.destroy();
  });

  test("whose token is looked up for long does not hold up the end of the server", async () => {
    const asked = Promise.withResolvers<void>();
    const server = await listen(PATIENT_MS, {
      admit() {
        asked.resolve();
        return new Promise(() => undefined);
      },
    });
    const { hostname, port } = new URL(server.url);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    socket.on("error", () => undefined);
    socket.write(UPGRADE);
    await asked.promise;
    const startedMs = performance.now();
    await server[Symbol.asyncDispose]();
    expect(performance.now() - startedMs).toBeLessThan(DRAIN_MS / 2);
    socket.destroy();
  });

  test("is asked for by a WebSocket at that path alone; others are answered as ever", async () => {
    const headersOfToken = { authorization: `Bearer ${TOKEN}` };
    const plain = await fetch(`${server.url}/rpc`, { headers: headersOfToken });
    expect(plain.status).toBe(426);
    expect(plain.headers.get("upgrade")).toBe("websocket");
    const [, elsewhere] = await once(open({ path: "/v1/events" }), "unexpected-response");
    expect(elsewhere.statusCode).toBe(200);
    const headers = { connection: "Upgrade, HTTP2-Settings", upgrade: "h2c", "http2-settings": "" };
    const asking = request(`${server.url}/healthz`, { headers }).end();
    const [answer] = await once(asking, "response");
    expect(answer.statusCode).toBe(200);
    answer.resume();
  });

  test("ends upon what is too long, no text, or no WebSocket at all, and others go on", async () => {
    const [long, binary, raw, other] = [open(), open(), open(), open()];
    await Promise.all([long, binary, raw].map((each) => once(each, "open")));
    await using client = await clientOf(other);
    long.send("x".repeat(MESSAGE_BYTES_MAX + 1));
    expect(await closed(long)).toBe(1009);
    binary.send(new Uint8Array([1]));
    expect(await closed(binary)).toBe(1003);
    // Bytes that are no frame.
    Reflect.get(raw, "_socket").write(Buffer.alloc(16, 0xff));
    expect(await closed(raw)).toBe(1002);
    expect(await client.exchange("x".repeat(MESSAGE_BYTES_MAX))).toMatchObject({
      error: { code: CODES.parse },
    });
  });

  test("that gives no sign of life is cut off", async () => {
    await using impatient = await listen(50);
    const { hostname, port } = new URL(impatient.url);
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    socket.write(
      `GET /rpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${
          Buffer.alloc(16).toString("base64")
        }\r\n` +
        `Authorization: Bearer ${TOKEN}\r\n\r\n`,
    );
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    await once(socket, "close");
    expect(String(chunks[0])).toMatch(/^HTTP\/1\.1 101 /);
  });

  test("is not cut off for an answer that the service had no time to read", async () => {
    await using impatient = await listen(50);
    const socket = open({ at: impatient });
    const nothing = new Int32Array(new SharedArrayBuffer(4));
    let pings = 0;
    socket.on("ping", () => {
      // It has been answered by now.
      pings += 1;
      Atomics.wait(nothing, 0, 0, 120);
    });
    await expect.poll(() => pings, { timeout: 10_000 }).toBeGreaterThan(3);
    expect(socket.readyState).toBe(socket.OPEN);
    socket.close();
    await closed(socket);
  });

  test("that reads nothing waits for itself: no more is made for it than fits", async () => {
    const slow = open();
    await using client = await clientOf(slow);
    slow.pause();
    const paths = [["app", "large"]];
    const calls = Array.from({ length: CALLS_MAX }, () => client.call("auditEventsGet", { paths }));
    const refused = client.call("auditMetricGet", { path: [] });
    const sending = async (): Promise<number> => {
      const text = await (await query.ask("/metrics")).text();
      return Number(/^probity_event_streams (.*)$/m.exec(text)?.[1]);
    };
    const waiting = new Set<number>();
    for (let look = 0; look < 10; look++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (look > 5) waiting.add(await sending());
    }
    // Some of them are stuck, and stay so; other people do not wait for them.
    expect(Math.min(...waiting)).toBeGreaterThan(0);
    await using other = await clientOf(open({ headers: { authorization: `Bearer ${VIEWER}` } }));
    expect((await other.call("auditEventsGet", { paths: [[]] }).all()).parts).toHaveLength(49);
    slow.resume();
    for (const call of calls) expect((await call.all()).parts).toHaveLength(LARGE);
    expect((await refused.answer).error ?? (await refused.answer).result).toBeDefined();
    expect(await sending()).toBe(0);
  });

  test("is told when the server stops, and when the token ends", async () => {
    const made = await query.ask("/v1/tokens/ann?role=viewer", { method: "PUT" });
    const { token } = await made.json();
    const ann = open({ headers: { authorization: `Bearer ${token}` } });
    await once(ann, "open");
    const annClosed = closed(ann);
    await query.ask("/v1/tokens/ann", { method: "DELETE" });
    expect(await annClosed).toBe(1008);

    const other = await listen();
    const socket = open({ at: other });
    await using client = await clientOf(socket);
    const call = client.call("auditEventsGet", { paths: [["file"]], awaitFutureEvents: true });
    await call.untilParts(49);
    const startedMs = performance.now();
    const socketClosed = closed(socket);
    await other[Symbol.asyncDispose]();
    expect(await socketClosed).toBe(1001);
    expect(performance.now() - startedMs).toBeLessThan(DRAIN_MS / 2);
  });
});
