import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { planParse, planSql, planWrite } from "../../src/query/planner/sql-plan.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import { ProblemError } from "../../src/query/problem.ts";
import { EXPRESSION_FUNCTIONS, TABLE_FUNCTIONS } from "../../src/query/sql/functions.ts";
import { passGate, renameParameters } from "../../src/query/sql/gate.ts";
import { MACRO_STATEMENTS } from "../../src/query/sql/macros.ts";
import { TABLES, TOPIC_VIEWS } from "../../src/query/sql/views.ts";
import {
  type Connection,
  type Database,
  openDatabase,
  type SqlRow,
  type SqlValue,
} from "../../src/storage/duckdb.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;

beforeAll(async () => {
  folder = await openTemporaryFolder("gate");
  database = await openDatabase({
    memoryLimitBytes: 200_000_000,
    threads: 2,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  connection = await database.connect();
  // What nobody may reach, though it lies in the same database.
  await connection.run("CREATE SCHEMA hot; CREATE TABLE hot.rows_0_1 AS SELECT 42 AS secret");
  await connection.run("CREATE TABLE secrets AS SELECT 42 AS secret");
  await connection.run("CREATE MACRO peek() AS TABLE SELECT * FROM secrets");
  await connection.run(MACRO_STATEMENTS);
  await database.lock({ directories: [folder.path] });
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function textOf(plan: ReturnType<typeof planParse>, column: string): Promise<string> {
  const parameters = plan.parameters.filter((each) => typeof each !== "symbol");
  const { rows } = await connection.query(plan.sql, { parameters });
  return String(rows[0]?.[column]);
}

async function gate(sql: string): Promise<ReturnType<typeof passGate>> {
  return passGate(JSON.parse(await textOf(planParse(sql), "tree")), { tables: TABLES });
}

/** What a statement answers after it went through the gate, over no events. */
async function run(
  sql: string,
  values: Readonly<Record<string, SqlValue>> = {},
): Promise<readonly SqlRow[]> {
  const tree = await textOf(planParse(sql), "tree");
  const { parameters: names, tables } = passGate(JSON.parse(tree), { tables: TABLES });
  const numbers = new Map(names.map((name, at) => [name, String(at + 1)]));
  const statement = await textOf(planWrite(renameParameters(tree, numbers)), "statement");
  const parameters = names.map((name) => values[name] ?? null);
  const request = { statement, parameters, tables, limit: 1_000 };
  const principal = { name: "admin", scopes: ADMIN_SCOPES };
  const plan = planSql(request, principal, { hasFiles: false, others: [] });
  const bound = plan.parameters.filter((each) => typeof each !== "symbol");
  return (await connection.query(plan.sql, { parameters: bound })).rows;
}

const HOSTILE: readonly string[] = [
  // Other statements, alone, behind a SELECT, or dressed up as one.
  "COPY (SELECT 1) TO '/tmp/stolen.csv'",
  "COPY events FROM '/etc/passwd'",
  "ATTACH '/tmp/other.db' AS other",
  "DETACH memory",
  "USE hot",
  "PRAGMA database_list",
  "PRAGMA version",
  "SET memory_limit = '1TB'",
  "RESET memory_limit",
  "SET VARIABLE files = 'x'",
  "INSTALL httpfs",
  "LOAD httpfs",
  "EXPORT DATABASE '/tmp/stolen'",
  "IMPORT DATABASE '/tmp/stolen'",
  "CREATE TABLE t AS SELECT 1",
  "CREATE TEMP VIEW events AS SELECT 1",
  "CREATE MACRO f() AS 1",
  "CREATE SECRET (TYPE s3)",
  "INSERT INTO events SELECT 1",
  "UPDATE events SET host = 'x'",
  "DELETE FROM events",
  "DROP TABLE hot.rows_0_1",
  "ALTER TABLE secrets ADD COLUMN x INT",
  "TRUNCATE secrets",
  "CHECKPOINT",
  "VACUUM",
  "ANALYZE",
  "BEGIN",
  "COMMIT",
  "CALL pragma_version()",
  "EXPLAIN SELECT 1",
  "EXPLAIN ANALYZE SELECT * FROM events",
  "PREPARE p AS SELECT 1",
  "EXECUTE p",
  "SHOW TABLES",
  "SHOW ALL TABLES",
  "DESCRIBE events",
  "SUMMARIZE events",
  "SELECT * FROM (DESCRIBE secrets)",
  "SELECT * FROM (SHOW TABLES)",
  "SELECT 1; SELECT 2",
  "SELECT 1; DROP TABLE secrets",
  "SELECT 1;; DROP TABLE secrets --",
  "SELECT 1 /* ; */; DELETE FROM secrets",
  "SELECT 1 -- harmless\n; DELETE FROM secrets",
  "WITH x AS (DELETE FROM secrets RETURNING *) SELECT * FROM x",
  "WITH x AS (INSERT INTO secrets VALUES (1) RETURNING *) SELECT * FROM x",
  "PIVOT secrets ON secret USING count(*)",
  "SELECT * FROM (PIVOT events ON host IN ('a') USING count(*))",
  "UNPIVOT events ON uid, gid INTO NAME n VALUE v",
  "",
  ";",
  "-- nothing",
  "SELECT",
  "SELEKT 1",
  "SELECT 1 /* never ends",
  "SELECT 'never ends",
  // Tables that are no views of events.
  "SELECT * FROM secrets",
  "SELECT * FROM SECRETS",
  'SELECT * FROM "secrets"',
  "FROM secrets",
  "TABLE secrets",
  "SELECT * FROM main.events",
  "SELECT * FROM memory.main.secrets",
  "SELECT * FROM hot.rows_0_1",
  "SELECT * FROM rows_0_1",
  "SELECT * FROM information_schema.tables",
  "SELECT * FROM duckdb_tables",
  "SELECT * FROM sqlite_master",
  "SELECT * FROM pg_catalog.pg_class",
  "SELECT * FROM '/etc/passwd'",
  "SELECT * FROM '/etc/passwd' AS events",
  "SELECT * FROM 'x.parquet'",
  'SELECT * FROM "/etc/passwd"',
  "SELECT * FROM 's3://bucket/x.parquet'",
  "SELECT * FROM events JOIN secrets ON true",
  "SELECT * FROM events, LATERAL (SELECT * FROM secrets)",
  "SELECT (SELECT secret FROM secrets)",
  "SELECT * FROM events WHERE uid IN (SELECT secret FROM secrets)",
  "SELECT * FROM events WHERE EXISTS (FROM secrets)",
  "SELECT 1 UNION ALL SELECT secret FROM secrets",
  "SELECT 1 ORDER BY (SELECT secret FROM secrets)",
  "SELECT 1 LIMIT (SELECT secret FROM secrets)",
  "SELECT count(*) FILTER (WHERE (SELECT secret FROM secrets) = 42)",
  "SELECT sum(1) OVER (ORDER BY (SELECT secret FROM secrets))",
  "SELECT list_transform([1], lambda x: (SELECT secret FROM secrets))",
  "SELECT * REPLACE ((SELECT secret FROM secrets) AS host) FROM events",
  "SELECT DISTINCT ON ((SELECT secret FROM secrets)) host FROM events",
  "SELECT host FROM events GROUP BY host HAVING (SELECT secret FROM secrets) = 42",
  "SELECT host FROM events QUALIFY (SELECT secret FROM secrets) = 42",
  "VALUES ((SELECT secret FROM secrets))",
  "SELECT * FROM events AT (VERSION => 1)",
  // Names of common table expressions that do not reach where they are used.
  "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
  "WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1) SELECT * FROM a",
  "SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT * FROM secrets)",
  "SELECT (WITH secrets AS (SELECT 1) SELECT 1), secret FROM secrets",
  "WITH RECURSIVE secrets AS (SELECT * FROM secrets UNION ALL SELECT 1 FROM events) SELECT 1",
  "WITH duckdb_tables AS (FROM duckdb_tables) FROM duckdb_tables",
  "(WITH secrets AS (SELECT 1) SELECT 1) UNION ALL SELECT secret FROM secrets",
  // Functions that read, run, wait, or tell of the inside.
  "SELECT * FROM read_text('/etc/passwd')",
  "SELECT * FROM READ_TEXT('/etc/passwd')",
  "SELECT * FROM \"read_text\"('/etc/passwd')",
  "SELECT * FROM main.read_text('/etc/passwd')",
  "SELECT * FROM system.main.read_text('/etc/passwd')",
  "SELECT * FROM read_blob('/etc/*')",
  "SELECT * FROM read_csv('/etc/passwd')",
  "SELECT * FROM read_csv_auto('/etc/passwd')",
  "SELECT * FROM read_json('/etc/x.json')",
  "SELECT * FROM read_parquet('/x.parquet')",
  "SELECT * FROM parquet_scan('/x.parquet')",
  "SELECT * FROM parquet_metadata('/x.parquet')",
  "SELECT * FROM glob('/etc/*')",
  "SELECT * FROM sniff_csv('/etc/passwd')",
  "SELECT * FROM query('SELECT * FROM secrets')",
  "SELECT * FROM query_table('secrets')",
  "SELECT * FROM histogram('secrets', 'secret')",
  "SELECT * FROM json_execute_serialized_sql('{}')",
  "SELECT * FROM duckdb_settings()",
  "SELECT * FROM duckdb_secrets()",
  "SELECT * FROM pragma_database_list()",
  "SELECT * FROM which_secret('s3://x', 's3')",
  "SELECT * FROM repeat_row(1, num_rows = 1000000000)",
  "SELECT * FROM peek()",
  "SELECT * FROM events, read_text(events.path)",
  "SELECT getenv('HOME')",
  "SELECT 'HOME'.getenv()",
  "SELECT current_setting('temp_directory')",
  "SELECT getvariable('files')",
  "SELECT nextval('s')",
  "SELECT sleep_ms(100000)",
  "SELECT pg_sleep(100)",
  "SELECT repeat('x', 4000000000)",
  "SELECT lpad('x', 2000000000, 'x')",
  "SELECT write_log('x')",
  "SELECT version()",
  "SELECT json_serialize_sql('SELECT 1')",
  "SELECT main.version()",
  "SELECT getvariable('x') OVER ()",
  "SELECT [getenv('HOME') FOR x IN [1]]",
  "SELECT CASE WHEN true THEN getenv('HOME') END",
  "SELECT max(getenv('HOME')) FROM events",
  "SELECT count(*) FROM events USING SAMPLE getenv('x') PERCENT",
  "SELECT DEFAULT",
];

describe("the gate refuses", () => {
  test("at least sixty ways to do harm", () => expect(HOSTILE.length).toBeGreaterThan(60));

  test.each(HOSTILE)("%s", async (sql) => {
    const problem = await gate(sql).then(
      (passed) => expect.fail(`passed: ${JSON.stringify(passed.tables)}`),
      (error: unknown) => error,
    );
    expect(problem).toBeInstanceOf(ProblemError);
    expect((problem as ProblemError).problem).toMatchObject({ status: 422, parameter: "sql" });
  });
});

describe("the gate lets pass", () => {
  test.each<[string, unknown, Readonly<Record<string, SqlValue>>?]>([
    ["SELECT 1 AS a", [{ a: 1 }]],
    ["SELECT 1 AS a;", [{ a: 1 }]],
    ["SELECT 1 AS a -- the end", [{ a: 1 }]],
    ["/* ; */ SELECT ';' AS a /* ) */", [{ a: ";" }]],
    ["SELECT ')' AS a, $$;--$$ AS b", [{ a: ")", b: ";--" }]],
    ["FROM (VALUES (1, 'x'), (2, 'y')) AS v(a, b) SELECT b WHERE a > 1", [{ b: "y" }]],
    ["SELECT count(*) AS n FROM events", [{ n: 0 }]],
    ["SELECT count(*) AS n FROM Process_Exec WHERE cmdline = ?", [{ n: 0 }], { 1: "ls" }],
    ["WITH x AS (SELECT 1 AS a), y AS (SELECT a + 1 AS a FROM x) FROM y", [{ a: 2 }]],
    ["WITH secrets AS (SELECT 7 AS a) SELECT * FROM secrets", [{ a: 7 }]],
    ["WITH events AS (SELECT 7 AS a) SELECT * FROM events", [{ a: 7 }]],
    [
      "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) " +
      "SELECT list(i ORDER BY i DESC) AS l FROM n",
      [{ l: [3, 2, 1] }],
    ],
    ["SELECT $a::INT + $b AS s", [{ s: 3 }], { a: 1n, b: 2n }],
    ["SELECT $1 AS a, $2 AS b, $1 AS c", [{ a: "x", b: 2, c: "x" }], { 1: "x", 2: 2n }],
    [`SELECT 1 AS "a""b;--"`, [{ 'a"b;--': 1 }]],
    ["SELECT i FROM range(4) AS r(i) ORDER BY i DESC LIMIT 2", [{ i: 3 }, { i: 2 }]],
    ["SELECT unnest([1, 2]) AS a", [{ a: 1 }, { a: 2 }]],
    ["SELECT '{\"a\": {\"b\": 1}}'->'a'->>'b' AS v", [{ v: "1" }]],
    ["SELECT '[1,2]'::JSON->0 AS v, json_extract_string('{\"k\":\"x\"}', '$.k') AS w", [
      { v: "1", w: "x" },
    ]],
    ["SELECT list_transform([1, 2], lambda x: x * 2) AS l, [x + 1 FOR x IN [1, 2]] AS m", [
      { l: [2, 4], m: [2, 3] },
    ]],
    ["SELECT {'a': 1, 'b': [2]} AS s, MAP {'k': 1}['k'] AS m", [{ s: { a: 1, b: [2] }, m: 1 }]],
    ["SELECT extract(year FROM TIMESTAMPTZ '2026-01-02 00:00:00Z') AS y", [{ y: 2026 }]],
    ["SELECT time_bucket(INTERVAL '1 hour', TIMESTAMPTZ '2026-01-02 03:04:05Z') AS t", [
      { t: "2026-01-02T03:00:00.000000Z" },
    ]],
    ["SELECT now() - INTERVAL 1 DAY < current_timestamp AS b", [{ b: true }]],
    ["SELECT 'abc' LIKE 'a%' AS a, 'abc' ~ 'b' AS b, 'abc' SIMILAR TO 'a.c' AS c", [
      { a: true, b: false, c: true },
    ]],
    ["SELECT 'a_c' LIKE 'a!_c' ESCAPE '!' AS a, 'abc' GLOB 'a*' AS b, 'x' NOT ILIKE 'Y' AS c", [
      { a: true, b: true, c: true },
    ]],
    ["SELECT coalesce(NULL, 1) AS a, nullif(1, 1) AS b, CASE WHEN 1 = 1 THEN 2 END AS c", [
      { a: 1, b: null, c: 2 },
    ]],
    ["SELECT row_number() OVER (ORDER BY i DESC) AS n, i FROM range(2) r(i) ORDER BY n", [
      { n: 1, i: 1 },
      { n: 2, i: 0 },
    ]],
    ["SELECT lag(i) OVER (ORDER BY i) AS p FROM range(2) r(i) QUALIFY p = 0", [{ p: 0 }]],
    ["SELECT i % 2 AS k, sum(i) AS s FROM range(4) r(i) GROUP BY ALL ORDER BY ALL", [
      { k: 0, s: 2 },
      { k: 1, s: 4 },
    ]],
    ["SELECT 9007199254740993 AS big, 170141183460469231731687303715884105727 AS huge", [
      { big: "9007199254740993", huge: "170141183460469231731687303715884105727" },
    ]],
    ["SELECT 1 AS a UNION ALL BY NAME SELECT 2 AS a ORDER BY a", [{ a: 1 }, { a: 2 }]],
    ["SELECT * EXCLUDE (a) FROM (SELECT 1 AS a, 2 AS b)", [{ b: 2 }]],
    ["SELECT COLUMNS('b.*') FROM (SELECT 1 AS a, 2 AS b1)", [{ b1: 2 }]],
    ["SELECT DISTINCT ON (a) a, b FROM (VALUES (1, 2), (1, 3)) v(a, b) ORDER BY a, b", [
      { a: 1, b: 2 },
    ]],
    [
      "SELECT quantile_cont(i, 0.5) AS q, string_agg(i::VARCHAR, ',' ORDER BY i) AS s FROM range(3) r(i)",
      [
        { q: 1, s: "0,1,2" },
      ],
    ],
    [
      "SELECT a.i FROM range(2) a(i) JOIN range(2) b(i) USING (i) ANTI JOIN range(1) c(i) USING (i)",
      [
        { i: 1 },
      ],
    ],
    [
      "SELECT (SELECT max(i) FROM range(3) r(i) WHERE i < o.j) AS m FROM range(3) o(j) WHERE j = 2",
      [
        { m: 1 },
      ],
    ],
    ["SELECT 1::DECIMAL(10, 2) AS d, '[1]'::INT[] IS NULL AS n, TRY_CAST('x' AS INT) AS t", [
      { d: "1.00", n: false, t: null },
    ]],
    ["SELECT key, value FROM json_each('{\"a\": 1}')", [{ key: "a", value: "1" }]],
  ])("%s", async (sql, rows, values = {}) => {
    expect(await run(sql, values)).toEqual(rows);
  });

  test("every view, with the columns of events", async () => {
    for (const name of TABLES) {
      const [row] = await run(
        `SELECT count(id) AS n, max(time) AS t, any_value(detail) AS d FROM ${name}`,
      );
      expect(row).toEqual({ n: 0, t: null, d: null });
    }
    expect(TOPIC_VIEWS.get("process_exec")).toBe("process/exec");
    expect(TOPIC_VIEWS.get("account_user_add")).toBe("account/user/add");
    expect(TOPIC_VIEWS.get("crypto")).toBe("crypto");
  });
});

describe("the lists of functions", () => {
  test("name only what DuckDB has, and nothing that reaches outside", async () => {
    const { rows } = await connection.query(
      "SELECT DISTINCT function_name AS name FROM duckdb_functions()",
    );
    // What the binder itself knows under a name of its own.
    const known = new Set([...rows.map(({ name }) => name), "coalesce", "ifnull", "fill"]);
    const unknown = [...EXPRESSION_FUNCTIONS, ...TABLE_FUNCTIONS].filter((name) =>
      !known.has(name)
    );
    expect(unknown).toEqual([]);
    const reaching = [...EXPRESSION_FUNCTIONS].filter((name) =>
      /^(read_|duckdb_|pragma_|current_s|pg_[^t]|query|getenv|write_|sleep)/.test(name)
    );
    expect(reaching).toEqual([]);
  });
});
