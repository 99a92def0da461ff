/**
 * One data file from the rows of many: cut into pieces of time, each sorted by host, so that a slice of time and a slice
 * of hosts each need few of its row groups.
 *
 * Rows are not compared with each other, which would take as long as all the rest: files of a roll-up are short pieces
 * of time by themselves, so that it is enough to take them in order of time and to divide each piece among its hosts.
 * The parts are written one by one, each by one statement on one thread, which keeps the order in which rows came and
 * takes three quarters of the processor time of one statement on two. Then they are joined as they are; files that are
 * sorted already are only joined.
 *
 * Invariant: memory is bounded by a row group for each thread, the disk by twice the file; the file's statistics are
 * those of its rows.
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
import { joinParquet, OtherColumnsError } from "./parquet-join.ts";
import { literalOf } from "./sql-text.ts";
import type { DataFile } from "./table.ts";

/** Rows of a piece of time: each host then has long runs of them. */
export const PIECE_ROWS = 600_000;
/**
 * Hosts are put together until they have so many rows of a piece: for each such bucket the hosts of the whole piece are
 * read again. Within it rows stay in order of time, so that its row groups are hours apart. A sorted file of fewer rows
 * is sorted again rather than joined.
 */
export const BUCKET_ROWS = 40_960;
/** A part has about so many rows at most, so that there are enough of them for all threads. */
const PART_ROWS = 163_840;
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
  /** Parts written at the same time. */
  readonly threads: number;
  /** Whether sorted files are written anew, too, instead of joined as they are. */
  readonly isAnew?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Rows that one statement writes. */
interface Slice {
  readonly files: readonly string[];
  readonly where: string;
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
  const parts = await writeSlices(database, await slicesOf(database, options), options);
  const filled = parts.filter(({ rows }) => rows > 0);
  if (filled.length === 0) return undefined;
  const path = join(folder, `${id}.parquet`);
  try {
    await joinParquet(filled.map((part) => part.path), path, signal);
  } catch (error) {
    if (!(error instanceof OtherColumnsError) || options.isAnew === true) throw error;
    // An earlier version of the software, or of DuckDB, wrote one of them.
    await rm(path, { force: true });
    await removeParts(parts, sources);
    return await writeSortedFile(database, { ...options, isAnew: true });
  }
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

/** Files that follow each other, as many as fit in a piece; those that need no sorting stand alone. */
function* piecesOf(
  sources: readonly SourceFile[],
  options: WriteSortedFileOptions,
): Generator<readonly SourceFile[]> {
  let piece: SourceFile[] = [];
  let rows = 0;
  for (const source of sources) {
    const isAlone = isJoined(source, options);
    if (piece.length > 0 && (isAlone || rows + source.file.rows > PIECE_ROWS)) {
      yield piece;
      piece = [];
      rows = 0;
    }
    piece.push(source);
    rows += source.file.rows;
    if (!isAlone) continue;
    yield piece;
    piece = [];
    rows = 0;
  }
  if (piece.length > 0) yield piece;
}

/** Whether a file becomes a part of the new one as it is. */
function isJoined(
  { file }: SourceFile,
  { where, isAnew = false }: WriteSortedFileOptions,
): boolean {
  return where === undefined && !isAnew && isCompactedPath(file.path) &&
    file.rows >= BUCKET_ROWS;
}

/** What is still to be written, or is there already, in the order of the new file. */
async function slicesOf(
  database: Database,
  options: WriteSortedFileOptions,
): Promise<(Slice | Part)[]> {
  const { sources, where, signal } = options;
  const kept = where === undefined ? "true" : `(${where})`;
  await using connection = await database.connect();
  const slices: (Slice | Part)[] = [];
  for (const piece of piecesOf(sources, options)) {
    const [only] = piece;
    if (only !== undefined && piece.length === 1 && isJoined(only, options)) {
      slices.push({ path: only.path, rows: only.file.rows, statistics: only.file });
      continue;
    }
    const from = `${rowsOfFiles(piece.map(({ path }) => path))} WHERE ${kept}`;
    const buckets = await bucketsOf(connection, from, signal === undefined ? {} : { signal });
    for (const { hosts, rows } of buckets) {
      for (const files of filesOfSlices(piece, rows / PART_ROWS)) {
        slices.push({ files: files.map(({ path }) => path), where: `${kept} AND ${hosts}` });
      }
    }
  }
  return slices;
}

/** Files of a piece in parts of about as many rows, at least so many parts where there are as many files. */
function filesOfSlices(piece: readonly SourceFile[], slices: number): readonly SourceFile[][] {
  const all = piece.reduce((sum, { file }) => sum + file.rows, 0);
  const wanted = Math.ceil(slices);
  const parts: SourceFile[][] = [];
  let before = 0;
  for (const source of piece) {
    const place = Math.min(wanted - 1, Math.floor((before + source.file.rows / 2) * wanted / all));
    (parts[place] ??= []).push(source);
    before += source.file.rows;
  }
  return parts.filter((part) => part !== undefined);
}

/** Writes slices as files, some at a time, each on one thread. */
async function writeSlices(
  database: Database,
  slices: readonly (Slice | Part)[],
  { folder, id, threads, signal }: WriteSortedFileOptions,
): Promise<Part[]> {
  const request = signal === undefined ? {} : { signal };
  const parts: Part[] = [];
  const waiting = [...slices.entries()];
  const lane = async (connection: Connection): Promise<void> => {
    // Only then can a row group be bounded in bytes; on one thread the order stays all the same.
    await connection.run("SET preserve_insertion_order = false");
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [place, slice] = next;
      if ("statistics" in slice) {
        parts[place] = slice;
        continue;
      }
      const path = join(folder, `${id}-${place}.parquet`);
      const { rows: [row] } = await connection.query(
        `COPY (SELECT * FROM ${rowsOfFiles(slice.files)} WHERE ${slice.where})
         TO ${literalOf(path)} (${SORTED_WRITE_OPTIONS})`,
        request,
      );
      const statistics = statisticsOfCopy(row?.["column_statistics"]);
      parts[place] = { path, rows: Number(row?.["count"]), statistics };
    }
  };
  await using connections = new AsyncDisposableStack();
  const lanes: Connection[] = [];
  for (let count = 0; count < threads; count++) {
    lanes.push(connections.use(await database.connect()));
  }
  const [first] = lanes;
  await first?.run("SET threads = 1");
  try {
    const outcomes = await Promise.allSettled(
      lanes.map((connection) =>
        lane(connection).catch((error: unknown) => {
          waiting.length = 0;
          throw error;
        })
      ),
    );
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  } finally {
    await first?.run(`SET threads = ${threads}`);
  }
  return parts;
}

