import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AuditEvent } from "../../src/event/event.ts";
import { COLUMNS } from "../../src/event/columns.ts";
import { isTopicUnder, TOPICS } from "../../src/event/topic.ts";
import { parametersOf } from "../../src/query/planner/binder.ts";
import { planSql } from "../../src/query/planner/sql-plan.ts";
import { viewColumnsOf } from "../../src/query/planner/topic-view.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import { MACRO_STATEMENTS } from "../../src/query/sql/macros.ts";
import { TOPIC_VIEWS } from "../../src/query/sql/views.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { ocsfSamples } from "../support/ocsf-samples.ts";
import { openQueryFixture, type QueryFixture, START_US, VIEWER } from "../support/query-fixture.ts";

const LINE = new Set<string>(
  COLUMNS.filter(({ origin, name }) => origin === "line" && !["time", "idx"].includes(name))
    .map(({ name }) => name),
);

/** An event of every topic, as sources and services make them; each with members of other forms than they should be. */
const samples: readonly AuditEvent[] = ocsfSamples().map((sample, at) => ({
  ...Object.fromEntries(Object.entries(sample).filter(([name]) => LINE.has(name))),
  topic: sample.topic,
  severity: "info",
  timeUs: START_US + 10_000_000 + at,
}));
const strange: AuditEvent = {
  timeUs: START_US + 20_000_000,
  topic: "process/exec",
  severity: "info",
  exe: "/bin/strange",
  detail: { argv: "no list", argv_bytes: "many", memfd: { a: 1 }, tty: ["x"], ancestors: 7 },
};

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({ events: [...samples, strange] });
});

afterAll(() => query?.[Symbol.asyncDispose]());

type Row = Readonly<Record<string, unknown>>;

async function rows(sql: string, token?: string): Promise<Row[]> {
  const answer = await query.sql(sql, {}, token === undefined ? {} : { token });
  expect(answer.status, await answer.clone().text()).toBe(200);
  return (await answer.json()).rows;
}

describe("views of topics", () => {
  test("have every member that sources write, by its value", async () => {
    const topics = new Set(samples.map(({ topic }) => topic));
    expect([...TOPICS].filter((topic) => !topics.has(topic))).toEqual([]);
    for (const [view, topic] of TOPIC_VIEWS) {
      const columns = viewColumnsOf(topic);
      const found = await rows(
        `SELECT * FROM ${view} WHERE time >= TIMESTAMPTZ '2026-06-01 00:00:10Z' ` +
          "AND exe IS DISTINCT FROM '/bin/strange' ORDER BY time",
      );
      const expected = samples.filter((sample) =>
        [sample.topic, ...listOf(sample["topics"])].some((each) => isTopicUnder(each, topic))
      );
      expect(found.length, view).toBe(expected.length);
      for (const [at, sample] of expected.entries()) {
        const detail = Object.entries(sample.detail ?? {});
        for (const [key, value] of detail) {
          const column = columns.find(({ name }) => name === key);
          // Members that senders choose have no column.
          if (column === undefined && isTopicUnder(sample.topic, topic) && topic !== "app") {
            expect.fail(`${view} has no column for "${key}"`);
          }
          if (column === undefined) continue;
          expect(found[at]?.[column.column], `${view}.${key}`).toEqual(
            column.type === "json" || value === null || typeof value !== "object"
              ? column.type === "text" && value !== null ? String(value) : value
              : JSON.parse(JSON.stringify(value)),
          );
        }
      }
    }
  });

  test("give columns of every event their own names, and members of those names others", async () => {
    expect(await rows("SELECT agent, detail_agent, class, count, batches FROM agent_gap LIMIT 1"))
      .toEqual([{ agent: "a3", detail_agent: "a", class: "fork", count: null, batches: [2, 4] }]);
    for (const [view, topic] of TOPIC_VIEWS) {
      const names = [...COLUMNS, ...viewColumnsOf(topic).map(({ column: name }) => ({ name }))]
        .map(({ name }) => name);
      expect(new Set(names).size, view).toBe(names.length);
    }
  });

  test("are null where an event has another form", async () => {
    const sql = "SELECT argv, argv_bytes, memfd, tty, ancestors, sha256 FROM process_exec " +
      "WHERE exe = '/bin/strange'";
    expect(await rows(sql)).toEqual([
      { argv: null, argv_bytes: null, memfd: null, tty: '["x"]', ancestors: 7, sha256: null },
    ]);
  });

  test("of groups have the columns of all below", async () => {
    const sql = "SELECT topic, argv[1] AS first, exit_code FROM process " +
      "WHERE len(argv) = 2 AND pid >= 198 OR exit_code IS NOT NULL ORDER BY time LIMIT 3";
    expect(await rows(sql)).toEqual([
      { topic: "process/exec", first: "ls", exit_code: null },
      { topic: "process/exec", first: "ls", exit_code: null },
      expect.objectContaining({ topic: "process/exit", first: null }),
    ]);
  });

  test("show a principal nothing beyond their scopes", async () => {
    const views = [...TOPIC_VIEWS.keys()].filter((view) => /^[a-z]+$|exec|change$/.test(view));
    const counts = async (token?: string): Promise<unknown[]> => {
      const sql = views.map((view) => `(SELECT count(*) FROM ${view})::INT`);
      return Object.values((await rows(`SELECT [${sql.join(", ")}] AS n`, token))[0]?.["n"] ?? []);
    };
    const all = await counts();
    const visible = await counts(VIEWER);
    const ofFiles = views.map((view) => isTopicUnder(TOPIC_VIEWS.get(view) ?? "", "file"));
    expect(all.every((count) => Number(count) > 0)).toBe(true);
    // Their own files belong to app/shop as well.
    const expected = all.map((count, at) => ofFiles[at] === true ? count : 0);
    expected[views.indexOf("app")] = 49;
    expect(visible).toEqual(expected);
  });

  test("stand for nothing that a statement names itself", async () => {
    expect(await rows("WITH process_exec AS (SELECT 1 AS a) FROM process_exec")).toEqual([
      { a: 1 },
    ]);
    const sql = "WITH events AS (SELECT 1 AS a) SELECT count(*) AS n FROM network_connect";
    expect(await rows(sql, VIEWER)).toEqual([{ n: 0 }]);
  });
});

