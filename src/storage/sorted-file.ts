/**
 * One data file from the rows of many: cut into pieces of time, each sorted by host, so that a slice of time and a slice
 * of hosts each need few of its row groups.
 *
 * Rows are not compared with each other, which would take longer than all the rest: files of a roll-up are short pieces
 * of time by themselves, so that it is enough to take them in order of time and to divide each piece among its hosts.
 * The parts are written one by one and joined as they are; files that are sorted already are only joined.
 *
 * Invariant: memory is bounded by the rows of a piece, the disk by twice the file; the file's statistics are those of
 * its rows.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { rowsOfFiles } from "./data-rows.ts";
import { mergeStatistics, statisticsOfCopy } from "./delta-statistics.ts";
import type { Connection, Database } from "./duckdb.ts";
import { compactedFilePath, isCompactedPath } from "./layout.ts";
import { FIELD_IDS, type LocalDataFile, ROW_GROUP_ROWS_MAX } from "./parquet.ts";
import { joinParquet } from "./parquet-join.ts";
import { literalOf } from "./sql-text.ts";
import type { DataFile } from "./table.ts";

/** Rows of a piece of time: each host then has long runs of them, and they fit in memory. */
export const PIECE_ROWS = 600_000;
/** Memory that a row takes while its piece is divided, in bytes, and what it may grow to. */
const ROW_BYTES = 1_000;
/** A row group ends at so many bytes in memory. */
const ROW_GROUP_BYTES = 32 * 1024 * 1024;

/** A file whose rows go into the new one. */
export interface SourceFile {
  readonly file: DataFile;
  /** Where it lies on this machine. */
  readonly path: string;
}

export interface WriteSortedFileOptions {
  /** Files of one day, in order of time. */
  readonly sources: readonly SourceFile[];
  /** SQL of the rows to take; all when undefined. */
  readonly where: string | undefined;
  /** Folder for the file; names in it that begin with the id are used. */
  readonly folder: string;
  /** Part of the new file's name: `[0-9a-z-]+`, never used before. */
  readonly id: string;
  /** Bound of the database, by which pieces are cut. */
  readonly memoryLimitBytes: number;
  readonly signal?: AbortSignal | undefined;
}

interface Part {
  readonly path: string;
  readonly rows: number;
  readonly statistics: ReturnType<typeof statisticsOfCopy>;
}

/** Writes the file; undefined when it would have no rows. Throws what DuckDB and the disk throw. */
export async function writeSortedFile(
  database: Database,
  options: WriteSortedFileOptions,
): Promise<LocalDataFile | undefined> {
  const { sources, folder, id, signal } = options;
  const day = sources[0]?.file.eventDate;
  if (day === undefined || sources.some(({ file }) => file.eventDate !== day)) {
    throw new RangeError("Cannot write a data file: its rows are not of one day");
  }
  const parts: Part[] = [];
  const pieceRows = Math.max(
    ROW_GROUP_ROWS_MAX,
    Math.min(PIECE_ROWS, Math.floor(options.memoryLimitBytes / ROW_BYTES)),
  );
  for (const piece of piecesOf(sources, { pieceRows, isWhole: options.where === undefined })) {
    const [only] = piece;
    const isSorted = piece.length === 1 && only !== undefined && isJoinable(only, options);
    if (isSorted) {
      parts.push({ path: only.path, rows: only.file.rows, statistics: only.file });
      continue;
    }
    const name = `${id}-${parts.length}`;
    parts.push(...await writePiece(database, piece, { ...options, name }));
  }
  const filled = parts.filter(({ rows }) => rows > 0);
  if (filled.length === 0) return undefined;
  const path = join(folder, `${id}.parquet`);
  await joinParquet(filled.map((part) => part.path), path, signal);
  await removeParts(parts, sources);
  const { size } = await stat(path);
  const rows = filled.map((part) => ({ rows: part.rows, ...part.statistics }));
  return {
    path,
    file: {
      path: compactedFilePath(day, id),
      sizeBytes: size,
      rows: rows.reduce((sum, part) => sum + part.rows, 0),
      eventDate: day,
      ...mergeStatistics(rows),
      sha256: await digestOf(path),
    },
  };
}

function isJoinable({ file }: SourceFile, { where }: WriteSortedFileOptions): boolean {
  return where === undefined && isCompactedPath(file.path) && file.rows >= ROW_GROUP_ROWS_MAX;
}

