/**
 * Every operation of the description has a call of the client, with each of its parameters and in each form of its
 * answers: a route that is added without one fails here. Called are the service as a function, and as a process on a
 * port, in Node and in Deno.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Client, createClient } from "../../src/client/client.ts";
import type { ApiDocument } from "../../src/query/openapi-document.ts";
import { type Operations, operationsOf, typeOf } from "../support/api-answer.ts";
import { openOperationsFixture, PROCESS } from "../support/operations-fixture.ts";
import { TOKEN } from "../support/query-fixture.ts";
import { requireCapability } from "../support/require.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DENO = `${ROOT}node_modules/.bin/deno`;
const PROGRAM = `${ROOT}test/support/operations-process.ts`;
const START_LIMIT_MS = 60_000;
const RANGE = { from: "2026-06-01", to: "2026-06-02" };
const ID = "0a1b2c3d-1-0";
const NAMED = { ...RANGE, host: "db-1" };

type Call = (client: Client) => Promise<unknown>;

/** By operation, in an order in which each has what it needs. */
const CALLS: Readonly<Record<string, readonly Call[]>> = {
  "GET /v1/events": [
    async (client) => {
      const page = await client.page({ ...RANGE, order: "asc", limit: 2, topic: "process" });
      expect(page.events).toHaveLength(2);
      const query = { ...RANGE, order: "asc", limit: 2, topic: "process" } as const;
      const next = await client.page({ ...query, cursor: page.next ?? "" });
      expect(next.events[0]?.id).not.toBe(page.events[0]?.id);
    },
    async (client) => {
      for (const form of ["ndjson", "csv", "parquet", "ocsf-ndjson"] as const) {
        const { body } = await client.file({ ...RANGE, limit: 3 }, form);
        const text = Buffer.concat(await Array.fromAsync(body)).toString();
        if (form === "parquet") expect(text.slice(0, 4)).toBe("PAR1");
        else expect(text.trim().split("\n")).toHaveLength(form === "csv" ? 4 : 3);
      }
    },
    async (client) => {
      const { events, next } = await client.ocsf.page({ ...RANGE, limit: 2 });
      expect(events[1]).toMatchObject({ class_uid: expect.any(Number) });
      const { events: all } = await client.ocsf.stream({ ...RANGE, limit: 3 });
      expect(await Array.fromAsync(all)).toHaveLength(3);
      expect(next).toMatch(/./);
    },
  ],
  "HEAD /v1/events": [async (client) => {
    expect((await client.count({ ...RANGE, topic: "process" })).count).toBe(201);
  }],
  "GET /v1/events/{id}": [async (client) => {
    expect((await client.event(ID))?.id).toBe(ID);
    expect(await client.ocsf.event(ID)).toMatchObject({ metadata: { uid: ID } });
    expect(await client.ocsf.event("0a1b2c3d-1-999")).toBeUndefined();
  }],
  "GET /v1/tail": [async (client) => {
    const query = { since: RANGE.from, topic: "file" };
    const item = await firstEvent(client.tail(query));
    const place = "place" in item ? item.place : "";
    const other = await firstEvent(client.tail(query, { after: place }));
    expect(other).not.toEqual(item);
    expect(await firstEvent(client.ocsf.tail(query))).toMatchObject({
      event: { class_uid: expect.any(Number) },
    });
  }],
  "GET /rpc": [async (client) => {
    await using rpc = client.openRpc();
    const asked = { paths: [["file"]], seek: RANGE.from, seekEnd: RANGE.to, limit: 3 };
    expect(await Array.fromAsync(rpc.auditEventsGet({ ...asked, order: "desc" }))).toHaveLength(4);
    const live = rpc.auditEventsGet({ ...asked, awaitFutureEvents: true });
    expect(await first(live)).toMatchObject({ kind: "event", place: expect.any(String) });
    const { total } = await rpc.auditMetricGet({
      ...{ path: ["file"], seek: RANGE.from, seekEnd: RANGE.to },
    });
    const tail = rpc.auditMetricTail({ path: ["file"], seek: RANGE.from });
    expect(await first(tail)).toMatchObject({ metric: { total } });
    const methods = Object.keys(rpc).filter((name) => name.startsWith("audit"));
    expect(methods.toSorted()).toEqual(methodNames().toSorted());
  }],
  "GET /v1/hits": [async (client) => {
    const { series, times, total } = await client.hits({
      ...RANGE,
      step: "12h",
      by: "user",
      limit: 1,
    });
    expect(times).toHaveLength(2);
    expect(series[0]).toMatchObject({ value: expect.any(String), counts: [expect.any(Number), 0] });
    expect(total).toBeGreaterThan(200);
  }],
  "GET /v1/facets": [async (client) => {
    const { facets } = await client.facets({ ...RANGE, by: ["user", "topic"], limit: 1 });
    expect(facets.map(({ column }) => column)).toEqual(["user", "topic"]);
  }],
  "GET /v1/topics": [async (client) => {
    expect(await client.topics(RANGE)).toContainEqual({ topic: "process", count: 201 });
  }],
  "GET /v1/hosts": [async (client) => {
    const { hosts } = await client.hosts.list(RANGE);
    expect(hosts.map(({ host }) => host).toSorted()).toEqual(["db-1", "web-1"]);
  }],
  "GET /v1/hosts/{host}": [async (client) => {
    expect((await client.hosts.read("db-1", RANGE)).count).toBeGreaterThan(50);
  }],
  "GET /v1/reports/{name}": [async (client) => {
    const { report } = await client.reports.read("files", NAMED);
    expect(report.tables.length).toBeGreaterThan(0);
    for (const form of ["csv", "markdown", "html"] as const) {
      expect((await client.reports.text("files", { ...NAMED, form })).text).toContain("db-1");
    }
  }],
  "GET /v1/contexts": [async (client) => {
    const asked = { ...NAMED, exe: "/usr/bin/curl", limit: 1 };
    const { contexts, next } = await client.contexts(asked);
    expect(contexts[0]).toMatchObject({ context: "7f00aa" });
    const { contexts: others } = await client.contexts({ ...asked, cursor: next ?? "" });
    expect(others[0]).toMatchObject({ context: "7f00ab" });
  }],
  "GET /v1/contexts/{id}": [async (client) => {
    expect((await client.context("7f00aa", NAMED)).contexts).toHaveLength(1);
  }],
  "GET /v1/metrics/{topic}": [async (client) => {
    expect((await client.metric("process/exec", NAMED)).total).toBe(1);
  }],
  "GET /v1/metrics/{topic}/tail": [async (client) => {
    const item = await first(client.metricTail("file", { from: RANGE.from, host: "db-1" }));
    expect(item).toMatchObject({ kind: "metric", metric: { topic: "file", total: 51 } });
  }],
  "GET /v1/processes/{process_id}": [async (client) => {
    expect((await client.process(PROCESS, NAMED)).process.exe).toBe("/bin/sh");
  }],
  "GET /v1/files/history": [async (client) => {
    const query = { ...NAMED, order: "asc", limit: 10 } as const;
    const { names, events } = await client.fileHistory("/etc/new", query);
    expect(names).toMatchObject([{ path: "/etc/old" }]);
    expect(events).toHaveLength(2);
  }],
  "POST /v1/sql": [async (client) => {
    const sql = "SELECT host FROM events WHERE topic = $topic LIMIT 1";
    const parameters = { topic: "file/rename" };
    expect((await client.sql(sql, { parameters })).rows).toEqual([{ host: "db-1" }]);
    for (const form of ["ndjson", "csv", "parquet"] as const) {
      expect((await client.sqlFile(sql, form, { parameters })).content.length).toBeGreaterThan(4);
    }
  }],
  "PUT /v1/subscriptions/{name}": [async (client) => {
    const policy = { when_behind: "pause", lag_max: "2d", expire: "30d" } as const;
    const query = { ...policy, topic: "process", since: RANGE.from };
    expect((await client.subscriptions.put("siem", query)).isNew).toBe(true);
    expect((await client.subscriptions.put("siem", { topic: "process" })).isNew).toBe(false);
  }],
  "GET /v1/subscriptions": [async (client) => {
    expect(await client.subscriptions.list()).toMatchObject([{ name: "siem" }]);
  }],
  "GET /v1/subscriptions/{name}": [async (client) => {
    expect((await client.subscriptions.get("siem")).filters).toEqual({ topic: ["process"] });
  }],
  "POST /v1/subscriptions/{name}/skip": [async (client) => {
    expect((await client.subscriptions.skip("siem", { events: 3 })).count).toBe(3);
    expect((await client.subscriptions.skip("siem", { to: RANGE.from })).count).toBe(0);
  }],
  "GET /v1/subscriptions/{name}/events": [async (client) => {
    const { events, gaps } = await client.subscriptions.page("siem", {
      ...{ limit: 5, wait: "1s", takesOver: true },
    });
    expect([events.length, gaps]).toEqual([5, []]);
    const { items } = await client.subscriptions.read("siem", { limit: 5 });
    expect(await Array.fromAsync(items)).toHaveLength(5);
    expect(await firstEvent(client.subscriptions.follow("siem"))).toBeDefined();
  }],
  "DELETE /v1/subscriptions/{name}": [(client) => client.subscriptions.remove("siem")],
  "GET /v1/table": [async (client) => {
    expect((await client.table.read()).rows).toBeGreaterThan(250);
  }],
  "GET /v1/table/history": [async (client) => {
    expect(await client.table.history({ limit: 1 })).toHaveLength(1);
  }],
  "GET /v1/sinks": [async (client) => {
    expect(await client.sinks.list()).toMatchObject([{ name: "siem", topics: ["file"] }]);
  }],
  "GET /v1/sinks/{name}": [async (client) => {
    expect(await client.sinks.get("siem")).toMatchObject({ type: "stdout", delivered: 0 });
  }],
  "POST /v1/sinks/{name}/skip": [async (client) => {
    expect(await client.sinks.skip("siem", { to: "1h" })).toMatchObject({ skipped: 0 });
  }],
  "GET /v1/sinks/{name}/dead-letters": [async (client) => {
    expect(await client.sinks.deadLetters("siem")).toEqual([]);
  }],
  "DELETE /v1/sinks/{name}/dead-letters": [(client) => client.sinks.clearDeadLetters("siem")],
  "PUT /v1/holds/{name}": [async (client) => {
    const hold = await client.holds.set("case", { ...RANGE, reason: "court", host: ["web-*"] });
    expect(hold).toMatchObject({ name: "case", hosts: ["web-*"] });
  }],
  "GET /v1/holds": [async (client) => {
    expect(await client.holds.list()).toMatchObject([{ name: "case", reason: "court" }]);
  }],
  "DELETE /v1/holds/{name}": [(client) => client.holds.release("case")],
  "PUT /v1/tokens/{name}": [async (client) => {
    const scopes = { host: ["web-*"], topic: ["file"], expire: "1d" };
    const { token } = await client.tokens.create("ann", { role: "analyst", ...scopes });
    expect(token).toMatch(/^prb_/);
  }],
  "GET /v1/tokens": [async (client) => {
    expect(await client.tokens.list()).toMatchObject([{ name: "ann" }]);
  }],
  "DELETE /v1/tokens/{name}": [(client) => client.tokens.revoke("ann")],
  "GET /healthz": [(client) => client.status.health()],
  "GET /readyz": [async (client) => {
    expect(await client.status.readiness()).toMatchObject({ ready: expect.any(Boolean) });
  }],
  "GET /metrics": [async (client) => {
    expect(await client.status.figures()).toContain("probity_");
  }],
  "GET /openapi.json": [async (client) => {
    expect(await client.status.description()).toMatchObject({ openapi: "3.1.0" });
  }],
  "GET /docs": [async (client) => {
    expect(await client.status.documentation()).toContain("<!doctype html>");
  }],
};