describe("what a statement asks for reaches the statistics of row groups", () => {
  test.each<[string, RegExp]>([
    ["SELECT count(*) FROM process_exec", /"topic>='process\/exec' AND topic<'process\/exec0'/],
    ["SELECT cmdline FROM process_exec WHERE argv_bytes > 5 AND pid = 7", /pid=7/],
    ["SELECT count(*) FROM events WHERE topic_under(topic, 'file')", /topic>='file' AND topic</],
    ["SELECT count(*) FROM events WHERE time > ago('15m')", /time>'20[-0-9: .+]+'::TIMESTAMP/],
  ])("%s", async (sql, filter) => {
    const log = createLog({ level: "error" });
    const snapshot = await openTable({ store: query.store, clock: systemClock, log }).refresh();
    const files = [...snapshot.files.values()];
    await using database = await openDatabase({
      memoryLimitBytes: 200_000_000,
      threads: 1,
      tempDirectory: join(query.folder, "spill"),
      tempLimitBytes: 100_000_000,
    });
    await using connection = await database.connect();
    await connection.run(MACRO_STATEMENTS);
    const plan = planSql(
      { statement: sql, parameters: [], tables: readBy(sql), limit: 10 },
      { name: "viewer", scopes: { ...ADMIN_SCOPES, hosts: ["db-1"] } },
      { hasFiles: true, others: [] },
    );
    const paths = files.map(({ path }) => String(query.store.localPath(dataFileKey(path))));
    const explained = await connection.query(`EXPLAIN (FORMAT json) ${plan.sql}`, {
      parameters: parametersOf(plan, paths),
    });
    const text = JSON.stringify(explained.rows).replaceAll("\\", "");
    expect(text).toMatch(filter);
  });
});

function readBy(sql: string): ReadonlySet<string> {
  return new Set([...sql.matchAll(/FROM (\w+)/g)].flatMap(([, name]) => name ?? []));
}

describe("functions of our own", () => {
  test("topic_under keeps to borders of segments", async () => {
    const sql = "SELECT t FROM (VALUES ('file'), ('file/write'), ('file/write/x'), ('files'), " +
      "('file-x'), ('fil'), ('file0'), (NULL)) AS v(t) WHERE topic_under(t, 'file') ORDER BY t";
    expect((await rows(sql)).map(({ t }) => t)).toEqual(["file", "file/write", "file/write/x"]);
    const [row] = await rows("SELECT count(*) AS n FROM events WHERE topic_under(topic, 'file')");
    expect(row).toEqual(
      (await rows("SELECT count(*) AS n FROM events WHERE topic LIKE 'file/%'"))[0],
    );
  });

  test.each([["15m", 900], ["2h", 7_200], ["1d", 86_400], ["90 seconds", 90], ["1h30m", 5_400]])(
    "ago(%j) is that long before now",
    async (age, seconds) => {
      expect(await rows(`SELECT epoch(now() - ago('${age}')) AS s`)).toEqual([{ s: seconds }]);
    },
  );

  test("ago says what it cannot read", async () => {
    const answer = await query.sql("SELECT ago('soon')");
    expect(answer.status).toBe(422);
    expect((await answer.json()).detail).toMatch(/Could not convert.*INTERVAL/);
  });
});

function listOf(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
