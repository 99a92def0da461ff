/** A table with real rows in a directory or another store, filled without a stream, and what keeps it in order. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { COLUMNS, fieldIdOf, PARTITION_COLUMN } from "../../src/event/columns.ts";
import {
  type MaintenanceContext,
  type MaintenanceOptions,
  openMaintenanceContext,
} from "../../src/pipeline/maintenance/context.ts";
import { type Clock, systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { putContentFile } from "../../src/storage/content-object.ts";
import { rowsOfFiles } from "../../src/storage/data-rows.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { type Connection, openDatabase, type SqlRow } from "../../src/storage/duckdb.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { type LocalDataFile, writeDataFiles } from "../../src/storage/parquet.ts";
import type { DataFile, TableSnapshot } from "../../src/storage/table.ts";
import { sqlTypeOf } from "../../src/storage/typed-read.ts";
import { shardWork } from "./shard-work.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface RoundOptions {
  readonly rows: number;
  /** Time of the first row, RFC 3339; the others follow in steps of a millisecond. */
  readonly start: string;
  readonly hosts?: readonly string[];
  readonly topics?: readonly string[];
  /** Expressions of further columns over `range`, the row's number. */
  readonly columns?: Readonly<Record<string, string>>;
  /** Columns that the files lack, as those of an older version of the software do. */
  readonly without?: readonly string[];
}

export interface DataTable extends AsyncDisposable {
  readonly store: ObjectStore;
  /** Writes rows as a roll-up of shard "0" does, and commits them. */
  addRound(options: RoundOptions): Promise<DataFile[]>;
  context(options?: Partial<MaintenanceOptions>): Promise<MaintenanceContext>;
  snapshot(): Promise<TableSnapshot>;
  /** Rows of all files of the table, as `events`. */
  query(sql: string, snapshot?: TableSnapshot): Promise<readonly SqlRow[]>;
  /** Count, and the sum of a digest of all rows. */
  content(): Promise<SqlRow | undefined>;
}

export const quietLog = createLog({ level: "error", write: () => undefined });

/** A clock that shows another time than it is. */
export function clockAt(time: string): Clock {
  const offsetUs = Date.parse(time) * 1000 - systemClock.nowUs();
  return { ...systemClock, nowUs: () => systemClock.nowUs() + offsetUs };
}

/** A table in a directory of its own, or in an empty store that stays the caller's. */
export async function openDataTable(given?: ObjectStore): Promise<DataTable> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openTemporaryFolder("data-table")).path;
  const store = given ??
    stack.use(await openDirectoryStore({ directory: join(folder, "bucket") }));
  const database = stack.use(
    await openDatabase({
      memoryLimitBytes: 300_000_000,
      threads: 2,
      tempDirectory: join(folder, "spill"),
      tempLimitBytes: 1_000_000_000,
    }),
  );
  const connection = stack.use(await database.connect());
  const table = openTable({ store, clock: systemClock, log: quietLog });
  let sequence = 0;
  let folders = 0;
  const snapshot = () => openTable({ store, clock: systemClock, log: quietLog }).refresh();
  const localPath = async (path: string): Promise<string> => {
    const standing = store.localPath(dataFileKey(path));
    const copy = join(folder, basename(path));
    if (standing === undefined && !existsSync(copy)) await store.download(dataFileKey(path), copy);
    return standing ?? copy;
  };
  const query = async (sql: string, of?: TableSnapshot): Promise<readonly SqlRow[]> => {
    const { files } = of ?? await snapshot();
    const paths = await Promise.all([...files.keys()].map(localPath));
    const from = files.size === 0 ? "(SELECT NULL::VARCHAR AS host LIMIT 0)" : rowsOfFiles(paths);
    return (await connection.query(`WITH events AS (SELECT * FROM ${from}) ${sql}`)).rows;
  };
  const resources = stack.move();
  return {
    store,
    async addRound(options) {
      const { rows, start, hosts = ["web-1", "web-2"], topics = ["process/exec"] } = options;
      const first = ++sequence;
      const path = join(folder, `round-${++folders}`);
      await mkdir(path);
      const list = (texts: readonly string[]) =>
        `[${texts.map((text) => `'${text}'`).join(", ")}][range % ${texts.length} + 1]`;
      const expressions: Readonly<Record<string, string>> = {
        time: `TIMESTAMPTZ '${start}' + INTERVAL (range) MILLISECOND`,
        logged_at: `TIMESTAMPTZ '${start}' + INTERVAL (range) MILLISECOND`,
        incarnation: "'0a1b2c3d'",
        seq: String(first),
        idx: "range",
        host: list(hosts),
        topic: list(topics),
        severity: "'info'",
        pid: `${first} * 1000000 + range`,
        message: `'row ' || range || ' of ${first}'`,
        topics: "CASE WHEN range % 3 = 0 THEN ['a', 'b'] END",
        detail: `'{"n":' || range || '}'`,
        ...options.columns,
      };
      const select = COLUMNS.map((column) =>
        `CAST(${expressions[column.name] ?? "NULL"} AS ${sqlTypeOf(column)}) AS "${column.name}"`
      ).join(", ");
      const written = await writeDataFiles(connection, {
        select: `SELECT ${select} FROM range(${rows})`,
        folder: path,
        range: { incarnation: "0a1b2c3d", first, last: first },
      });
      if (options.without !== undefined) {
        const { without } = options;
        for (const [place, each] of written.entries()) {
          written[place] = await withoutColumns(connection, each, without);
        }
      }
      for (const each of written) {
        await putContentFile(store, { key: dataFileKey(each.file.path), path: each.path });
      }
      const { shards } = await table.refresh();
      const files = written.map(({ file }) => file);
      const startedFrom = shards.get("0")?.version;
      await table.commit(shardWork({ startedFrom, first, last: first, files }));
      return files;
    },
    context: (more = {}) =>
      openMaintenanceContext({
        store,
        scratchDirectory: join(folder, "scratch"),
        threads: 2,
        log: quietLog,
        ...more,
      }),
    snapshot,
    query,
    content: async () =>
      (await query("SELECT count(*) AS n, CAST(sum(hash(events)) AS VARCHAR) AS sum FROM events"))[
        0
      ],
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The file as it would be if some columns had never been. */
async function withoutColumns(
  connection: Connection,
  { file, path }: LocalDataFile,
  names: readonly string[],
): Promise<LocalDataFile> {
  const older = path.replace(/\.parquet$/, "-older.parquet");
  const ids = COLUMNS.filter(({ name }) => name !== PARTITION_COLUMN && !names.includes(name))
    .map(({ name }) => `"${name}": ${fieldIdOf(name)}`).join(", ");
  await connection.run(
    `COPY (SELECT * EXCLUDE (${names.join(", ")}) FROM read_parquet('${path}')) TO '${older}'
     (FORMAT parquet, COMPRESSION zstd, FIELD_IDS {${ids}})`,
  );
  const body = await readFile(older);
  const sha256 = createHash("sha256").update(body).digest("hex");
  return { path: older, file: { ...file, sizeBytes: body.length, sha256 } };
}
