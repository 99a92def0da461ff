/** A row of the live tail and the same row in every other answer are the same text, whatever it holds. */
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { joinJsonParts, JSON_LINE, JSON_PARTS } from "../../src/query/planner/rows.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { identifierOf } from "../../src/storage/sql-text.ts";
import { sqlTypeOf } from "../../src/storage/typed-read.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;

beforeAll(async () => {
  folder = await openTemporaryFolder("json-parts");
  database = await openDatabase({
    memoryLimitBytes: 200_000_000,
    threads: 1,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  connection = await database.connect();
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** A row as JSON, in both ways. */
async function bothOf(row: Readonly<Record<string, unknown>>): Promise<[string, string]> {
  const columns = COLUMNS.map((column) => {
    const path = `$1::JSON -> '${column.name}'`;
    const text = `($1::JSON ->> '${column.name}')`;
    const read = column.type === "strings"
      ? `from_json(${path}, '["VARCHAR"]')`
      : `CAST(${column.type === "json" ? `(${path})::VARCHAR` : text} AS ${sqlTypeOf(column)})`;
    return `${read} AS ${identifierOf(column.name)}`;
  });
  const source = `SELECT 'id-1' AS id, ${columns.join(", ")}`;
  const { rows } = await connection.query(
    `SELECT ${JSON_LINE} AS line, ${JSON_PARTS} AS parts FROM (${source})`,
    { parameters: [JSON.stringify(row)] },
  );
  return [String(rows[0]?.["line"]), joinJsonParts(String(rows[0]?.["parts"]))];
}

const MARKED = [
  ',"pid":null',
  '","pid":null,"',
  "x,",
  '"',
  "\\",
  '\\",',
  "\n",
  "\r\n\u2028",
  ',"detail":{}',
  "}",
  ":null",
  "",
  "ü😀\u0001\u007f",
];

describe("JSON that comes in parts", () => {
  test.each(MARKED)("is that of any other answer, with %j in every text", async (text) => {
    const row: Record<string, unknown> = {};
    for (const { name, type } of COLUMNS) {
      if (type === "string") row[name] = text;
      if (type === "strings") row[name] = [text, text, ""];
      if (type === "json") row[name] = { a: text, b: null, [text]: [null, { c: null }] };
    }
    const [line, live] = await bothOf(row);
    expect(live).toBe(line);
    expect(JSON.parse(live)).toMatchObject({ id: "id-1", message: text });
  });

  test("leaves out what is absent, and nothing inside of detail", async () => {
    expect(await bothOf({})).toEqual(['{"id":"id-1"}', '{"id":"id-1"}']);
    const detail = '{"id":"id-1","detail":{"a":null,"b":[1,null]}}';
    expect(await bothOf({ detail: { a: null, b: [1, null] } })).toEqual([detail, detail]);
    const last = '{"id":"id-1","event_date":"2026-06-15"}';
    expect(await bothOf({ event_date: "2026-06-15" })).toEqual([last, last]);
  });

  test("is that of any other answer for any row", async () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 12 }).filter((each) =>
        each.isWellFormed() && !each.includes("\0")
      ),
      fc.constantFrom(...MARKED),
    );
    const values = {
      string: text,
      strings: fc.array(text, { maxLength: 3 }),
      json: fc.dictionary(text, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }),
      integer: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      long: fc.maxSafeInteger(),
      timestamp: fc.constantFrom("2026-06-15 12:00:00.000001+00", "1969-12-31 23:59:59+00"),
      date: fc.constantFrom("2026-06-15", "1970-01-01"),
    };
    const rows = fc.record(
      Object.fromEntries(COLUMNS.map(({ name, type }) => [name, values[type]])),
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(rows, async (row) => {
        const [line, live] = await bothOf(row);
        expect(live).toBe(line);
      }),
      { numRuns: 100 },
    );
  });
});
