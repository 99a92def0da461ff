/**
 * Rows to data files of the table: how Parquet is written, cut by day, and described for the Delta log.
 *
 * Invariants: times are UTC instants (`isAdjustedToUTC`), every column has its field id, the partition column is in the
 * path and never in the file, and a file holds rows of one UTC day. Rows that are given together stay together; memory
 * is bounded by the size of row groups. Source: Apache Parquet format, delta-io/delta PROTOCOL.md.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { COLUMNS, fieldIdOf, PARTITION_COLUMN } from "../event/columns.ts";
import { statisticsOfCopy } from "./delta-statistics.ts";
import type { Connection, JsonValue } from "./duckdb.ts";
import { dataFilePath, type SequenceRange } from "./layout.ts";
import { identifierOf, literalOf } from "./sql-text.ts";
import type { DataFile } from "./table.ts";

/** A data file that lies in a local folder and is not in the bucket yet. */
export interface LocalDataFile {
  readonly file: DataFile;
  readonly path: string;
}

export interface WriteDataFilesOptions {
  /** SELECT of all columns. */
  readonly select: string;
  /** Folder for the files; names in it that begin with `rows` are overwritten. */
  readonly folder: string;
  readonly range: SequenceRange;
  /**
   * Called once with the SQL of all rows just written, before they are cut and named; what it throws ends the writing.
   */
  readonly check?: (rows: string) => Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * Most rows of a row group, which is unpacked whole for any row of it. Of 40,960 an event by its id took 26 ms of
 * processor time where these take 16 and half as many 15; what reads every row pays for each row group, a seventh more.
 */
export const ROW_GROUP_ROWS_MAX = 16_384;
/** A row group ends at so many bytes in memory; each thread that writes holds one. */
const ROW_GROUP_BYTES = 32 * 1024 * 1024;

/** Writes rows as data files, one for each day that occurs; none for no rows. Throws what DuckDB throws. */
export async function writeDataFiles(
  connection: Connection,
  options: WriteDataFilesOptions,
): Promise<LocalDataFile[]> {
  // Only then can a row group be bounded in bytes; rows of one file of lines stay together all the same.
  await connection.run("SET preserve_insertion_order = false");
  const whole = await copyRows(connection, { ...options, path: `${options.folder}/rows.parquet` });
  const rows = `read_parquet(${literalOf(whole.path)})`;
  await options.check?.(rows);
  if (whole.rows === 0) return [];
  if (whole.firstDay !== undefined && whole.firstDay === whole.lastDay) {
    return [await describeFile(whole, whole.firstDay, options.range)];
  }
  const files: LocalDataFile[] = [];
  for (const day of await daysOf(connection, rows, options.signal)) {
    const written = await copyRows(connection, {
      ...options,
      select: `SELECT *, NULL AS ${PARTITION_COLUMN} FROM ${rows} WHERE ${isDay(day)}`,
      path: `${options.folder}/rows-${day}.parquet`,
    });
    files.push(await describeFile(written, day, options.range));
  }
  return files;
}

const STORED = COLUMNS.filter(({ name }) => name !== PARTITION_COLUMN);
/** Text of the option `FIELD_IDS`, without its braces. */
export const FIELD_IDS = STORED.map(({ name }) => `${identifierOf(name)}: ${fieldIdOf(name)}`).join(
  ", ",
);
/**
 * Measured on captured events: level 6 is a sixth smaller than 3, but the whole statement takes a third more processor
 * time; a dictionary pays only for columns of few values; bloom filters, half a byte per event, serve only columns with
 * a dictionary; version 2 of the format is larger for text than what zstd makes of version 1. Rows sorted by process are
 * a third smaller where many processes write files at once, for half as much time again.
 */
const WRITE_OPTIONS = [
  "FORMAT parquet",
  "PARQUET_VERSION v1",
  "COMPRESSION zstd",
  "COMPRESSION_LEVEL 3",
  "DICTIONARY_SIZE_LIMIT 1024",
  "WRITE_BLOOM_FILTER false",
  `ROW_GROUP_SIZE ${ROW_GROUP_ROWS_MAX}`,
  `ROW_GROUP_SIZE_BYTES ${ROW_GROUP_BYTES}`,
  `FIELD_IDS {${FIELD_IDS}}`,
  "RETURN_STATS true",
].join(", ");

interface WrittenRows {
  readonly path: string;
  readonly rows: number;
  readonly columnStatistics: JsonValue;
  /** Days of the least and the greatest time, YYYY-MM-DD. */
  readonly firstDay: string | undefined;
  readonly lastDay: string | undefined;
}

async function copyRows(
  connection: Connection,
  options: WriteDataFilesOptions & { readonly path: string },
): Promise<WrittenRows> {
  const { select, path, signal } = options;
  const result = await connection.query(
    `COPY (SELECT * EXCLUDE (${PARTITION_COLUMN}) FROM (${select})) TO ${literalOf(path)}
      (${WRITE_OPTIONS})`,
    signal === undefined ? {} : { signal },
  );
  const [row] = result.rows;
  const columnStatistics = row?.["column_statistics"] ?? null;
  const { minimum, maximum } = statisticsOfCopy(columnStatistics);
  return {
    path,
    rows: Number(row?.["count"] ?? 0),
    columnStatistics,
    firstDay: dayOf(minimum["time"]),
    lastDay: dayOf(maximum["time"]),
  };
}

/** The greatest time is rounded up to the millisecond, so a day may seem to be two; that costs a pass, no more. */
function dayOf(time: string | number | undefined): string | undefined {
  return typeof time === "string" ? time.slice(0, 10) : undefined;
}

async function daysOf(
  connection: Connection,
  rows: string,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const result = await connection.query(
    `SELECT DISTINCT CAST(CAST(time AS DATE) AS VARCHAR) AS day FROM ${rows} ORDER BY day`,
    signal === undefined ? {} : { signal },
  );
  return result.rows.map(({ day }) => String(day));
}

function isDay(day: string): string {
  const start = `TIMESTAMPTZ ${literalOf(`${day} 00:00:00+00`)}`;
  return `time >= ${start} AND time < ${start} + INTERVAL 24 HOUR`;
}

async function describeFile(
  written: WrittenRows,
  eventDate: string,
  range: SequenceRange,
): Promise<LocalDataFile> {
  const { path, rows, columnStatistics } = written;
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  const sha256 = hash.digest("hex");
  const { size } = await stat(path);
  return {
    path,
    file: {
      path: dataFilePath(range, eventDate, sha256),
      sizeBytes: size,
      rows,
      eventDate,
      ...statisticsOfCopy(columnStatistics),
      sha256,
    },
  };
}