/** What a count takes and is the same with. */
const OF_PAGES: readonly string[] = ["order", "limit", "cursor"];

interface Heard {
  readonly url: URL;
  readonly method: string;
  readonly type: string | undefined;
}

let document: ApiDocument;
const heard: Heard[] = [];

/** Where calls go. */
interface Served extends AsyncDisposable {
  readonly url: string;
  fetch(request: Request): Promise<Response>;
}

async function asFunction(): Promise<Served> {
  const fixture = await openOperationsFixture();
  return {
    url: fixture.server.url,
    fetch: fixture.query.service.fetch,
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
}

async function asProcess(command: string, words: readonly string[]): Promise<Served> {
  const child = spawn(command, [...words, PROGRAM], { cwd: ROOT, stdio: "pipe" });
  const ended = once(child, "close");
  const errors = text(child.stderr);
  const line = once(createInterface({ input: child.stdout }), "line");
  const said = await Promise.race([line, ended.then(() => undefined)]);
  if (said === undefined) throw new Error(`Cannot serve: ${await errors}`);
  return {
    url: String(said[0]),
    fetch: (request) => fetch(request),
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      const [code] = await ended;
      expect([code, await errors]).toEqual([0, ""]);
    },
  };
}

const hasDeno = requireCapability("deno", existsSync(DENO), "run npm ci");
const PLACES: readonly (readonly [string, () => Promise<Served>])[] = [
  ["a function", asFunction],
  ["a process of Node", () => asProcess(process.execPath, [])],
  ...(hasDeno
    ? [["a process of Deno", () => asProcess(DENO, ["run", "-q", "-P=serve"])] as const]
    : []),
];

