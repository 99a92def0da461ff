import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVENTS,
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  VIEWER,
} from "../support/query-fixture.ts";

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture();
});

afterAll(() => query?.[Symbol.asyncDispose]());

async function rows(statement: string, more: object = {}, token?: string): Promise<unknown[]> {
  const answer = await query.sql(statement, more, token === undefined ? {} : { token });
  expect(answer.status, await answer.clone().text()).toBe(200);
  return (await answer.json()).rows;
}

describe("POST /v1/sql", () => {
  test("answers with columns, their types, and rows", async () => {
    const answer = await query.sql(
      "SELECT host, count(*) AS n, max(time) AS last FROM events GROUP BY host ORDER BY host",
    );
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.headers.get("probity-scanned-files")).toBe("2");
    expect(await answer.json()).toEqual({
      columns: [
        { name: "host", type: "VARCHAR" },
        { name: "n", type: "BIGINT" },
        { name: "last", type: "TIMESTAMP WITH TIME ZONE" },
      ],
      rows: [
        { host: "db-1", n: 50, last: "2026-06-01T00:00:03.000000Z" },
        { host: "web-1", n: 200, last: "2026-06-01T00:00:01.000099Z" },
      ],
      truncated: false,
    });
  });

  test("has the id of events, detail as an object, and big integers as text", async () => {
    const found = await rows(
      "SELECT id, detail, detail->>'$.text' AS t, 9007199254740993 AS big FROM events " +
        "WHERE topic = 'network/connect'",
    );
    expect(found).toEqual([{
      id: `${INCARNATION}-4-0`,
      detail: { nested: { big: 12345678901, none: null }, text: 'q"uote' },
      t: 'q"uote',
      big: "9007199254740993",
    }]);
  });

  test("has views by topic that count as searches do", async () => {
    for (
      const [view, topic] of [["process_exec", "process/exec"], ["file", "file"], ["app", "app"]]
    ) {
      const [row] = await rows(`SELECT count(*) AS n FROM ${view}`);
      expect(row).toEqual({ n: (await query.search(`topic=${topic}`)).length });
    }
  });

  test("takes values for parameters by place and by name", async () => {
    const statement = "SELECT count(*) AS n FROM process WHERE user = ? AND pid < ?";
    expect(await rows(statement, { parameters: ["root", 10] })).toEqual([{ n: 5 }]);
    const named = "SELECT count(*) AS n FROM process WHERE user = $user AND pid < $below";
    const parameters = { user: "root", below: 10 };
    expect(await rows(named, { parameters })).toEqual([{ n: 5 }]);
    expect(await rows("SELECT $1 AS a, ? IS NULL AS b", { parameters: ["'; --", null] }))
      .toEqual([{ a: "'; --", b: true }]);
  });

  test("says when it left rows out", async () => {
    const answer = await query.sql("SELECT * FROM range(10001)");
    const { rows: found, truncated } = await answer.json();
    expect(found).toHaveLength(10_000);
    expect(truncated).toBe(true);
    expect(answer.headers.get("probity-truncated")).toBe("true");
  });

  test("writes NDJSON and CSV as well", async () => {
    const statement = "SELECT pid, cmdline || ',' AS c FROM process WHERE pid < 2 ORDER BY pid";
    const ndjson = await query.sql(statement, { format: "ndjson" });
    expect(ndjson.headers.get("content-type")).toBe("application/x-ndjson");
    expect(await ndjson.text()).toBe('{"pid":0,"c":"ls 0,"}\n{"pid":1,"c":"ls 1,"}\n');
    const csv = await query.sql(statement, { format: "csv" });
    expect(await csv.text()).toBe('pid,c\r\n0,"ls 0,"\r\n1,"ls 1,"\r\n');
  });

  test("keeps the order that a statement asks for", async () => {
    const found = await rows("SELECT pid FROM process ORDER BY hash(pid)");
    const again = await rows("SELECT pid FROM process ORDER BY hash(pid)");
    expect(found).toEqual(again);
    const sorted = await rows("SELECT pid FROM process ORDER BY pid DESC");
    expect(sorted).toEqual(Array.from({ length: 200 }, (_, at) => ({ pid: 199 - at })));
  });

  test("shows a principal nothing beyond their scopes", async () => {
    expect(await rows("SELECT count(*) AS n FROM events", {}, VIEWER)).toEqual([{ n: 49 }]);
    expect(await rows("SELECT count(*) AS n FROM process", {}, VIEWER)).toEqual([{ n: 0 }]);
    expect(await rows("SELECT count(*) AS n FROM events")).toEqual([{ n: EVENTS }]);
  });

  test.each<[string, number, RegExp]>([
    ["SELECT 1; SELECT 2", 422, /2 statements/],
    ["DROP TABLE events", 422, /not a SELECT/],
    ["SELECT FROM WHERE", 422, /syntax error.*character/],
    ["SELECT nope FROM events", 422, /"nope" not found/],
    ["SELECT exitcode FROM process_exit", 422, /Candidate bindings: .*"exit_code"/],
    ["SELECT e.pid FROM process_exit AS f", 422, /"e" not found.* Candidate tables: "f"$/],
    ["SELECT exe, count(*) FROM events", 422, /GROUP BY.*ANY_VALUE\(exe\)/],
    ["SELECT 1 FROM proces_exec", 422, /not a view of events; did you mean "process_exec"\?$/],
    ["SELECT cuont(*) FROM events", 422, /not allowed here; did you mean "count"\?$/],
    ["SELECT * FROM read_text('/etc/passwd')", 422, /"read_text"/],
    ["SELECT * FROM '/etc/passwd'", 422, /not a view/],
    ["SELECT 'x'::INT", 422, /Could not convert/],
    ["SELECT $1", 422, /\$1, which has no value/],
    ["SELECT error('boom')", 422, /boom/],
    ["", 400, /"sql" is not a text/],
    ["x".repeat(70_000), 400, /"sql" is not a text/],
  ])("refuses %.40j", async (statement, status, detail) => {
    const answer = await query.sql(statement);
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    const problem = await answer.json();
    expect(problem.detail).toMatch(detail);
    expect(problem.parameter).toMatch(/^(sql|parameters)$/);
    expect(JSON.stringify(problem)).not.toMatch(/parquet|\/tmp|LINE|at .*\.ts/);
  });

  test.each<[BodyInit, number, RegExp]>([
    ["{", 400, /not JSON/],
    ["[]", 400, /not an object/],
    ['{"sql": "SELECT 1", "limit": 1}', 400, /"limit"/],
    ['{"sql": "SELECT 1", "format": "xml"}', 400, /format/],
    ['{"sql": "SELECT 1", "parameters": 1}', 400, /parameters/],
    ['{"sql": "SELECT $a", "parameters": {"a": {}}}', 400, /parameters/],
    ["x".repeat(300_000), 413, /larger/],
    [new Blob(["y".repeat(300_000)]).stream(), 413, /larger/],
  ])("refuses a body %#", async (body, status, detail) => {
    const request = new Request("http://localhost/v1/sql", {
      method: "POST",
      headers: { authorization: "Bearer test-token-of-enough-length" },
      body,
      duplex: "half",
    } as RequestInit);
    const answer = await query.service.fetch(request);
    expect(answer.status).toBe(status);
    expect((await answer.json()).detail).toMatch(detail);
  });

  test("refuses what takes more memory than a query may use, and goes on", async () => {
    const huge =
      "SELECT count(*) FROM (SELECT a.i, b.i AS j, random() AS r FROM range(100000000) a(i), " +
      "range(3) b(i) ORDER BY r, j)";
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 500);
    const request = new Request("http://localhost/v1/sql", {
      method: "POST",
      headers: { authorization: "Bearer test-token-of-enough-length" },
      body: JSON.stringify({ sql: huge }),
      signal: abort.signal,
    });
    const startedMs = performance.now();
    const answer = await query.service.fetch(request);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    expect(answer.ok).toBe(false);
    expect(await rows("SELECT 1 AS a")).toEqual([{ a: 1 }]);
  });
});
