import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COLUMNS, fieldIdOf, PARTITION_COLUMN } from "../../src/event/columns.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { ROW_GROUP_ROWS_MAX, writeDataFiles } from "../../src/storage/parquet.ts";
import { sqlTypeOf } from "../../src/storage/typed-read.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const RANGE = { incarnation: "0123abcd", first: 5, last: 9 };

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;
let folders = 0;

beforeAll(async () => {
  folder = await openTemporaryFolder("parquet");
  database = await openDatabase({
    memoryLimitBytes: 300_000_000,
    threads: 2,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  connection = await database.connect();
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** SELECT of all columns for `from`, null where no expression is given. */
function selectOf(expressions: Readonly<Record<string, string>>, from: string): string {
  const columns = COLUMNS.map((column) =>
    `CAST(${expressions[column.name] ?? "NULL"} AS ${sqlTypeOf(column)}) AS "${column.name}"`
  );
  return `SELECT ${columns.join(", ")} FROM ${from}`;
}

async function write(select: string, check?: (rows: string) => Promise<void>) {
  const path = join(folder.path, String(++folders));
  await mkdir(path);
  return await writeDataFiles(connection, {
    select,
    folder: path,
    range: RANGE,
    ...(check === undefined ? {} : { check }),
  });
}

async function rowsOf(sql: string) {
  return (await connection.query(sql)).rows;
}

const DAY = "TIMESTAMPTZ '2026-06-15 00:00:00+00'";
const one = selectOf({
  time: `${DAY} + INTERVAL 1 HOUR`,
  seq: "5",
  idx: "range",
  topic: "'process/exec'",
  topics: "['a', 'b']",
  detail: `'{"a":1}'`,
  logged_at: DAY,
}, "range(5000)");

describe("a data file", () => {
  test("has every column but the partition's, with its type, field id and UTC times", async () => {
    const [written] = await write(one);
    const schema = await rowsOf(
      `SELECT name, type, repetition_type, field_id, converted_type,
         CAST(logical_type AS VARCHAR) LIKE '%isAdjustedToUTC=1%MICROS=MicroSeconds()%' AS utc
       FROM parquet_schema('${written?.path}')`,
    );
    const types: Readonly<Record<string, readonly unknown[]>> = {
      string: ["BYTE_ARRAY", "UTF8"],
      json: ["BYTE_ARRAY", "UTF8"],
      integer: ["INT32", "INT_32"],
      long: ["INT64", "INT_64"],
      timestamp: ["INT64", "TIMESTAMP_MICROS"],
      strings: [null, "LIST"],
    };
    const top = schema.filter(({ field_id }) => field_id !== null);
    expect(top.map(({ name, field_id }) => [name, field_id])).toEqual(
      COLUMNS.filter(({ name }) => name !== PARTITION_COLUMN)
        .map(({ name }) => [name, fieldIdOf(name)]),
    );
    for (const { name, type } of COLUMNS) {
      if (name === PARTITION_COLUMN) continue;
      const found = top.find((each) => each["name"] === name);
      expect(found?.["repetition_type"], name).toBe("OPTIONAL");
      expect([found?.["type"], found?.["converted_type"]], name).toEqual(types[type]);
      expect(found?.["utc"], name).toBe(type === "timestamp" ? true : null);
    }
  });

  test("is named by its range, day and digest, and described by its statistics", async () => {
    const [written, second] = await write(one);
    expect(second).toBeUndefined();
    const bytes = await readFile(String(written?.path));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(written?.file).toMatchObject({
      path: `event_date=2026-06-15/0123abcd-5-9-${sha256.slice(0, 12)}.parquet`,
      sizeBytes: bytes.length,
      rows: 5000,
      eventDate: "2026-06-15",
      sha256,
      minimum: { time: "2026-06-15T01:00:00.000Z", seq: 5, idx: 0, topic: "process/exec" },
      maximum: { time: "2026-06-15T01:00:00.000Z", seq: 5, idx: 4999, topic: "process/exec" },
      nullCount: { time: 0, host: 5000 },
    });
  });

  test("holds the rows of a table in its order", async () => {
    const [written] = await write(one);
    const order = await rowsOf(
      `SELECT file_row_number AS n, idx FROM read_parquet('${written?.path}', file_row_number = true)
       WHERE n <> idx`,
    );
    expect(order).toEqual([]);
  });

  test("is not made of no rows", async () => {
    expect(await write(selectOf({}, "range(0)"))).toEqual([]);
  });
});

test("rows of several days become a file each, cut at midnight UTC", async () => {
  const times = [
    "2026-06-14 23:59:59.999999+00",
    "2026-06-15 00:00:00+00",
    "2026-06-15 23:59:59.999999+00",
    "2026-04-13 12:00:00+00",
    "2026-06-14 00:00:00+00",
  ].map((time) => `('${time}')`);
  const files = await write(
    selectOf({ time: "at_text", idx: "7" }, `(VALUES ${times.join(", ")}) AS v(at_text)`),
  );
  expect(files.map(({ file }) => [file.eventDate, file.rows]))
    .toEqual([["2026-04-13", 1], ["2026-06-14", 2], ["2026-06-15", 2]]);
  for (const { file, path } of files) {
    const [found] = await rowsOf(
      `SELECT count(*) AS n, count(*) FILTER (CAST(time AS DATE) = DATE '${file.eventDate}') AS right
       FROM read_parquet('${path}')`,
    );
    expect(found).toEqual({ n: file.rows, right: file.rows });
    expect(file.path).toContain(`event_date=${file.eventDate}/`);
  }
});

test("the last microsecond of a day belongs to that day alone", async () => {
  const files = await write(selectOf({ time: "'2026-06-15 23:59:59.999999+00'" }, "range(3)"));
  expect(files.map(({ file }) => [file.eventDate, file.rows])).toEqual([["2026-06-15", 3]]);
});

test("the check sees all rows before anything is named, and can stop the writing", async () => {
  const files = await write(one, async (rows) => {
    expect(await rowsOf(`SELECT count(*) AS n FROM ${rows}`)).toEqual([{ n: 5000 }]);
  });
  expect(files).toHaveLength(1);
  await expect(write(one, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
});

describe("a row group", () => {
  const groupsOf = async (select: string) => {
    const [written] = await write(select);
    const groups = await rowsOf(
      `SELECT DISTINCT row_group_id, row_group_num_rows AS n
       FROM parquet_metadata('${written?.path}') ORDER BY row_group_id`,
    );
    return groups.map(({ n }) => Number(n));
  };

  test("of ordinary rows has as many as it may", async () => {
    const rows = selectOf({ time: DAY, idx: "range" }, `range(${ROW_GROUP_ROWS_MAX + 1})`);
    expect((await groupsOf(rows)).sort((a, b) => b - a)).toEqual([ROW_GROUP_ROWS_MAX, 1]);
  });

  test("of wide rows is bounded in bytes", async () => {
    const wide = selectOf(
      { time: DAY, detail: "repeat(md5(range::VARCHAR), 300)" },
      "range(20000)",
    );
    const groups = await groupsOf(wide);
    expect(groups.length).toBeGreaterThan(3);
    expect(Math.max(...groups)).toBeLessThan(8_000);
  });
});
