import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { CURSOR_LENGTH_MAX } from "../../src/query/cursor.ts";
import { FAILURES_PER_MINUTE } from "../../src/query/audit.ts";
import {
  openQueryFixture,
  type QueryFixture,
  RANGE,
  TOKEN,
  VIEWER,
} from "../support/query-fixture.ts";

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture();
});

afterAll(() => query?.[Symbol.asyncDispose]());

async function problemOf(answer: Response): Promise<Readonly<Record<string, unknown>>> {
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  const text = await answer.text();
  const problem = JSON.parse(text);
  expect(problem).toMatchObject({ type: "about:blank", status: answer.status });
  expect(problem.title).toBeTruthy();
  expect(problem.detail).toBeTruthy();
  // Nothing of the inside: no stack, no folder, no statement.
  expect(text).not.toMatch(/\.ts:|\/tmp\/|read_parquet|node_modules/);
  return problem;
}

describe("a problem", () => {
  test.each([
    ["/v1/events?userr=root", "userr"],
    ["/v1/events?from=soon", "from"],
    ["/v1/events?to=2026-02-30", "to"],
    ["/v1/events?from=2026-06-02&to=2026-06-01", "from"],
    ["/v1/events?from=1h&from=2h", "from"],
    ["/v1/events?limit=0", "limit"],
    ["/v1/events?limit=-1", "limit"],
    ["/v1/events?limit=10001", "limit"],
    ["/v1/events?limit=many", "limit"],
    ["/v1/events?order=up", "order"],
    ["/v1/events?cursor=nonsense", "cursor"],
    [`/v1/events?cursor=${"A".repeat(CURSOR_LENGTH_MAX)}.AAAA`, "cursor"],
    ["/v1/events?uid=root", "uid"],
    ["/v1/events?user=", "user"],
    ["/v1/events?path=a\\b", "path"],
    ["/v1/events?since=1h", "since"],
    ["/v1/tail?from=1h", "from"],
    ["/v1/tail?limit=1", "limit"],
    ["/v1/tail?since=soon", "since"],
    ["/v1/tail?since=0a1b2c3d-999-0", "since"],
    ["/v1/topics?order=asc", "order"],
    ["/v1/hosts?limit=1", "limit"],
    ["/v1/events/0a1b2c3d-1-0?x=1", "x"],
    ["/v1/events/17", "id"],
    ["/healthz?verbose=1", "verbose"],
    ["/metrics?name=x", "name"],
    ["/openapi.json?x=1", "x"],
  ])("names the parameter: %.60s", async (path, parameter) => {
    const answer = await query.ask(path);
    expect(answer.status).toBe(400);
    const problem = await problemOf(answer);
    expect(problem).toMatchObject({ parameter });
    expect(problem["accepted"]).toBeTruthy();
  });

  test("lists the parameters there are", async () => {
    const { accepted } = await problemOf(await query.ask("/v1/events?nope=1"));
    for (const { name } of COLUMNS) expect(accepted).toContain(name);
  });

  test("is told of a cursor of another query", async () => {
    const first = await query.ask(`/v1/events?${RANGE}&limit=1`);
    const { next } = await first.json();
    const cursor = `cursor=${encodeURIComponent(next)}`;
    expect((await query.ask(`/v1/events?${RANGE}&limit=5&${cursor}`)).status).toBe(200);
    for (const change of ["user=root", "order=asc", "topic=process"]) {
      const answer = await query.ask(`/v1/events?${RANGE}&${change}&${cursor}`);
      expect(answer.status).toBe(400);
      expect(await problemOf(answer)).toMatchObject({ parameter: "cursor" });
    }
  });

  test("is told of an unknown place of a tail", async () => {
    const answer = await query.ask("/v1/tail", { headers: { "last-event-id": "17" } });
    expect(answer.status).toBe(400);
    expect(await problemOf(answer)).toMatchObject({ parameter: "Last-Event-ID" });
  });

  test.each([
    ["/", 404],
    ["/v1", 404],
    ["/v1/nothing", 404],
    ["/v1/events/", 404],
    ["/../etc/passwd", 404],
  ])("is told of a path without anything: %s", async (path, status) => {
    const answer = await query.ask(path);
    expect(answer.status).toBe(status);
    await problemOf(answer);
  });

  test.each([
    ["/v1/events", "POST", "GET, HEAD"],
    ["/v1/events", "DELETE", "GET, HEAD"],
    ["/v1/events/0a1b2c3d-1-0", "PUT", "GET, HEAD"],
    ["/v1/sql", "GET", "POST"],
    ["/v1/sql", "HEAD", "POST"],
    ["/v1/tail", "HEAD", "GET"],
    ["/healthz", "POST", "GET, HEAD"],
  ])("is told of a method that is not allowed: %s %s", async (path, method, allow) => {
    const answer = await query.ask(path, { method });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe(allow);
    if (method !== "HEAD") await problemOf(answer);
  });

  test.each([
    ["/v1/events", "text/html"],
    ["/v1/events", "application/json;q=0"],
    ["/v1/tail", "application/json"],
  ])("is told of a form that cannot be given: %s %s", async (path, accept) => {
    const answer = await query.ask(path, { headers: { accept } });
    expect(answer.status).toBe(406);
    expect(await problemOf(answer)).toMatchObject({ parameter: "Accept" });
  });

  test("is told of a query that is too long", async () => {
    const answer = await query.ask(`/v1/events?user=${"x".repeat(20_000)}`);
    expect(answer.status).toBe(414);
    await problemOf(answer);
  });
});

