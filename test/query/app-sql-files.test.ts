/** People's SQL over a table of several files: which of them a statement opens, and its answers as files. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openQueryFixture, type QueryFixture, START_US, VIEWER } from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker, numberedEvents } from "../support/test-messages.ts";

const HOUR_US = 3_600_000_000;
/** One file for each hour; those of even hours are of web-1, the others of db-1. */
const HOURS = 6;
const ROWS = 20;

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({
    // Files are opened here, not counted beforehand.
    tallyIntervalMs: 3_600_000,
    sqlLimits: { rowsMax: 100, bytesMax: 20_000, timeMs: 1_500, memoryBytes: 60_000_000 },
    async write(store, folder) {
      const makers = [
        createMessageMaker({ agent: "a1", host: "web-1" }),
        createMessageMaker({ agent: "a2", host: "db-1" }),
      ];
      for (let hour = 0; hour < HOURS; hour += 1) {
        const timeUs = START_US + hour * HOUR_US + 1_000_000;
        const path = hour === 5 ? "a\n\nb" : "it's\na path";
        const more = { topic: hour < 3 ? "process/exec" : "file/write", path };
        const events = numberedEvents(hour * ROWS, ROWS, { timeUs, more });
        const message = await makers[hour % 2]?.next(events, { sequence: hour + 1 });
        const messages = message === undefined ? [] : [message];
        await commitMessages({ store, incarnation: "0a1b2c3d", messages, folder });
      }
    },
  });
});

afterAll(() => query?.[Symbol.asyncDispose]());

const at = (hour: number): string => `TIMESTAMPTZ '2026-06-01 0${hour}:00:00Z'`;

describe("a statement opens the files", () => {
  test.each<[string, files: number, n: number, parameters?: readonly unknown[]]>([
    ["SELECT count(*) AS n FROM events", 6, 120],
    [`SELECT count(*) AS n FROM events WHERE time >= ${at(2)} AND time < ${at(3)}`, 1, 20],
    [`SELECT count(*) AS n FROM process_exec WHERE time >= ${at(2)}`, 4, 20],
    [`WITH x AS (SELECT * FROM events) SELECT count(*) AS n FROM x WHERE x.time < ${at(1)}`, 1, 20],
    ["SELECT count(*) AS n FROM events WHERE host = 'web-1'", 3, 60],
    ["SELECT count(*) AS n FROM events WHERE host IN ('db-1', 'db-2')", 3, 60],
    ["SELECT count(*) AS n FROM events WHERE topic_under(topic, 'file')", 3, 60],
    ["SELECT count(*) AS n FROM events WHERE topic LIKE 'file/%' AND host = 'web-1'", 1, 20],
    ["SELECT count(*) AS n FROM events WHERE date_trunc('hour', time) = $1::TIMESTAMPTZ", 1, 20, [
      "2026-06-01T03:00:00Z",
    ]],
    ["SELECT count(*) AS n FROM events WHERE host = $1 AND pid >= $2", 1, 20, ["db-1", 100]],
    ["SELECT count(*) AS n FROM events WHERE path = 'it''s\na path' AND pid = 7", 1, 1],
    // How many line ends a text has is not told for certain: it rules out nothing.
    ["SELECT count(*) AS n FROM events WHERE path = $1", 6, 20, ["a\n\nb"]],
    ["SELECT count(*) AS n FROM events WHERE host = 'x\ntime>''2030-01-01'''", 6, 0],
    [`SELECT count(*) AS n FROM events WHERE time < ago('1d') AND pid < 19`, 1, 19],
    ["SELECT count(*) AS n FROM events WHERE host = 'web-1' OR pid < 30", 6, 70],
    [
      `SELECT count(*) AS n FROM events a JOIN events b USING (pid) WHERE a.time < ${at(1)} ` +
      `AND b.time < ${at(2)}`,
      2,
      20,
    ],
    [`SELECT (SELECT count(*) FROM events)::INT AS n FROM events WHERE pid = 3`, 6, 120],
    [`SELECT count(b.pid) AS n FROM events a LEFT JOIN events b ON b.pid = a.pid + 1`, 6, 119],
    [`SELECT pid AS n FROM events ORDER BY time DESC LIMIT 1`, 6, 119],
    [`SELECT pid AS n FROM events WHERE time < ${at(1)} ORDER BY time DESC LIMIT 1`, 1, 19],
    ["SELECT 1 AS n", 0, 1],
  ])("that can hold what it asks for: %s", async (sql, files, n, parameters = []) => {
    const answer = await query.sql(sql, parameters.length === 0 ? {} : { parameters });
    expect(answer.status, await answer.clone().text()).toBe(200);
    expect((await answer.json()).rows).toEqual([{ n }]);
    expect(answer.headers.get("probity-scanned-files")).toBe(String(files));
    expect(answer.headers.get("probity-pruned-files")).toBe(String(HOURS - files));
  });

  test("of the hosts that the principal may see", async () => {
    const answer = await query.sql("SELECT count(*) AS n FROM events", {}, { token: VIEWER });
    expect((await answer.json()).rows).toEqual([{ n: 40 }]);
    expect(answer.headers.get("probity-scanned-files")).toBe("3");
  });
});

