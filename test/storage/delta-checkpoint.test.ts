import { mkdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { checkpointKey, deltaLogKey, LAST_CHECKPOINT_KEY } from "../../src/storage/layout.ts";
import type { TableSnapshot } from "../../src/storage/table.ts";
import { shardWork } from "../support/shard-work.ts";
import { openTableFolder, type TableFolder } from "../support/table-folder.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

/** The columns of a classic checkpoint, in DuckDB's types; their JSON is that of the log. */
const COLUMNS = {
  txn: "STRUCT(appId VARCHAR, version BIGINT, lastUpdated BIGINT)",
  add: `STRUCT(path VARCHAR, partitionValues MAP(VARCHAR, VARCHAR), size BIGINT,
    modificationTime BIGINT, dataChange BOOLEAN, tags MAP(VARCHAR, VARCHAR), stats VARCHAR)`,
  remove: "STRUCT(path VARCHAR, deletionTimestamp BIGINT, dataChange BOOLEAN)",
  metaData: `STRUCT(id VARCHAR, name VARCHAR, description VARCHAR,
    format STRUCT(provider VARCHAR, options MAP(VARCHAR, VARCHAR)), schemaString VARCHAR,
    partitionColumns VARCHAR[], configuration MAP(VARCHAR, VARCHAR), createdTime BIGINT)`,
  protocol: `STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER,
    readerFeatures VARCHAR[], writerFeatures VARCHAR[])`,
};

let scratch: TemporaryFolder;
let database: Database;
let connection: Connection;
let folder: TableFolder;
let warnings: string[];

beforeAll(async () => {
  scratch = await openTemporaryFolder("checkpoint");
  database = await openDatabase({
    memoryLimitBytes: 200_000_000,
    threads: 1,
    tempDirectory: join(scratch.path, "spill"),
    tempLimitBytes: 10_000_000,
  });
  connection = await database.connect();
});
afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});
beforeEach(async () => {
  warnings = [];
  folder = await openTableFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

/** Writes the checkpoint of an append-only log as other engines do. */
async function writeCheckpoint(version: number): Promise<void> {
  const logs = Array.from({ length: version + 1 }, (_, at) => pathOf(deltaLogKey(at)));
  const columns = Object.entries(COLUMNS).map(([name, type]) => `"${name}": '${type}'`).join(", ");
  const rows = `SELECT * FROM read_json([${logs.map((path) => `'${path}'`).join(", ")}],
    format = 'newline_delimited', columns = {${columns}})`;
  await mkdir(dirname(pathOf(checkpointKey(version))), { recursive: true });
  await connection.run(
    `COPY (
       WITH entry AS (${rows})
       SELECT * FROM entry WHERE add IS NOT NULL OR "metaData" IS NOT NULL OR protocol IS NOT NULL
         OR txn.version = (SELECT max(txn.version) FROM entry)
     ) TO '${pathOf(checkpointKey(version))}' (FORMAT parquet)`,
  );
  await pointTo({ version, size: 3 });
}

function pathOf(key: string): string {
  return folder.store.localPath(key) ?? "";
}

async function pointTo(pointer: unknown): Promise<void> {
  await folder.store.put(LAST_CHECKPOINT_KEY, Buffer.from(JSON.stringify(pointer)));
}

async function forget(from: number, to: number): Promise<void> {
  for (let version = from; version < to; version++) await folder.store.delete(deltaLogKey(version));
}

function read(): Promise<TableSnapshot> {
  const log = createLog({ level: "warn", write: (line) => void warnings.push(line) });
  return openTable({ store: folder.store, clock: systemClock, log }).refresh();
}

describe("a table with a checkpoint", () => {
  test("is read from there on, with the shards' positions from their entries", async () => {
    await folder.commitRounds(20);
    const whole = await folder.open().refresh();
    await writeCheckpoint(15);
    await forget(0, 15);
    expect(await read()).toEqual(whole);
    expect(warnings).toEqual([]);
    const table = folder.open();
    expect(await table.commit(shardWork({ startedFrom: 20, first: 201, last: 210 }))).toEqual({
      kind: "committed",
      version: 21,
    });
    expect((await read()).files.size).toBe(21);
  });

  test("at the newest version is read to its end", async () => {
    await folder.commitRounds(5);
    const whole = await folder.open().refresh();
    await writeCheckpoint(5);
    await forget(0, 5);
    expect(await read()).toEqual(whole);
  });

  const faulty: readonly [string, () => Promise<unknown>][] = [
    ["whose pointer is no JSON", () => folder.store.put(LAST_CHECKPOINT_KEY, Buffer.from("{"))],
    ["whose pointer names nothing", () => pointTo({ size: 3 })],
    ["whose pointer names a negative version", () => pointTo({ version: -1 })],
    ["in parts", () => pointTo({ version: 5, parts: 2 })],
    ["that is missing", () => pointTo({ version: 4 })],
    ["that is damaged", () => folder.store.put(checkpointKey(5), Buffer.from("PAR1 no"))],
    ["of something else", async () => {
      await connection.run(
        `COPY (SELECT 1 AS x) TO '${pathOf(checkpointKey(5))}' (FORMAT parquet)`,
      );
    }],
    ["without protocol", async () => {
      const path = pathOf(checkpointKey(5));
      await connection.run(
        `COPY (SELECT * FROM read_parquet('${path}') WHERE protocol IS NULL) TO '${path}.new'
         (FORMAT parquet)`,
      );
      await rename(`${path}.new`, path);
    }],
  ];
  for (const [name, damage] of faulty) {
    test(`${name} is passed over with a warning, and the log read from its beginning`, async () => {
      await folder.commitRounds(8);
      const whole = await folder.open().refresh();
      await writeCheckpoint(5);
      await damage();
      expect(await read()).toEqual(whole);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain("cannot read the table's checkpoint");
      await forget(0, 5);
      await expect(read()).rejects.toThrow("version 0 is missing, 5 is there");
    });
  }

  test("ends with its signal's reason", async () => {
    await folder.commitRounds(2);
    await writeCheckpoint(2);
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(folder.open().refresh(signal)).rejects.toThrow("enough");
  });
});