/** Of JSON-RPC, as the description has them. */
function methodNames(): string[] {
  const rpc = operationsOf(document).find(({ route }) => route === "GET /rpc");
  return Object.keys(rpc?.operation["x-json-rpc"]?.methods ?? {});
}

describe.each(PLACES)("of the service as %s", (_place, open) => {
  let served: Served;
  let client: Client;

  beforeAll(async () => {
    served = await open();
    client = createClient({
      url: served.url,
      openWebSocket(url, protocols) {
        heard.push({ url, method: "GET", type: undefined });
        return new WebSocket(url, [...protocols]);
      },
      token: TOKEN,
      async fetch(url, init) {
        const response = await served.fetch(new Request(url, init));
        heard.push({ url, method: init.method ?? "GET", type: typeOf(response.headers) });
        return response;
      },
    });
    // as: what it holds is tried in test/query/app-contract.test.ts
    document = await client.status.description() as unknown as ApiDocument;
  }, START_LIMIT_MS);
  afterAll(() => served?.[Symbol.asyncDispose](), START_LIMIT_MS);

  test("each operation has calls", () => {
    const routes = operationsOf(document).map(({ route }) => route);
    expect(Object.keys(CALLS).toSorted()).toEqual(routes.toSorted());
  });

  test.each(Object.entries(CALLS))(
    "%s is called with all it takes and gives",
    async (name, calls) => {
      heard.length = 0;
      for (const call of calls) await call(client);
      const operation = operationsOf(document).find(({ route }) => route === name);
      expect(operation && leftOut(operation, heard)).toEqual([]);
    },
  );
});