/** Files that follow each other, as many as fit in a piece; those that need no sorting stand alone. */
function* piecesOf(
  sources: readonly SourceFile[],
  { pieceRows, isWhole }: { readonly pieceRows: number; readonly isWhole: boolean },
): Generator<readonly SourceFile[]> {
  let piece: SourceFile[] = [];
  let rows = 0;
  for (const source of sources) {
    const isSorted = isWhole && isCompactedPath(source.file.path) &&
      source.file.rows >= ROW_GROUP_ROWS_MAX;
    if (piece.length > 0 && (isSorted || rows + source.file.rows > pieceRows)) {
      yield piece;
      piece = [];
      rows = 0;
    }
    piece.push(source);
    rows += source.file.rows;
    if (!isSorted) continue;
    yield piece;
    piece = [];
    rows = 0;
  }
  if (piece.length > 0) yield piece;
}

/**
 * Writes a piece, each bucket of hosts as a file; in order of hosts. One statement per bucket: rows of one host lie
 * together already in a roll-up's file, so that each reads little more than its own, and takes two thirds of the time
 * of one that divides all rows.
 */
async function writePiece(
  database: Database,
  piece: readonly SourceFile[],
  options: WriteSortedFileOptions & { readonly name: string },
): Promise<Part[]> {
  const { where, folder, name, signal } = options;
  const request = signal === undefined ? {} : { signal };
  const from = rowsOfFiles(piece.map(({ path }) => path));
  const kept = where === undefined ? "true" : `(${where})`;
  await using first = await database.connect();
  const buckets = await bucketsOf(first, `${from} WHERE ${kept}`, request);
  const parts: Part[] = [];
  const waiting = [...buckets.entries()];
  const write = async (connection: Connection): Promise<void> => {
    // Only then can a row group be bounded in bytes.
    await connection.run("SET preserve_insertion_order = false");
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [place, bucket] = next;
      const path = join(folder, `${name}-${place}.parquet`);
      const { rows: [row] } = await connection.query(
        `COPY (SELECT * FROM ${from} WHERE ${kept} AND ${bucket}) TO ${literalOf(path)}
         (${WRITE_OPTIONS})`,
        request,
      );
      const statistics = statisticsOfCopy(row?.["column_statistics"]);
      parts[place] = { path, rows: Number(row?.["count"]), statistics };
    }
  };
  await using second = await database.connect();
  const outcomes = await Promise.allSettled([first, second].map(write));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return parts;
}

/** Conditions on hosts that divide the rows into buckets of about a row group. */
async function bucketsOf(
  connection: Connection,
  rows: string,
  request: { readonly signal?: AbortSignal },
): Promise<readonly string[]> {
  const hosts = await connection.query(
    `SELECT host, count(*) AS n FROM ${rows} GROUP BY host ORDER BY host NULLS FIRST`,
    request,
  );
  let left = hosts.rows.reduce((sum, { n }) => sum + Number(n), 0);
  const bounds: string[] = [];
  let filled = 0;
  for (const { host, n } of hosts.rows) {
    filled += Number(n);
    left -= Number(n);
    // The rest is no bucket of its own unless it fills one.
    const isFull = filled >= ROW_GROUP_ROWS_MAX && left >= ROW_GROUP_ROWS_MAX;
    if (!isFull || typeof host !== "string") continue;
    bounds.push(literalOf(host));
    filled = 0;
  }
  if (filled === 0) return [];
  const [lowest] = bounds;
  const highest = bounds.at(-1);
  if (lowest === undefined || highest === undefined) return ["true"];
  const between = bounds.slice(1).map((to, place) => `host > ${bounds[place]} AND host <= ${to}`);
  return [`(host IS NULL OR host <= ${lowest})`, ...between, `host > ${highest}`];
}

/**
 * As a roll-up's files (see `parquet.ts`), with larger dictionaries, which pay where rows of one host are together:
 * measured on captured events.
 */
const WRITE_OPTIONS = [
  "FORMAT parquet",
  "PARQUET_VERSION v1",
  "COMPRESSION zstd",
  "COMPRESSION_LEVEL 6",
  "DICTIONARY_SIZE_LIMIT 8192",
  "WRITE_BLOOM_FILTER false",
  `ROW_GROUP_SIZE ${ROW_GROUP_ROWS_MAX}`,
  `ROW_GROUP_SIZE_BYTES ${ROW_GROUP_BYTES}`,
  `FIELD_IDS {${FIELD_IDS}}`,
  "RETURN_STATS true",
].join(", ");

async function removeParts(
  parts: readonly Part[],
  sources: readonly SourceFile[],
): Promise<void> {
  const given = new Set(sources.map(({ path }) => path));
  for (const { path } of parts) if (!given.has(path)) await rm(path, { force: true });
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
