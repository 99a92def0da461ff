/**
 * A table that was compacted, cut by retention and vacuumed, as others read it: ClickHouse through delta-kernel-rs, which
 * shares no code with us, and plain DuckDB as docs/reading-the-table.md says.
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import type { MaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { retainTable } from "../../src/pipeline/maintenance/retention.ts";
import { parseKeepRules } from "../../src/pipeline/maintenance/retention-policy.ts";
import { vacuumBucket } from "../../src/pipeline/maintenance/vacuum.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { TABLE_PREFIX } from "../../src/storage/layout.ts";
import { MAIN_FILE } from "../support/command-line.ts";
import { clockAt, type DataTable, openDataTable } from "../support/data-table.ts";
import { askForeignEngine } from "../support/foreign-engine.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const DAY = 86_400_000;
const clock = clockAt("2026-03-20T06:00:00Z");

let data: DataTable;
let context: MaintenanceContext;
let folder: TemporaryFolder;
let table: { readonly folder: string };
beforeAll(async () => {
  data = await openDataTable();
  folder = await openTemporaryFolder("upkeep");
  context = await data.context({ clock });
  table = { folder: data.store.localPath(TABLE_PREFIX.slice(0, -1)) ?? "" };
  const hosts = Array.from({ length: 30 }, (_, place) => `web-${place}`);
  for (const day of ["01", "02", "02", "02", "03"]) {
    await data.addRound({
      rows: 50_000,
      start: `2026-03-${day}T10:00:00Z`,
      hosts,
      topics: ["process/exec", "file/write", "auth/login"],
      columns: { path: `'/srv/a "b" ' || chr(228) || range`, src_port: "range % 65536" },
    });
  }
});
afterAll(async () => {
  await context[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const SUMS = `count(*) AS n, sum(pid) AS pids, min(host) AS least, max(path) AS greatest,
  sum(src_port) AS ports, count(DISTINCT message) AS messages`;

async function expectSame(where: string): Promise<void> {
  const sql = `SELECT ${SUMS} FROM {table} WHERE ${where}`;
  const own = await data.query(`SELECT ${SUMS} FROM events WHERE ${where}`);
  const foreign = await askForeignEngine(table, { sql });
  expect(foreign.map(numbers), where).toEqual(own.map(numbers));
}

/** Large sums come as text from one and as numbers from the other. */
const numbers = (row: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      /^[0-9]+$/.test(String(value)) ? Number(value) : value,
    ]),
  );

describe("another engine", () => {
  it("reads the compacted table, slices of it, and the versions before", async () => {
    const { version } = await data.snapshot();
    const sql = `SELECT ${SUMS} FROM {table}`;
    const before = await askForeignEngine(table, { sql });
    expect(await compactTable(context)).toMatchObject({ filesRemoved: 3, rows: 150_000 });
    expect(await askForeignEngine(table, { sql })).toEqual(before);
    expect(await askForeignEngine(table, { sql, version })).toEqual(before);
    for (
      const where of [
        "host = 'web-7'",
        `"time" >= '2026-03-02 10:00:10' AND "time" < '2026-03-02 10:00:20'`,
        "topic = 'file/write' AND host > 'web-25'",
        "host = 'nobody'",
      ]
    ) await expectSame(where);
  });

  it("reads every value of the joined file", async () => {
    const names = COLUMNS.filter(({ type }) => type === "string" || type === "long")
      .map(({ name }) => `"${name}"`).join(", ");
    const sql = (from: string) =>
      `SELECT ${names} FROM ${from} WHERE host = 'web-3' AND idx < 3000 ORDER BY seq, idx`;
    expect(await askForeignEngine(table, { sql: sql("{table}") }))
      .toEqual(await data.query(sql("events")));
  });

  it("reads what retention left, also when the rest is deleted", async () => {
    const rules = parseKeepRules({ "**": 18 * DAY, "file/**": 10 * DAY });
    const done = await retainTable(context, { rules });
    expect(done).toMatchObject({ filesRemoved: 1, filesRewritten: 2 });
    await expectSame("1 = 1");
    await using late = await data.context({ clock: clockAt("2126-03-20T06:00:00Z") });
    expect((await vacuumBucket(late)).objects).toBeGreaterThanOrEqual(6);
    await expectSame("1 = 1");
    await expectSame("topic = 'file/write'");
  });
});

describe("plain DuckDB", () => {
  it("reads the files that the command names, as the page says", async () => {
    const page = await readFile(
      new URL("../../docs/reading-the-table.md", import.meta.url),
      "utf8",
    );
    const [, shell = "", sql = ""] =
      /```sh\n(probity table files.*?)```\s*```sql\n(.*?)```/s.exec(page) ?? [];
    expect(shell).toContain("probity table files --addresses");
    const script = shell.replace("probity", `"${process.execPath}" "${MAIN_FILE}"`)
      .replace(" > ", ` --store-url "${data.store.url}" > `)
      .replace("2026-03-02 ", "2026-03-04 ");
    await promisify(execFile)("sh", ["-ec", script], { cwd: folder.path });
    await using database = await openDatabase({
      memoryLimitBytes: 200_000_000,
      threads: 2,
      tempDirectory: join(folder.path, "spill"),
      tempLimitBytes: 0,
    });
    await using connection = await database.connect();
    const [set = "", select = ""] = sql.replaceAll("files.txt", join(folder.path, "files.txt"))
      .split(";\n");
    await connection.run(set);
    const { rows } = await connection.query(select);
    expect(rows).toEqual(
      await data.query("SELECT topic, count(*) FROM events GROUP BY topic ORDER BY 2 DESC"),
    );
    expect(rows.length).toBeGreaterThan(1);
  });
});
