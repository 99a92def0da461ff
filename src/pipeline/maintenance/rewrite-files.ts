/**
 * Files of one day as one new, sorted file in the bucket, all their rows or those that a condition keeps.
 *
 * Invariant: nothing is put before it is proven: the sources are what the log says of them (digest, size, rows), and the
 * new file holds the very rows that the sources have, by count and by a digest of all values that knows no order. What
 * fails changes nothing in the bucket.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { putContentFile } from "../../storage/content-object.ts";
import { fingerprintRows, isSameRows, rowsOfFiles } from "../../storage/data-rows.ts";
import type { Connection } from "../../storage/duckdb.ts";
import { dataFileKey } from "../../storage/layout.ts";
import { type SourceFile, writeSortedFile } from "../../storage/sorted-file.ts";
import type { DataFile } from "../../storage/table.ts";
import type { MaintenanceContext } from "./context.ts";

/** Objects fetched at the same time. */
const FETCHES_AT_ONCE = 4;

/** Files of the table, or one of them, are not what the log says; they stay as they are, for a person to look at. */
export class DamagedFileError extends Error {
  override readonly name = "DamagedFileError";
  readonly paths: readonly string[];
  constructor(paths: readonly string[], state: string) {
    super(`Cannot rewrite data file ${paths.map((path) => `"${path}"`).join(", ")}: ${state}`);
    this.paths = paths;
  }
}

export interface RewriteFilesOptions {
  /** Files of one day, in order of time. */
  readonly files: readonly DataFile[];
  /** SQL of the rows to keep; all when undefined. */
  readonly where: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RewrittenFile {
  /** Undefined when no row was kept, or all were under a condition: nothing is written then. */
  readonly file: DataFile | undefined;
  readonly rowsKept: number;
}

/** Writes, proves and puts the file. Throws {@link DamagedFileError}, and what store, disk and DuckDB throw. */
export async function rewriteFiles(
  context: MaintenanceContext,
  { files, where, signal }: RewriteFilesOptions,
): Promise<RewrittenFile> {
  const { store, scratch, threads } = context;
  await using folder = await scratch.openFolder();
  const sources = await fetchSources(context, files, { folder: folder.path, signal });
  const database = await context.database();
  await using connection = await database.connect();
  const kept = await fingerprintKept(connection, sources, { where, signal });
  const logged = files.reduce((sum, { rows }) => sum + rows, 0);
  const isSame = where !== undefined && kept.rows === logged;
  if (kept.rows === 0 || isSame) return { file: undefined, rowsKept: kept.rows };
  const written = await writeSortedFile(database, {
    sources,
    where,
    folder: folder.path,
    id: randomUUID(),
    threads,
    signal,
  });
  const found = written === undefined
    ? undefined
    : await fingerprintRows(connection, rowsOfFiles([written.path]), signal);
  if (written === undefined || found === undefined || !isSameRows(kept, found)) {
    throw new Error(
      `Cannot rewrite ${files.length} data files of ${files[0]?.eventDate}: ${found?.rows ?? 0} ` +
        `rows were written of ${kept.rows}, or not the same ones`,
    );
  }
  const key = dataFileKey(written.file.path);
  const request = signal === undefined ? {} : { signal };
  await putContentFile(store, { key, path: written.path }, request);
  return { file: written.file, rowsKept: kept.rows };
}

/** Takes back a file that became no part of the table; whatever cannot be deleted now is vacuumed later. */
export async function discardFile(
  { store, log }: MaintenanceContext,
  file: DataFile | undefined,
): Promise<void> {
  if (file === undefined) return;
  try {
    await store.delete(dataFileKey(file.path));
  } catch (error) {
    log.warn("a file that nobody needs is left", { path: file.path, error: String(error) });
  }
}

/** All files on this machine, each the very content that was committed. */
export async function fetchSources(
  { store }: Pick<MaintenanceContext, "store">,
  files: readonly DataFile[],
  { folder, signal }: { readonly folder: string; readonly signal: AbortSignal | undefined },
): Promise<SourceFile[]> {
  const request = signal === undefined ? {} : { signal };
  const sources: SourceFile[] = [];
  for (let from = 0; from < files.length; from += FETCHES_AT_ONCE) {
    const fetched = files.slice(from, from + FETCHES_AT_ONCE).map(async (file, place) => {
      const key = dataFileKey(file.path);
      const standing = store.localPath(key);
      const path = standing ?? join(folder, `source-${from + place}.parquet`);
      if (standing === undefined) {
        await rm(path, { force: true });
        if (!await store.download(key, path, request)) {
          throw new DamagedFileError([file.path], "it is missing");
        }
      }
      await requireContent(file, path, signal);
      return { file, path };
    });
    sources.push(...await Promise.all(fetched));
  }
  return sources;
}

async function requireContent(
  file: DataFile,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const found = await stat(path).catch((cause: unknown) => {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw cause;
  });
  if (found === undefined) throw new DamagedFileError([file.path], "it is missing");
  if (found.size !== file.sizeBytes) {
    throw new DamagedFileError([file.path], `it has ${found.size} bytes, not ${file.sizeBytes}`);
  }
  if (file.sha256 === "") return;
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash, signal === undefined ? {} : { signal });
  if (hash.digest("hex") === file.sha256) return;
  throw new DamagedFileError([file.path], "its content is not what was committed");
}

/** What the kept rows are known by; makes sure that the files have as many rows as the log says. */
async function fingerprintKept(
  connection: Connection,
  sources: readonly SourceFile[],
  { where, signal }: Pick<RewriteFilesOptions, "where" | "signal">,
) {
  const rows = rowsOfFiles(sources.map(({ path }) => path));
  const logged = sources.reduce((sum, { file }) => sum + file.rows, 0);
  const kept = await fingerprintRows(
    connection,
    where === undefined ? rows : `${rows} WHERE ${where}`,
    signal,
  );
  const all = where === undefined ? kept.rows : await countRows(connection, rows, signal);
  if (all === logged) return kept;
  throw new DamagedFileError(
    sources.map(({ file }) => file.path),
    `there are ${all} rows, not ${logged}`,
  );
}

async function countRows(
  connection: Connection,
  rows: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  const request = signal === undefined ? {} : { signal };
  const result = await connection.query(`SELECT count(*) AS n FROM ${rows}`, request);
  return Number(result.rows[0]?.["n"]);
}