describe("a token", () => {
  const PATHS = [
    "/v1/events",
    "/v1/events/0a1b2c3d-1-0",
    "/v1/tail",
    "/v1/topics",
    "/v1/hosts",
    "/metrics",
    "/openapi.json",
  ];

  test.each(PATHS)("is required by %s", async (path) => {
    const answer = await query.ask(path, { token: null });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toMatch(/^Bearer realm=/);
    await problemOf(answer);
  });

  test.each([
    [`Bearer ${TOKEN}x`],
    [`Bearer ${TOKEN.slice(0, -1)}`],
    ["Bearer"],
    ["Bearer "],
    [`Basic ${TOKEN}`],
    [TOKEN],
    [`Bearer ${TOKEN} ${TOKEN}`],
    [`Bearer ${"x".repeat(10_000)}`],
  ])("that is not known is refused: %.40s", async (authorization) => {
    const answer = await query.ask("/v1/events", { token: null, headers: { authorization } });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toContain("error=");
    await problemOf(answer);
  });

  test("is looked at before anything else of a request", async () => {
    expect((await query.ask("/v1/events?nope=1", { token: null })).status).toBe(401);
    const body = "x".repeat(300_000);
    expect((await query.ask("/v1/sql", { token: null, method: "POST", body })).status).toBe(401);
  });

  test("that does not allow something is told so", async () => {
    const answer = await query.ask("/metrics", { token: VIEWER });
    expect(answer.status).toBe(403);
    expect(await problemOf(answer)).toMatchObject({
      accepted: "a token of the role auditor, operator or admin",
    });
  });

  test("is not needed to learn whether the service is ready, and nothing more is learnt", async () => {
    const health = await query.ask("/healthz", { token: null });
    expect(await health.json()).toEqual({ healthy: true });
    const ready = await query.ask("/readyz", { token: null });
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ ready: true, parts: [] });
  });
});

describe("the audit", () => {
  test("hears of every read, with who, what and how much, and never of the token", async () => {
    const before = query.lines.length;
    await (await query.ask(`/v1/events?${RANGE}&user=root&limit=2`)).text();
    await (await query.sql("SELECT 1")).text();
    await (await query.ask("/v1/topics")).text();
    const said = query.lines.slice(before).filter((line) => line.includes("audit/query"));
    expect(said).toHaveLength(3);
    expect(said[0]).toContain("admin read 2 rows by GET /v1/events");
    expect(query.lines.join("")).not.toContain(TOKEN);
  });

  test("hears of refused tokens, but not more often than its bound", async () => {
    for (let round = 0; round < 5 * FAILURES_PER_MINUTE; round++) {
      await query.ask("/v1/events", { token: "not-the-token-but-long-enough" });
    }
    const said = query.lines.filter((line) => line.includes("audit/login"));
    expect(said.length).toBeGreaterThan(0);
    expect(said.length).toBeLessThanOrEqual(2 * FAILURES_PER_MINUTE);
  });
});