test("a parameter, a form or a request that is left out would be found", () => {
  const operation = operationsOf(document).find(({ route }) => route === "GET /v1/events");
  const found = operation && leftOut(operation, []);
  expect(found).toEqual(
    expect.arrayContaining(["any request", "parameter cursor", "form text/csv"]),
  );
});

/** What an operation has and no request to it had. */
function leftOut({ method, path, operation }: Operations, heard: readonly Heard[]): string[] {
  const place = new RegExp(`^${path.replaceAll("{topic}", ".+").replaceAll(/\{\w+\}/g, "[^/]+")}$`);
  const own = heard.filter((each) => each.method === method && place.test(each.url.pathname));
  const parameters = operation.parameters
    .flatMap((each) => "name" in each && each.in === "query" ? [each.name] : [])
    .filter((name) => method !== "HEAD" || !OF_PAGES.includes(name));
  const types = Object.entries(operation.responses).flatMap(([status, response]) =>
    status < "300" && "content" in response ? Object.keys(response.content ?? {}) : []
  );
  return [
    ...(own.length > 0 ? [] : ["any request"]),
    ...parameters.filter((name) => !own.some(({ url }) => url.searchParams.has(name)))
      .map((name) => `parameter ${name}`),
    ...types.filter((type) => !own.some((each) => each.type === type)).map((type) =>
      `form ${type}`
    ),
  ];
}

async function first<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item;
  throw new Error("Cannot take the first: there is none");
}

/** The first item that is an event. */
async function firstEvent<T extends { readonly kind: string }>(
  items: AsyncIterable<T>,
): Promise<T> {
  for await (const item of items) if (item.kind === "event") return item;
  throw new Error("Cannot take the first event: there is none");
}
