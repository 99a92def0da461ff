import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { joinParquet } from "../../src/storage/parquet-join.ts";
import { readThrift, writeThrift } from "../../src/storage/thrift-compact.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;

beforeAll(async () => {
  folder = await openTemporaryFolder("join");
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

async function write(name: string, select: string): Promise<string> {
  const path = join(folder.path, `${name}.parquet`);
  await connection.run(
    `COPY (${select}) TO '${path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048)`,
  );
  return path;
}

const numbers = (from: number, to: number): string =>
  `SELECT range AS n, 'text ' || range % 7 AS t, [range, range + 1] AS l,
     CASE WHEN range % 5 = 0 THEN NULL ELSE range END AS sometimes FROM range(${from}, ${to})`;

async function footerOf(path: string): Promise<Uint8Array> {
  const bytes = await readFile(path);
  const length = bytes.readUInt32LE(bytes.length - 8);
  return bytes.subarray(bytes.length - 8 - length, bytes.length - 8);
}

describe("the footer of a Parquet file", () => {
  test("is the same bytes when it was read and written", async () => {
    const footer = await footerOf(await write("whole", numbers(0, 50_000)));
    expect(Buffer.compare(writeThrift(readThrift(footer)), footer)).toBe(0);
  });

  test.each([
    ["cut short", (bytes: Uint8Array) => bytes.subarray(0, -3)],
    ["followed by more", (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.of(1)])],
  ])("is refused when it is %s", async (_, damage) => {
    const footer = await footerOf(await write("damaged", numbers(0, 100)));
    expect(() => readThrift(damage(footer))).toThrow(SyntaxError);
  });
});

describe("joined files", () => {
  test("hold the rows of all parts in order, each row group as it was", async () => {
    const parts = [
      await write("a", numbers(0, 5_000)),
      await write("b", numbers(5_000, 5_001)),
      await write("c", numbers(5_001, 60_000)),
    ];
    const path = join(folder.path, "joined.parquet");
    await joinParquet(parts, path);
    const { rows } = await connection.query(
      `SELECT count(*) AS n, count(*) FILTER (file_row_number != n) AS moved,
         sum(hash(n, t, l, sometimes))::VARCHAR AS digest
       FROM read_parquet('${path}', file_row_number = true)`,
    );
    const expected = await connection.query(
      `SELECT sum(hash(n, t, l, sometimes))::VARCHAR AS digest FROM (${numbers(0, 60_000)})`,
    );
    expect(rows).toEqual([{ n: 60_000, moved: 0, digest: expected.rows[0]?.["digest"] }]);
    const groups = (file: string) =>
      connection.query(
        `SELECT row_group_num_rows AS rows, path_in_schema AS name, stats_min_value AS least
         FROM parquet_metadata('${file}') ORDER BY row_group_id, column_id`,
      );
    const single = await Promise.all(parts.map(groups));
    expect((await groups(path)).rows).toEqual(single.flatMap((part) => part.rows));
  });

  test("need one schema and Parquet", async () => {
    const parts = [await write("d", numbers(0, 10)), await write("e", "SELECT 1 AS other")];
    await expect(joinParquet(parts, join(folder.path, "f.parquet"))).rejects.toThrow(
      "its columns are others",
    );
    const text = join(folder.path, "text");
    await writeFile(text, "no Parquet file, but long enough");
    await expect(joinParquet([text], join(folder.path, "g.parquet"))).rejects.toThrow(
      "it is no Parquet file",
    );
    await expect(joinParquet([], join(folder.path, "h.parquet"))).rejects.toThrow("there are none");
  });
});