interface Bucket {
  /** SQL of the hosts whose rows are in it. */
  readonly hosts: string;
  readonly rows: number;
}

/** Conditions on hosts that divide the rows into buckets of at least about {@link BUCKET_ROWS}. */
async function bucketsOf(
  connection: Connection,
  rows: string,
  request: { readonly signal?: AbortSignal },
): Promise<readonly Bucket[]> {
  const hosts = await connection.query(
    `SELECT host, count(*) AS n FROM ${rows} GROUP BY host ORDER BY host NULLS FIRST`,
    request,
  );
  let left = hosts.rows.reduce((sum, { n }) => sum + Number(n), 0);
  if (left === 0) return [];
  const buckets: Bucket[] = [];
  let lowest: string | undefined;
  let filled = 0;
  for (const { host, n } of hosts.rows) {
    filled += Number(n);
    left -= Number(n);
    // The rest is no bucket of its own unless it fills one.
    const isFull = filled >= BUCKET_ROWS && left >= BUCKET_ROWS;
    if (!isFull || typeof host !== "string") continue;
    const highest = literalOf(host);
    buckets.push({
      hosts: lowest === undefined
        ? `(host IS NULL OR host <= ${highest})`
        : `host > ${lowest} AND host <= ${highest}`,
      rows: filled,
    });
    lowest = highest;
    filled = 0;
  }
  buckets.push({ hosts: lowest === undefined ? "true" : `host > ${lowest}`, rows: filled });
  return buckets;
}

/** As a roll-up's files (see `parquet.ts`), with dictionaries only for columns of few values, which sorting makes more. */
export const SORTED_WRITE_OPTIONS = [
  "FORMAT parquet",
  "PARQUET_VERSION v1",
  "COMPRESSION zstd",
  "COMPRESSION_LEVEL 3",
  "DICTIONARY_SIZE_LIMIT 256",
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
