/** Reads the newest version of the table with nothing but its log and its Parquet files. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openDatabase, type SqlRow } from "../../src/storage/duckdb.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { listOf } from "../../src/storage/sql-text.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface ArchiveReader extends AsyncDisposable {
  /** Rows of a SELECT over the view `archive`; undefined while there is no table. */
  query(sql: string): Promise<readonly SqlRow[] | undefined>;
  /** Newest version that was read; -1 before. */
  readonly version: number;
  /** Live files of that version. */
  readonly files: number;
}

const MEMORY_BYTES = 512 * 1024 * 1024;

export async function openArchiveReader(store: ObjectStore): Promise<ArchiveReader> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openTemporaryFolder("archive"));
  const database = stack.use(
    await openDatabase({
      memoryLimitBytes: MEMORY_BYTES,
      threads: 2,
      tempDirectory: join(folder.path, "spill"),
      tempLimitBytes: MEMORY_BYTES,
    }),
  );
  const connection = stack.use(await database.connect());
  const table = openTable({ store, clock: systemClock, log: createLog({ level: "error" }) });
  const copyOf = async (path: string): Promise<string> => {
    const copy = join(folder.path, path.replaceAll("/", "_"));
    if (existsSync(copy)) return copy;
    if (await store.download(dataFileKey(path), copy)) return copy;
    throw new Error(`Cannot read the archive: "${path}" is in the table and not in the bucket`);
  };
  const owned = stack.move();
  return {
    get version() {
      return table.current().version;
    },
    get files() {
      return table.current().files.size;
    },
    async query(sql) {
      const { files } = await table.refresh();
      if (files.size === 0) return undefined;
      const copies: string[] = [];
      for (const path of files.keys()) copies.push(await copyOf(path));
      const source = `read_parquet(${listOf(copies)}, union_by_name = true)`;
      await connection.query(`CREATE OR REPLACE TEMP VIEW archive AS SELECT * FROM ${source}`);
      return (await connection.query(sql)).rows;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