describe("an answer as Parquet", () => {
  const SQL = "SELECT pid, time, detail, [user] AS who FROM process_exec ORDER BY pid LIMIT 3";

  async function read(body: ArrayBuffer): Promise<unknown[]> {
    const path = join(query.folder, "answer.parquet");
    await writeFile(path, new Uint8Array(body));
    const options = { tempDirectory: join(query.folder, "spill"), tempLimitBytes: 1_000_000 };
    await using database = await openDatabase({
      memoryLimitBytes: 100_000_000,
      threads: 1,
      ...options,
    });
    await using connection = await database.connect();
    return [...(await connection.query(`FROM read_parquet('${path}')`)).rows];
  }

  test.each([{ format: "parquet" }, {}])("is asked for by %j or Accept", async (more) => {
    const accept = "application/vnd.apache.parquet";
    const body = JSON.stringify({ sql: SQL, ...more });
    const answer = await query.ask("/v1/sql", { method: "POST", body, headers: { accept } });
    expect(answer.headers.get("content-type")).toBe(accept);
    expect(answer.headers.get("probity-truncated")).toBe("false");
    const rows = await read(await answer.arrayBuffer());
    expect(rows).toHaveLength(3);
    expect(rows[0]).toEqual({
      pid: 0,
      time: "2026-06-01T00:00:01.000000Z",
      detail: '{"argv":["ls","0"]}',
      who: ["root"],
    });
    expect(query.lines.at(-1)).toMatch(/SELECT pid|3 rows|audit/);
  });

  test("ends at the bound of rows and says so, and leaves no file", async () => {
    const answer = await query.sql("SELECT pid FROM events ORDER BY pid", { format: "parquet" });
    expect(answer.headers.get("probity-truncated")).toBe("true");
    const rows = await read(await answer.arrayBuffer());
    expect(rows).toEqual(Array.from({ length: 100 }, (_, pid) => ({ pid })));
    const scratch = await readdir(join(query.folder, "cache", "scratch"), { recursive: true });
    expect(scratch.filter((name) => /answer|hot-/.test(name))).toEqual([]);
  });

  test("is refused where it is too large, or has what Parquet has not", async () => {
    const columns = Array.from({ length: 20 }, (_, at) => `sha256(i || '-${at}') AS c${at}`);
    const sql = `SELECT ${columns.join(", ")} FROM range(100) r(i)`;
    const large = await query.sql(sql, { format: "parquet" });
    expect(large.status).toBe(422);
    expect((await large.json()).detail).toMatch(/The answer has [0-9]+ bytes, more than 20000/);
    const again = await query.sql("SELECT 1 AS a", { format: "parquet" });
    expect(await read(await again.arrayBuffer())).toEqual([{ a: 1 }]);
  });

  test("prefers the body's format, and refuses what it cannot give", async () => {
    const headers = { accept: "text/csv" };
    const of = async (body: object): Promise<Response> =>
      await query.ask("/v1/sql", { method: "POST", body: JSON.stringify(body), headers });
    expect(await (await of({ sql: "SELECT 1 AS a" })).text()).toBe("a\r\n1\r\n");
    expect(await (await of({ sql: "SELECT 1 AS a", format: "ndjson" })).text()).toBe('{"a":1}\n');
    const xml = await query.ask("/v1/sql", {
      method: "POST",
      body: JSON.stringify({ sql: "SELECT 1" }),
      headers: { accept: "text/xml" },
    });
    expect(xml.status).toBe(406);
  });
});

describe("a statement is bounded", () => {
  test("in rows", async () => {
    const answer = await query.sql("SELECT i FROM range(101) r(i)");
    const { rows, truncated } = await answer.json();
    expect([rows.length, truncated]).toEqual([100, true]);
    const exact = await (await query.sql("SELECT i FROM range(100) r(i)")).json();
    expect([exact.rows.length, exact.truncated]).toEqual([100, false]);
  });

  test("in bytes", async () => {
    const answer = await query.sql("SELECT concat('é', $1) AS x FROM range(5)", {
      parameters: ["é".repeat(3_000)],
      format: "ndjson",
    });
    const lines = (await answer.text()).split("\n");
    expect(lines.map(({ length }) => length)).toEqual([3_009, 3_009, 3_009, 0]);
    expect(answer.headers.get("probity-truncated")).toBe("true");
  });

  test("in time", async () => {
    const startedMs = performance.now();
    const answer = await query.sql("SELECT count(*) FROM range(1000000000000)");
    expect(performance.now() - startedMs).toBeLessThan(6_000);
    expect(answer.status).toBe(422);
    expect((await answer.json()).detail).toBe("The query took longer than 1.5 s");
  });

  test("in memory", async () => {
    const answer = await query.sql(
      "SELECT length(string_agg(i::VARCHAR, ',')) FROM range(100000000) r(i)",
    );
    expect(answer.status).toBe(422);
    expect((await answer.json()).detail).toMatch(/needs more memory/);
  });
});
