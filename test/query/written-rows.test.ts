/**
 * The bytes of a streamed answer are those of a row written in the plainest way: each column by itself, times by the
 * calendar, whatever the row holds.
 */
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Column, COLUMNS } from "../../src/event/columns.ts";
import { CSV_BYTES, JSON_BYTES } from "../../src/query/planner/rows.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { identifierOf } from "../../src/storage/sql-text.ts";
import { sqlTypeOf } from "../../src/storage/typed-read.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;

beforeAll(async () => {
  folder = await openTemporaryFolder("written-rows");
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

type Row = Readonly<Record<string, unknown>>;

/** One statement's rows with all columns, as they are read from JSON. */
function sourceOf(rows: readonly Row[]): { sql: string; parameters: string[] } {
  const columns = COLUMNS.map((column) => {
    const path = `line -> '${column.name}'`;
    const text = `(line ->> '${column.name}')`;
    const read = column.type === "strings"
      ? `from_json(${path}, '["VARCHAR"]')`
      : `CAST(${text} AS ${sqlTypeOf(column)})`;
    return `${read} AS ${identifierOf(column.name)}`;
  });
  const lines = "unnest(CAST($1::JSON AS JSON[])) WITH ORDINALITY AS t (line, place)";
  return {
    sql: `SELECT place, 'id-' || place AS id, ${columns.join(", ")} FROM ${lines}`,
    parameters: [JSON.stringify(rows)],
  };
}

const dayOf = (column: string) => `strftime(${column}, '%Y-%m-%d')`;
const timeOf = (column: string) =>
  `strftime(${column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`;

/** A member of JSON, null where the column is. */
function memberOf({ name, type }: Column): string {
  const value = identifierOf(name);
  switch (type) {
    case "string":
    case "strings":
      return `'"${name}":' || CAST(to_json(${value}) AS VARCHAR)`;
    case "integer":
    case "long":
    case "json":
      return `'"${name}":' || CAST(${value} AS VARCHAR)`;
    case "timestamp":
      return `'"${name}":"' || ${timeOf(value)} || '"'`;
    case "date":
      return `'"${name}":"' || ${dayOf(value)} || '"'`;
  }
}

function fieldOf({ name, type }: Column): string {
  const value = identifierOf(name);
  const quoted = (text: string) => `'"' || replace(${text}, '"', '""') || '"'`;
  switch (type) {
    case "string":
    case "json":
      return quoted(value);
    case "strings":
      return quoted(`CAST(to_json(${value}) AS VARCHAR)`);
    case "integer":
    case "long":
      return `CAST(${value} AS VARCHAR)`;
    case "timestamp":
      return timeOf(value);
    case "date":
      return dayOf(value);
  }
}

/** All lines of both forms, made plainly. */
async function plain(rows: readonly Row[]): Promise<{ json: string; csv: string }> {
  const { sql, parameters } = sourceOf(rows);
  const members = COLUMNS.map((column, place) => `${memberOf(column)} AS m${place}`);
  const fields = COLUMNS.map((column, place) => `${fieldOf(column)} AS f${place}`);
  const result = await connection.query(
    `SELECT id, ${[...members, ...fields].join(", ")} FROM (${sql}) ORDER BY place`,
    { parameters },
  );
  const some = (row: Row, sign: string) =>
    COLUMNS.map((_, place) => row[`${sign}${place}`] ?? null);
  const json = result.rows.map((row) =>
    `{${[`"id":"${row["id"]}"`, ...some(row, "m").filter((each) => each !== null)].join(",")}}\n`
  );
  const csv = result.rows.map((row) =>
    `${[row["id"], ...some(row, "f").map((each) => each ?? "")].join(",")}\r\n`
  );
  return { json: json.join(""), csv: csv.join("") };
}

async function written(rows: readonly Row[], form: string): Promise<string> {
  const { sql, parameters } = sourceOf(rows);
  const pieces = await Array.fromAsync(
    connection.streamBytes(`SELECT ${form} FROM (${sql}) ORDER BY place`, { parameters }),
  );
  return Buffer.concat(pieces.map(({ bytes }) => bytes)).toString();
}

const HOSTILE = [
  ',"pid":null',
  '"',
  "\\",
  "\\ud800",
  "\n\r\t\b\f",
  "\u0001\u001f\u007f\u0080\u2028",
  "}\n{",
  "",
  "ü😀\uffff",
  "x".repeat(3_000),
];
/** Text of JSON as it stands in a file: with spaces, escapes of halves of a character, and numbers of any size. */
const DETAILS = [
  '{"lone": "\\ud800", "pair":"\\ud83d\\ude00"}',
  '{"big": 123456789012345678901234567890, "small": 1e-400, "nested": {"null": null}}',
  " {} ",
  "[]",
  "null",
];
const TIMES = [
  "2026-06-15T12:00:00.000001Z",
  "2026-06-15T23:59:59.999999Z",
  "1969-12-31T23:59:59Z",
  "1970-01-01T00:00:00Z",
  "9999-12-31T23:59:59.5Z",
  "0001-01-01T00:00:00Z",
];

test("streamed rows are the bytes of rows written plainly", async () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 12 })
      .filter((each) => each.isWellFormed() && !each.includes("\0")),
    fc.constantFrom(...HOSTILE),
  );
  const values = {
    string: text,
    strings: fc.array(text, { maxLength: 3 }),
    json: fc.constantFrom(...DETAILS),
    integer: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    long: fc.constantFrom("9223372036854775807", "-9223372036854775808", "0", "4294967295"),
    timestamp: fc.constantFrom(...TIMES),
    date: fc.constantFrom("2026-06-15", "1970-01-01", "0001-01-01", "9999-12-31"),
  };
  const row = fc.record(
    Object.fromEntries(COLUMNS.map(({ name, type }) => [name, values[type]])),
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 20 }), async (rows) => {
      const { json, csv } = await plain(rows);
      expect(await written(rows, JSON_BYTES)).toBe(json);
      expect(await written(rows, CSV_BYTES)).toBe(csv);
    }),
    { numRuns: 15 },
  );
});
