/** Statements answered from tallies, beside the same statements over events. */
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kindRowsOf } from "../../src/query/metric/kind-rows.ts";
import { TallyBook } from "../../src/query/metric/tally.ts";
import { parametersOf } from "../../src/query/planner/binder.ts";
import {
  planCounts,
  planParse,
  planSql,
  planWrite,
  type SqlSource,
} from "../../src/query/planner/sql-plan.ts";
import { ADMIN_SCOPES, type Principal } from "../../src/query/principal.ts";
import { topicConditions } from "../../src/query/sql/counted.ts";
import { type CountStatement, countStatementOf } from "../../src/query/sql/counts.ts";
import { passGate } from "../../src/query/sql/gate.ts";
import { MACRO_STATEMENTS } from "../../src/query/sql/macros.ts";
import { TABLES } from "../../src/query/sql/views.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { DataFile } from "../../src/storage/table.ts";
import { type DataTable, openDataTable } from "../support/data-table.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const TOPICS = ["file/write", "file", "files/write", "process/exec", "app/x", "it's"];
const HOSTS = ["db-1", "web-1", "web-2", "WEB-2"];

let data: DataTable;
let folder: TemporaryFolder;
let database: Database;
let connection: Connection;
let files: readonly DataFile[];
let hot: string;
const book = new TallyBook();