describe("the other routes", () => {
  test("give the tree of topics with counts", async () => {
    const answer = await query.ask(`/v1/topics?${RANGE}`);
    expect(await answer.json()).toEqual({
      topics: [
        { topic: "file", count: 49 },
        { topic: "file/write", count: 49 },
        { topic: "network", count: 1 },
        { topic: "network/connect", count: 1 },
        { topic: "process", count: 200 },
        { topic: "process/exec", count: 200 },
      ],
    });
  });

  test("give the hosts with their last event", async () => {
    const answer = await query.ask(`/v1/hosts?${RANGE}`);
    const unknown = { gaps: 0, state: "unknown" };
    expect(await answer.json()).toMatchObject({
      agents_visible: true,
      hosts: [
        { host: "db-1", last_seen: "2026-06-01T00:00:03.000000Z", count: 50, ...unknown },
        { host: "web-1", last_seen: "2026-06-01T00:00:01.000099Z", count: 200, ...unknown },
      ],
    });
  });

  test("describe themselves from columns and routes", async () => {
    const description = await (await query.ask("/openapi.json")).json();
    expect(description.openapi).toBe("3.1.0");
    expect(Object.keys(description.paths).toSorted()).toEqual([
      "/docs",
      "/healthz",
      "/metrics",
      "/openapi.json",
      "/readyz",
      "/rpc",
      "/v1/contexts",
      "/v1/contexts/{id}",
      "/v1/events",
      "/v1/events/{id}",
      "/v1/facets",
      "/v1/files/history",
      "/v1/hits",
      "/v1/holds",
      "/v1/holds/{name}",
      "/v1/hosts",
      "/v1/hosts/{host}",
      "/v1/metrics/{topic}",
      "/v1/metrics/{topic}/tail",
      "/v1/processes/{process_id}",
      "/v1/reports/{name}",
      "/v1/sinks",
      "/v1/sinks/{name}",
      "/v1/sinks/{name}/dead-letters",
      "/v1/sinks/{name}/skip",
      "/v1/sql",
      "/v1/subscriptions",
      "/v1/subscriptions/{name}",
      "/v1/subscriptions/{name}/events",
      "/v1/subscriptions/{name}/skip",
      "/v1/table",
      "/v1/table/history",
      "/v1/tail",
      "/v1/tokens",
      "/v1/tokens/{name}",
      "/v1/topics",
    ]);
    const names = description.paths["/v1/events"].get.parameters
      .map(({ name, $ref }: { name?: string; $ref?: string }) => name ?? $ref?.split("/").at(-1));
    expect(names).toEqual([
      ...["from", "to", "order", "limit", "cursor"],
      ...COLUMNS.map(({ name }) => name),
    ]);
    expect(description.paths["/healthz"].get.security).toEqual([]);
  });

  test("count what was asked", async () => {
    const text = await (await query.ask("/metrics")).text();
    expect(text).toMatch(
      /probity_http_requests_total\{route="GET \/v1\/events",status="200"\} \d+/,
    );
    expect(text).toMatch(/probity_table_version \d/);
    expect(text).toMatch(/probity_duckdb_memory_bytes [1-9]/);
  });

  test("count in figures that docs/operations.md explains, each of them, in base units", async () => {
    const text = await (await query.ask("/metrics")).text();
    const figures = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => ({
      name,
      type,
    }));
    const document = await readFile(new URL("../../docs/operations.md", import.meta.url), "utf8");
    const table = document.split("<!-- derived: query-metrics -->")[1]?.split("\n\n")[1] ?? "";
    const explained = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name);
    expect(figures.map(({ name }) => name).toSorted()).toEqual(explained.toSorted());
    for (const { name = "", type } of figures) {
      expect(name).toMatch(/^(probity|process)_[a-z_]+$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      expect(name).not.toMatch(/_(ms|milliseconds|minutes|kb|mb|percent)(_total)?$/);
    }
    // What clients say is in no label.
    const labels = new Set([...text.matchAll(/[{,](\w+)="/g)].map(([, label]) => label));
    expect([...labels].toSorted()).toEqual(["le", "pool", "route", "status"]);
  });
});
