/**
 * The table after the disasters, read with nothing of the product but its bucket: which files live is added up here from
 * the entries of the Delta log, one by one, and DuckDB reads those files.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openDatabase, type SqlRow } from "../../src/storage/duckdb.ts";
import { isRecord } from "../../src/storage/json-text.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { listOf, literalOf } from "../../src/storage/sql-text.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

/** What the log says was done to the table. */
export interface LogFigures {
  readonly versions: number;
  readonly liveFiles: number;
  readonly compactions: number;
  /** Files that compactions took out. */
  readonly filesCompacted: number;
  readonly retentions: number;
  /** Rows that retentions took out. */
  readonly rowsRetained: number;
  /** Files that left the table and are gone from the bucket. */
  readonly filesVacuumed: number;
}

export interface RowFigures {
  /** Numbered events by agent and number, each once. */
  readonly found: number;
  /** The same of each agent, the most first. */
  readonly foundOfAgents: readonly number[];
  /** Rows of them too many. */
  readonly doubled: number;
  /** Events that `agent/gap` events count as lost by a full ring. */
  readonly countedLost: number;
  /** What `agent/gap` events say is missing, by class; unknown where one of them does not know how many. */
  readonly gaps: Readonly<Record<string, number | "unknown">>;
  /** All rows, and those of them whose id is not theirs alone. */
  readonly rows: number;
  readonly rowsDoubled: number;
  /** Rows of them that say they happened long before they were stored: recorded while an agent's clock was back. */
  readonly rowsBack: number;
  /** Rows that retention should have taken out. */
  readonly rowsOverdue: number;
  /** Deeds told as `audit/admin` events, by kind, each once. */
  readonly deedsTold: Readonly<Record<string, number>>;
}

export interface ChaosTable extends AsyncDisposable {
  /** Reads on in the log; whether there is a table. */
  refresh(): Promise<boolean>;
  /** As of the last refresh. */
  log(): Promise<LogFigures>;
  /** Reads all rows as of the last refresh. */
  rows(options: RowOptions): Promise<RowFigures>;
}

export interface RowOptions {
  /** Folder of the numbered files. */
  readonly target: string;
  /** Topic that retention takes out, and up to when it should have. */
  readonly fleeting: string;
  readonly cutoffMs: number;
}

const MEMORY_BYTES = 512 * 1024 * 1024;

