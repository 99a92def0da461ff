/**
 * A program for any runtime: calls the C library through the foreign-function interface, and asks the query function of
 * `infra/functions/` for its health and for events, over a WebSocket too. Prints one line of JSON.
 *
 * Variables: those of the function; PROBITY_TOKEN_FILE names the token to ask with.
 */
import { on, once } from "node:events";
import { readFileSync } from "node:fs";
import process from "node:process";
import { WebSocket } from "ws";
import { createFetch, openService } from "../../infra/functions/query.ts";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { webSocketsOf } from "../../src/cli/web-socket.ts";
import type { QueryService } from "../../src/query/open-query.ts";
import { loadLibc, O_RDONLY } from "../../src/edge-agent/libc.ts";

const libc = loadLibc();
const fd = libc.open("/dev/null", O_RDONLY);
const closed = libc.close(fd);
const absent = libc.open("/nonexistent", O_RDONLY);

let service: QueryService | undefined;
const ask = createFetch(process.env, async (environment) => {
  service = await openService(environment);
  return service;
});
const token = readFileSync(process.env["PROBITY_TOKEN_FILE"] ?? "", "utf8");
const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
const health = await ask(new Request("http://localhost/healthz"));
const refused = await ask(new Request("http://localhost/v1/events"));
const answer = await ask(new Request("http://localhost/v1/events?from=1h", { headers }));
const { events } = await answer.json();
console.log(JSON.stringify({
  libc: [fd > 2, closed, absent],
  health: health.status,
  refused: refused.status,
  topics: events.map(({ topic }: { readonly topic: string }) => topic),
  rpc: service === undefined ? undefined : await callsOver(service),
}));
process.exit(0);

/** What a client gets from `/rpc` on a real port: a metric, and the paths of live events from the beginning. */
async function callsOver({ fetch, rpc }: QueryService): Promise<unknown> {
  await using server = await openHttpServer({
    fetch,
    webSockets: webSocketsOf(rpc),
    address: { host: "127.0.0.1", port: 0 },
    tls: undefined,
  });
  const refusedSocket = new WebSocket(`${server.url.replace("http", "ws")}/rpc`);
  const [error] = await once(refusedSocket, "error");
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/rpc`, { headers });
  await once(socket, "open");
  const messages = on(socket, "message");
  const ask = (id: number, method: string, params: unknown): void =>
    socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  // Notifications of how far a call has come may stand between any two.
  const next = async (): Promise<Record<string, Record<string, unknown>>> => {
    const message = JSON.parse(String((await messages.next()).value?.[0]));
    return message.method === "auditPlace" ? await next() : message;
  };
  ask(1, "auditMetricGet", { path: ["app"] });
  const metric = await next();
  ask(2, "auditEventsGet", { paths: [["app"]], awaitFutureEvents: true });
  const event = await next();
  socket.send(JSON.stringify({ jsonrpc: "2.0", method: "cancel", params: { call: 2 } }));
  const cancelled = await next();
  const closed = once(socket, "close");
  socket.close(1000);
  const [code] = await closed;
  return {
    refused: /401/.test(String(error)),
    data: metric["result"]?.["data"],
    path: event["params"]?.["path"],
    cancelled: cancelled["error"]?.["code"],
    code,
  };
}
