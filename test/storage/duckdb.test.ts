import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Connection,
  type Database,
  openDatabase,
  SqlError,
} from "../../src/storage/duckdb.ts";
import { identifierOf, listOf, literalOf } from "../../src/storage/sql-text.ts";
import { PIECE_BYTES } from "../../src/storage/text-bytes.ts";

let folder: string;
let database: Database;
let connection: Connection;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "probity-duckdb-"));
  database = await open();
  connection = await database.connect();
});

afterAll(async () => {
  await connection[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

function open(memoryLimitBytes = 200_000_000): Promise<Database> {
  return openDatabase({
    memoryLimitBytes,
    threads: 2,
    tempDirectory: join(folder, "spill"),
    tempLimitBytes: 100_000_000,
  });
}

async function textsOf(chunks: AsyncIterable<readonly string[]>): Promise<string[]> {
  const texts: string[] = [];
  for await (const chunk of chunks) texts.push(...chunk);
  return texts;
}

describe("rows", () => {
  test("come as JSON with their types", async () => {
    const sql = `SELECT 1::INTEGER AS i, 9007199254740991::BIGINT AS safe,
      9007199254740993::BIGINT AS unsafe, 'ü' AS s, NULL AS n, true AS b, ['a', NULL] AS l,
      {'x': 1, 'y': [2]} AS st, MAP {'k': 1} AS m, 1.5::DOUBLE AS d, 'NaN'::DOUBLE AS nan,
      make_timestamptz(2026, 2, 3, 4, 5, 6.000007) AS at, DATE '2026-02-03' AS day`;
    const { columns, rows } = await connection.query(sql);
    expect(rows).toEqual([{
      i: 1,
      safe: 9007199254740991,
      unsafe: "9007199254740993",
      s: "ü",
      n: null,
      b: true,
      l: ["a", null],
      st: { x: 1, y: [2] },
      m: [{ key: "k", value: 1 }],
      d: 1.5,
      nan: "NaN",
      at: "2026-02-03T04:05:06.000007Z",
      day: "2026-02-03",
    }]);
    expect(columns.slice(0, 2)).toEqual([{ name: "i", type: "INTEGER" }, {
      name: "safe",
      type: "BIGINT",
    }]);
    expect(columns.find(({ name }) => name === "at")?.type).toBe("TIMESTAMP WITH TIME ZONE");
  });

  test("take parameters by place", async () => {
    const { rows } = await connection.query("SELECT $1 || $2 AS t, $3 AS n, $4 AS b", {
      parameters: ["a", "'b", null, 2n ** 60n],
    });
    expect(rows).toEqual([{ t: "a'b", n: null, b: String(2n ** 60n) }]);
  });

  test("tell columns of one name apart", async () => {
    const { rows } = await connection.query("SELECT 1 AS a, 2 AS a");
    expect(Object.values(rows[0] ?? {})).toEqual([1, 2]);
  });

  test("count as changed when a statement writes them", async () => {
    await connection.run("CREATE TEMP TABLE changed (n BIGINT)");
    expect(await connection.run("INSERT INTO changed FROM range(7)")).toBe(7);
  });
});

test("times are UTC whatever the process's zone is", async () => {
  const other = await database.connect();
  for (const each of [connection, other]) {
    const { rows } = await each.query(
      "SELECT current_setting('TimeZone') AS zone, CAST(to_timestamp(0)::DATE AS VARCHAR) AS day",
    );
    expect(rows).toEqual([{ zone: "UTC", day: "1970-01-01" }]);
  }
  await other[Symbol.asyncDispose]();
});

test("appended rows come back, timestamps as microseconds", async () => {
  await connection.run(
    "CREATE TEMP TABLE messages (seq BIGINT, logged_at TIMESTAMPTZ, host VARCHAR)",
  );
  await connection.append("messages", [[1, 1_700_000_000_000_001, "a"], [2n ** 53n, 0, null]]);
  const { rows } = await connection.query("SELECT * FROM messages ORDER BY seq");
  expect(rows).toEqual([
    { seq: 1, logged_at: "2023-11-14T22:13:20.000001Z", host: "a" },
    { seq: "9007199254740992", logged_at: "1970-01-01T00:00:00.000000Z", host: null },
  ]);
});

test("a file made again under its name is read anew", async () => {
  const path = join(folder, "again.parquet");
  for (let round = 0; round < 20; round++) {
    await rm(path, { force: true });
    await connection.run(`COPY (SELECT ${round} AS n) TO ${literalOf(path)} (FORMAT parquet)`);
    const { rows } = await connection.query(`SELECT n FROM read_parquet(${literalOf(path)})`);
    expect(rows).toEqual([{ n: round }]);
  }
});

test("streamed texts are all there, in order", async () => {
  const texts = await textsOf(
    connection.streamText("SELECT range::VARCHAR FROM range($1::BIGINT)", { parameters: [5000] }),
  );
  expect(texts).toEqual(Array.from({ length: 5000 }, (_, place) => String(place)));
});

test("a stream left half-read frees its connection", async () => {
  for await (const chunk of connection.streamText("SELECT range::VARCHAR FROM range(10000000)")) {
    expect(chunk.length).toBeGreaterThan(0);
    break;
  }
  expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
});

describe("streamed bytes", () => {
  const bytesOf = async (sql: string): Promise<{ rows: number; text: string; largest: number }> => {
    const pieces = await Array.fromAsync(connection.streamBytes(sql));
    return {
      rows: pieces.reduce((sum, { rows }) => sum + rows, 0),
      text: Buffer.concat(pieces.map(({ bytes }) => bytes)).toString(),
      largest: Math.max(...pieces.map(({ bytes }) => bytes.length)),
    };
  };

  test("are those of the texts, one behind the other, however long each is", async () => {
    const lengths = fc.array(
      fc.oneof(fc.integer({ min: 0, max: 14 }), fc.constantFrom(0, 12, 13, 700, 2_047, 70_000)),
      { minLength: 1, maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(lengths, fc.constantFrom("x", "ü", "😀\n"), async (wanted, sign) => {
        const table = `unnest(${JSON.stringify(wanted)}) WITH ORDINALITY AS r (length, place)`;
        const text = `left(place || repeat('${sign}', length), length)`;
        const sql = `SELECT ${text} AS t FROM ${table} ORDER BY place`;
        const texts = await textsOf(connection.streamText(sql));
        const { rows, text: joined } = await bytesOf(`SELECT encode(t) FROM (${sql})`);
        expect(rows).toBe(texts.length);
        expect(joined).toBe(texts.join(""));
      }),
      { numRuns: 40 },
    );
  });

  test("come in pieces that hold whole rows, in the order of the statement", async () => {
    const line = "range || repeat('y', (range % 1500)::INT) || chr(10)";
    const { rows, text, largest } = await bytesOf(
      `SELECT encode(${line}) FROM range(20000) ORDER BY range`,
    );
    expect(rows).toBe(20_000);
    expect(text.split("\n").slice(0, -1).map((each) => Number.parseInt(each, 10)))
      .toEqual(Array.from({ length: 20_000 }, (_, place) => place));
    expect(largest).toBeLessThanOrEqual(PIECE_BYTES);
  });

  test("have nothing of what is absent, and can be empty", async () => {
    const text = "CASE WHEN range % 3 = 0 THEN NULL ELSE 'a text of some length ' || range END";
    expect(await bytesOf(`SELECT encode(${text}) FROM range(5)`)).toMatchObject({
      rows: 5,
      text: "a text of some length 1a text of some length 2a text of some length 4",
    });
    expect((await bytesOf("SELECT encode('a') WHERE false")).rows).toBe(0);
  });

  test("are refused of a column that has no bytes", async () => {
    await expect(bytesOf("SELECT 1")).rejects.toThrow("Cannot read bytes: no vector of blobs");
    expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  });

  test("end when the signal is aborted, half-read", async () => {
    const controller = new AbortController();
    const sql = "SELECT encode(repeat('x', 500)) FROM range(100000000)";
    const read = async (): Promise<void> => {
      for await (const _ of connection.streamBytes(sql, { signal: controller.signal })) {
        controller.abort(new Error("seen enough"));
      }
    };
    await expect(read()).rejects.toThrow("seen enough");
    expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  });
});

describe("an aborted signal", () => {
  const endless =
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range = -b.range";

  test("ends a running statement with the signal's reason and leaves the connection usable", async () => {
    const reason = new Error("enough");
    await expect(connection.query(endless, { signal: AbortSignal.timeout(50) }))
      .rejects.toThrow(/timeout/i);
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    await expect(connection.query(endless, { signal: controller.signal })).rejects.toBe(reason);
    expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  });

  test("ends a statement that has hardly begun", async () => {
    const controller = new AbortController();
    const running = connection.query(endless, { signal: controller.signal });
    controller.abort(new Error("at once"));
    await expect(running).rejects.toThrow("at once");
  });

  test("ends a stream", async () => {
    const controller = new AbortController();
    const read = async (): Promise<void> => {
      const sql = "SELECT range::VARCHAR FROM range(100000000)";
      for await (const _ of connection.streamText(sql, { signal: controller.signal })) {
        controller.abort(new Error("seen enough"));
      }
    };
    await expect(read()).rejects.toThrow("seen enough");
    expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  });
});

test("statements given at once run one after the other", async () => {
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, place) => connection.query(`SELECT ${place} AS n`)),
  );
  expect(answers.map(({ rows }) => rows[0]?.["n"])).toEqual(answers.map((_, place) => place));
});

describe("a text of SQL", () => {
  test.each([
    ["SELECT 1", 1, true],
    ["WITH a AS (SELECT 1) FROM a", 1, true],
    ["SELECT * FROM nowhere", 1, true],
    ["SELECT 1; SELECT 2", 2, true],
    ["PRAGMA version", 1, false],
    ["SET threads = 1", 1, false],
    ["COPY (SELECT 1) TO 'x'", 1, false],
    ["ATTACH 'x'", 1, false],
    ["SELECT 1; DROP TABLE x", 2, false],
    ["EXPLAIN ANALYZE SELECT 1", 1, false],
    ["", 0, false],
    ["-- nothing", 0, false],
  ])("%j is taken apart without being bound", async (sql, statements, isSelect) => {
    const parsed = await connection.parse(sql);
    expect(parsed.statements).toBe(statements);
    expect(parsed.tree !== undefined).toBe(isSelect);
  });

  test("that is none is refused as such", async () => {
    const error = await connection.parse("SELEKT 1").catch((each: unknown) => each);
    expect(error).toBeInstanceOf(SqlError);
    expect(error).toMatchObject({ kind: "Parser" });
  });

  test("is described by binding", async () => {
    expect(await connection.describe("SELECT $1::BIGINT AS a, 'x' AS b")).toEqual({
      type: "select",
      columns: [{ name: "a", type: "BIGINT" }, { name: "b", type: "VARCHAR" }],
      parameters: 1,
    });
    expect((await connection.describe("SET threads = 2")).type).toBe("set");
    await expect(connection.describe("SELECT * FROM nowhere"))
      .rejects.toMatchObject({ kind: "Catalog" });
  });
});

test("a locked database reads what it was given and nothing else, and stays locked", async () => {
  const allowed = join(folder, "allowed.csv");
  const other = join(folder, "other.csv");
  await writeFile(allowed, "a\n1\n");
  await writeFile(other, "a\n2\n");
  await using locked = await open();
  await locked.lock({ paths: [allowed] });
  await using reader = await locked.connect();
  const { rows } = await reader.query(`SELECT * FROM read_csv(${literalOf(allowed)})`);
  expect(rows).toEqual([{ a: 1 }]);
  expect((await reader.query("SELECT current_setting('TimeZone') AS z")).rows)
    .toEqual([{ z: "UTC" }]);
  for (
    const sql of [
      `SELECT * FROM read_csv(${literalOf(other)})`,
      `SELECT * FROM read_text(${literalOf(other)})`,
      `COPY (SELECT 1) TO ${literalOf(join(folder, "made.csv"))}`,
      `ATTACH ${literalOf(join(folder, "made.db"))}`,
      "INSTALL httpfs",
      "SET enable_external_access = true",
      "SET TimeZone = 'Asia/Tokyo'",
    ]
  ) {
    await expect(reader.query(sql), sql).rejects.toThrow(SqlError);
  }
});

test("no commit rewrites tables: they are not checkpointed at any size that fits", async () => {
  // As DuckDB writes it, such as "1.0 TiB".
  const { rows } = await connection.query(
    "SELECT current_setting('checkpoint_threshold') AS bytes",
  );
  expect(rows).toEqual([{ bytes: "1.0 TiB" }]);
});

test("memory is bounded, and the database outlives a statement that asks for more", async () => {
  await using small = await open(30_000_000);
  await using one = await small.connect();
  await expect(one.query("SELECT max(l) FROM (SELECT list(range) AS l FROM range(40000000))"))
    .rejects.toMatchObject({ kind: "Out of Memory" });
  expect((await one.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
});

test("closing twice is fine, and a closed connection says so", async () => {
  const own = await open();
  const one = await own.connect();
  await own[Symbol.asyncDispose]();
  await own[Symbol.asyncDispose]();
  await one[Symbol.asyncDispose]();
  await expect(one.query("SELECT 1")).rejects.toThrow("closed");
});

test("literals, lists and names are quoted", () => {
  expect(literalOf("it's")).toBe("'it''s'");
  expect(listOf(["a", "b'"])).toBe("['a', 'b''']");
  expect(identifierOf('a"b')).toBe('"a""b"');
});