export async function openChaosTable(store: ObjectStore): Promise<ChaosTable> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openTemporaryFolder("chaos-table"));
  const database = stack.use(
    await openDatabase({
      memoryLimitBytes: MEMORY_BYTES,
      threads: 2,
      tempDirectory: join(folder.path, "spill"),
      tempLimitBytes: 4 * MEMORY_BYTES,
    }),
  );
  const connection = stack.use(await database.connect());
  const live = new Set<string>();
  const gone = new Set<string>();
  const sum = { versions: 0, compactions: 0, filesCompacted: 0, retentions: 0, rowsRetained: 0 };

  const readEntry = (text: string): void => {
    const actions = text.split("\n").filter((line) => line !== "").map((line): unknown =>
      JSON.parse(line)
    ).filter(isRecord);
    const info = actions.map(({ commitInfo }) => commitInfo).find(isRecord);
    const added = actions.map(({ add }) => add).filter(isRecord);
    const removed = actions.map(({ remove }) => remove).filter(isRecord);
    const rows = (files: readonly Readonly<Record<string, unknown>>[]): number =>
      files.reduce((all, { path }) => all + (rowsOf.get(String(path)) ?? 0), 0);
    for (const { path, stats } of added) rowsOf.set(String(path), recordsOf(stats));
    if (info?.operation === "OPTIMIZE") {
      sum.compactions += 1;
      sum.filesCompacted += removed.length;
    }
    if (info?.operation === "DELETE") {
      sum.retentions += 1;
      sum.rowsRetained += rows(removed) - rows(added);
    }
    for (const { path } of removed) {
      if (!live.delete(String(path))) throw new Error(`"${String(path)}" left the table twice`);
      gone.add(String(path));
    }
    for (const { path } of added) live.add(String(path));
    sum.versions += 1;
  };
  const rowsOf = new Map<string, number>();

  const copyOf = async (path: string): Promise<string> => {
    const copy = join(folder.path, path.replaceAll("/", "_"));
    if (existsSync(copy) || await store.download(`table/${path}`, copy)) return copy;
    throw new MissingFileError(`Cannot read "${path}": it is in the table and not in the bucket`);
  };
  const owned = stack.move();
  return {
    async refresh() {
      for (;;) {
        const name = String(sum.versions).padStart(20, "0");
        const found = await store.get(`table/_delta_log/${name}.json`);
        if (found === undefined) return live.size > 0;
        readEntry(new TextDecoder().decode(found.body));
      }
    },
    async log() {
      const missing = new Set(gone);
      for await (const { key } of store.list("table/")) missing.delete(key.slice("table/".length));
      return { ...sum, liveFiles: live.size, filesVacuumed: missing.size };
    },
    async rows(options) {
      const copies: string[] = [];
      for (const path of live) copies.push(await copyOf(path));
      const from = `read_parquet(${listOf(copies)}, union_by_name = true, filename = true)`;
      await connection.query(`CREATE OR REPLACE TEMP VIEW archive AS SELECT * FROM ${from}`);
      const { rows: [row = {}] } = await connection.query(sqlOfCounts(options));
      const deeds = await connection.query(SQL_OF_DEEDS);
      const gaps = await connection.query(SQL_OF_GAPS);
      return figuresOf(row, { deeds: deeds.rows, gaps: gaps.rows });
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A file of the table is not in the bucket: lost, or vacuumed since the log was read. */
export class MissingFileError extends Error {
  override readonly name = "MissingFileError";
}

function recordsOf(stats: unknown): number {
  const value: unknown = typeof stats === "string" ? JSON.parse(stats) : undefined;
  return isRecord(value) && typeof value.numRecords === "number" ? value.numRecords : 0;
}

function sqlOfCounts({ target, fleeting, cutoffMs }: RowOptions): string {
  const path = literalOf(`${target}/`);
  return `
    WITH numbered AS (
      SELECT agent, substr(path, length(${path}) + 1)::BIGINT AS number FROM archive
      WHERE topic = 'file/create' AND starts_with(path, ${path})
    ), gaps AS (
      SELECT (detail ->> 'count')::BIGINT AS lost FROM archive
      WHERE topic = 'agent/gap' AND (detail ->> 'class') = 'ring_full'
    ), files AS (
      SELECT greatest(max(time), max(logged_at)) AS youngest,
        count(*) FILTER (topic = ${literalOf(fleeting)}) AS fleeting
      FROM archive GROUP BY filename
    )
    SELECT (SELECT count(DISTINCT (agent, number)) FROM numbered) AS found,
      (SELECT coalesce(list(each ORDER BY each DESC), [])::VARCHAR FROM
        (SELECT count(DISTINCT number) AS each FROM numbered GROUP BY agent)) AS found_of_agents,
      (SELECT count(*) FROM numbered) AS numbered,
      (SELECT coalesce(sum(lost), 0)::BIGINT FROM gaps) AS lost,
      (SELECT count(*) FROM archive) AS rows,
      (SELECT count(DISTINCT (incarnation, seq, idx)) FROM archive) AS ids,
      (SELECT count(*) FROM archive WHERE topic = 'file/create'
        AND time < logged_at - INTERVAL 30 MINUTE) AS back,
      (SELECT coalesce(sum(fleeting), 0)::BIGINT FROM files
        WHERE epoch_ms(youngest) < ${cutoffMs}) AS overdue`;
}

const SQL_OF_GAPS = `
  SELECT detail ->> 'class' AS class,
    CASE WHEN count(detail ->> 'count') = count(*) THEN sum((detail ->> 'count')::BIGINT) END AS missing
  FROM archive WHERE topic = 'agent/gap' GROUP BY ALL ORDER BY ALL`;

const SQL_OF_DEEDS = `
  SELECT detail ->> 'action' AS action, count(DISTINCT detail ->> 'record') AS told
  FROM archive WHERE topic = 'audit/admin' AND outcome = 'success' GROUP BY ALL ORDER BY ALL`;

function numbersIn(value: unknown): readonly number[] {
  return [...String(value).matchAll(/[0-9]+/g)].map(([digits]) => Number(digits));
}

function figuresOf(
  row: SqlRow,
  { deeds, gaps }: { readonly deeds: readonly SqlRow[]; readonly gaps: readonly SqlRow[] },
): RowFigures {
  const count = (name: string): number => Number(row[name]);
  return {
    found: count("found"),
    foundOfAgents: numbersIn(row["found_of_agents"]),
    doubled: count("numbered") - count("found"),
    countedLost: count("lost"),
    gaps: Object.fromEntries(
      gaps.map(({ class: kind, missing }) => [
        String(kind),
        missing === null ? "unknown" : Number(missing),
      ]),
    ),
    rows: count("rows"),
    rowsDoubled: count("rows") - count("ids"),
    rowsBack: count("back"),
    rowsOverdue: count("overdue"),
    deedsTold: Object.fromEntries(
      deeds.map(({ action, told }) => [String(action), Number(told)]),
    ),
  };
}