beforeAll(async () => {
  data = await openDataTable();
  folder = await openTemporaryFolder("counts");
  database = await openDatabase({
    memoryLimitBytes: 300_000_000,
    threads: 2,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  connection = await database.connect();
  await connection.run(MACRO_STATEMENTS);
  const hosts = `CASE WHEN range % 7 <> 0 THEN ['${HOSTS.join("', '")}'][range % 4 + 1] END`;
  const lists = "CASE range % 5 WHEN 0 THEN ['app/y', 'file/read'] WHEN 1 THEN [] END";
  for (const [at, rows] of [211, 97, 350, 40].entries()) {
    await data.addRound({
      rows,
      start: `2026-03-0${at + 1}T10:00:00Z`,
      topics: TOPICS.slice(at).map((topic) => topic.replaceAll("'", "''")),
      columns: { host: hosts, topics: lists },
    });
  }
  files = [...(await data.snapshot()).files.values()];
  const [last, ...tallied] = files;
  for (const file of tallied) {
    const kinds = await connection.query(
      "SELECT topic, topics, host, count(*) AS rows FROM " +
        `read_parquet('${pathOf(file)}') GROUP BY ALL`,
    );
    book.put(
      file.path,
      kinds.rows.map(({ topic, topics, host, rows }) => ({
        topic: topic === null ? null : String(topic),
        topics: Array.isArray(topics) ? topics.map(String) : [],
        host: host === null ? null : String(host),
        ...{ rows: Number(rows), firstUs: 0, lastUs: 0 },
      })),
    );
  }
  // The hot rows.
  hot = last === undefined ? "" : pathOf(last);
});

afterAll(async () => {
  await database?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await data?.[Symbol.asyncDispose]();
});

function pathOf({ path }: DataFile): string {
  return data.store.localPath(dataFileKey(path)) ?? "";
}

async function parse(sql: string): Promise<string> {
  const { rows } = await connection.query(planParse(sql).sql, { parameters: [sql] });
  return String(rows[0]?.["tree"]);
}

async function write(tree: string): Promise<string> {
  const { rows } = await connection.query(planWrite(tree).sql, { parameters: [tree] });
  return String(rows[0]?.["statement"]);
}

interface Case {
  readonly principal: Principal;
  /** Which of the files have a tally. */
  readonly tallied: readonly boolean[];
  readonly isHot: boolean;
}

const ALL: Case = {
  principal: { name: "ada", scopes: ADMIN_SCOPES },
  tallied: [true, true, true],
  isHot: false,
};

/** Columns and rows, or what DuckDB says, of a statement over events and from tallies. */
async function bothWays(sql: string, { principal, tallied, isHot }: Case) {
  const tree = await parse(sql);
  const { tables } = passGate(JSON.parse(tree), { tables: TABLES });
  const counted = countStatementOf(tree);
  if (counted === undefined) throw new Error(`${sql} is not answered from tallies`);
  const archived = files.slice(1);
  const run = async (
    text: string,
    planOf: (
      request: Parameters<typeof planSql>[0],
      source: SqlSource,
    ) => ReturnType<typeof planSql>,
    read: readonly DataFile[],
  ) => {
    const request = { statement: await write(text), parameters: [], tables, limit: 100 };
    const source = { hasFiles: read.length > 0, others: isHot ? [[hot]] : [] };
    const plan = planOf(request, source);
    try {
      const parameters = parametersOf(plan, read.map(pathOf));
      const { columns, rows } = await connection.query(plan.sql, { parameters });
      return { columns, rows };
    } catch (error) {
      return String(error).split(":")[0];
    }
  };
  const plain = await run(tree, (request, source) => planSql(request, principal, source), archived);
  const kinds = kindsOf(counted, { principal, tallied });
  const fromTallies = await run(
    counted.tree,
    (request, source) => planCounts(request, principal, { kinds, source }),
    kinds.files,
  );
  return { plain, fromTallies, read: kinds.files.length };
}

function kindsOf(counted: CountStatement, { principal, tallied }: Omit<Case, "isHot">) {
  const archived = files.slice(1);
  const held = new Set(archived.filter((_, at) => tallied[at]));
  const tallyOf = (file: DataFile) => held.has(file) ? book.get(file.path) : undefined;
  return kindRowsOf({ book, tallyOf }, {
    conditions: topicConditions(counted.table),
    columns: [...counted.columns],
    view: { files: archived },
    principal,
  });
}

const PREDICATES = [
  "topic = 'file/write'",
  "e.host LIKE 'web-%'",
  "host IN ('db-1', 'WEB-2')",
  "host IS NULL",
  "topic_under(topic, 'file')",
  "NOT starts_with(host, 'web')",
  "topic >= 'file' AND (host = 'db-1' OR host IS NOT NULL AND topic <> 'file')",
  "coalesce(host, 'none') BETWEEN 'm' AND 'z'",
  "host IS DISTINCT FROM 'web-1'",
  "false",
  "topic = 'it''s'",
];
const KEYS = ["topic", "host", "e.host", "split_part(topic, '/', 1)", "lower(host)", "'all'"];
const COUNTS = [
  "count(*)",
  "count()",
  "count(*) AS n",
  "count(*)::INT AS m",
  "count(*) + 1 AS more",
  "round(100 * count(*) / 698, 1) AS part",
];

const statements = fc.record({
  table: fc.constantFrom("events", "file", "process_exec", "app", "EVENTS"),
  keys: fc.uniqueArray(fc.constantFrom(...KEYS), { maxLength: 3 }),
  counts: fc.uniqueArray(fc.constantFrom(...COUNTS), { minLength: 1, maxLength: 3 }),
  filter: fc.option(fc.constantFrom(...PREDICATES)),
  where: fc.array(fc.constantFrom(...PREDICATES), { maxLength: 2 }),
  having: fc.option(fc.constantFrom("count(*) > 20", "count(*) % 2 = 0"), { freq: 2 }),
  grouping: fc.constantFrom("ALL", "places", "names", "ROLLUP"),
  isLimited: fc.boolean(),
}).map(({ table, keys, counts, filter, where, having, grouping, isLimited }) => {
  const filtered = filter === null ? [] : [`count(*) FILTER (WHERE ${filter}) AS filtered`];
  const named = keys.map((key, at) => /^[a-z]+$/.test(key) ? key : `${key} AS key_${at}`);
  const selected = [...named, ...counts, ...filtered];
  const conditions = where.length === 0
    ? ""
    : ` WHERE ${where.map((each) => `(${each})`).join(" AND ")}`;
  const places = keys.map((_, at) => at + 1).join(", ");
  const groups = keys.length === 0
    ? ""
    : grouping === "ALL"
    ? " GROUP BY ALL"
    : grouping === "ROLLUP"
    ? ` GROUP BY ROLLUP (${keys.join(", ")})`
    : ` GROUP BY ${grouping === "places" ? places : keys.join(", ")}`;
  const held = having === null ? "" : ` HAVING ${having}`;
  const order = ` ORDER BY ${selected.map((_, at) => at + 1).join(", ")}, count(*) DESC`;
  const limit = isLimited ? " LIMIT 3 OFFSET 1" : "";
  return `SELECT ${
    selected.join(", ")
  } FROM ${table} AS e${conditions}${groups}${held}${order}${limit}`;
});

const cases: fc.Arbitrary<Case> = fc.record({
  principal: fc.record({
    topics: fc.constantFrom<"all" | string[]>("all", "all", ["file"], ["file/write", "app"], []),
    hosts: fc.constantFrom<"all" | string[]>("all", "all", ["web-*"], ["db-1"], []),
  }).map((scopes) => ({ name: "ada", scopes: { ...ADMIN_SCOPES, ...scopes } })),
  tallied: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
  isHot: fc.boolean(),
});

describe("a statement that counts by topic and host", () => {
  test("has the same answer from tallies, whatever of them there is and whoever asks", async () => {
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(statements, cases, async (sql, each) => {
        const { plain, fromTallies } = await bothWays(sql, each);
        expect(fromTallies, sql).toEqual(plain);
        if (typeof plain === "object" && plain.rows.length > 0) answered += 1;
      }),
      { numRuns: 100 },
    );
    // Statements that are refused both ways, or find nothing, tell little.
    expect(answered).toBeGreaterThan(10);
  }, 60_000);

  test.each([
    "SELECT topic, count(*) FROM events GROUP BY topic",
    "SELECT topic, count(*) AS n FROM events GROUP BY topic ORDER BY n DESC, topic",
    "SELECT count(*) FROM events",
    "SELECT count(*) AS n FROM file",
    "SELECT topic, count(*) AS events FROM events GROUP BY topic ORDER BY events DESC, topic",
  ])("reads nothing that has a tally: %s", async (sql) => {
    const { plain, fromTallies, read } = await bothWays(`${sql}`, ALL);
    const sorted = (answer: typeof plain) =>
      typeof answer === "object"
        ? { ...answer, rows: answer.rows.map((row) => JSON.stringify(row)).sort() }
        : answer;
    expect(sorted(fromTallies)).toEqual(sorted(plain));
    expect(plain).toMatchObject({ columns: expect.any(Array) });
    expect(read).toBe(0);
  });
});

test.each([
  "SELECT topic FROM events",
  "SELECT topic FROM events GROUP BY topic",
  "SELECT DISTINCT topic, count(*) FROM events GROUP BY topic",
  "SELECT *, count(*) FROM events GROUP BY ALL",
  "SELECT count(*) FROM events e, events f",
  "SELECT count(*) FROM (SELECT * FROM events)",
  "SELECT count(*) FROM events WHERE pid = 7",
  "SELECT count(*) FROM events WHERE time > ago('1d')",
  "SELECT count(*) FILTER (WHERE exe = 'x') FROM events",
  "SELECT count(topic) FROM events",
  "SELECT count(DISTINCT topic) FROM events",
  "SELECT count(*), max(topic) FROM events",
  "SELECT count(*) OVER () FROM events",
  "SELECT count(*), random() AS r FROM events GROUP BY ALL",
  "SELECT count(*) FROM events WHERE random() > 0.5",
  "SELECT count(*) FROM events TABLESAMPLE 10%",
  "SELECT count(*) FROM events USING SAMPLE 3",
  "SELECT count(*) FROM events AS e(a, b)",
  "WITH events AS (SELECT 1) SELECT count(*) FROM events",
  "SELECT count(*) FROM events UNION ALL SELECT count(*) FROM events",
  "SELECT count(*) FROM events WHERE topic IN (SELECT topic FROM file)",
  "SELECT count(*) AS pid FROM events",
  "SELECT count(*) AS argv FROM process_exec",
  'SELECT count(*) AS "events it stands for" FROM events',
  "SELECT count(*) AS events FROM events WHERE events::VARCHAR LIKE '%root%'",
  "SELECT 1 AS e, count(*) FROM events AS e GROUP BY e",
  "SELECT count(*) AS file FROM file HAVING file > 1",
  "SELECT f.topic, count(*) FROM events AS e GROUP BY ALL",
  "SELECT count(*) + 1 FROM events",
  "SELECT count(*) FROM events HAVING count(*) < 9007199254740993",
  "SELECT topic, count(*) FROM events GROUP BY ALL QUALIFY row_number() OVER () < 3",
  "SELECT topic, count(*) FROM events GROUP BY topic ORDER BY ALL",
  "SELECT topic COLLATE nocase AS t, count(*) FROM events GROUP BY ALL",
  "SELECT 1",
])("is run over events: %s", async (sql) => {
  expect(countStatementOf(await parse(sql))).toBeUndefined();
});

test("a statement whose tree is very long is run over events", async () => {
  const topics = (count: number) => `topic IN (${"'file', ".repeat(count)}'app')`;
  const sqlOf = (count: number) => `SELECT count(*) FROM events WHERE ${topics(count)}`;
  expect(countStatementOf(await parse(sqlOf(20)))).toBeDefined();
  expect(countStatementOf(await parse(sqlOf(2_000)))).toBeUndefined();
});
