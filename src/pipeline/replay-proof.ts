/**
 * Whether a table made again from the evidence holds the same rows as the one there was: by count and by a sum over a
 * digest of every row, for each shard; row by row only where these differ. Rows that are missing are compared with what
 * the log says was removed.
 *
 * Invariant: every value of every row of both tables is read; what the log says is believed only as to which files there
 * are, and as to how many rows retention took, when and by which rules. Each missing row has to fit that, and their sum.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  addFingerprints,
  fingerprintRows,
  isSameRows,
  NO_ROWS,
  type RowsFingerprint,
  rowsOfFiles,
  STORED_COLUMNS,
} from "../storage/data-rows.ts";
import type { Connection } from "../storage/duckdb.ts";
import { dataFileKey, sha256OfStateKey } from "../storage/layout.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { identifierOf, literalOf } from "../storage/sql-text.ts";
import type { DataFile, TableSnapshot } from "../storage/table.ts";
import type { RemovalRecord } from "../storage/removal-record.ts";
import { removableRows } from "./maintenance/removal-record.ts";
import { openBench, type Replay, type ReplayedShard } from "./replay.ts";

export interface ShardProof {
  readonly shard: string;
  /** Rows of the table there was. */
  readonly before: RowsFingerprint;
  readonly after: RowsFingerprint;
  /** Whether the acceptance state after the last message is the very one the last commit names. */
  readonly isSameState: boolean;
  /** Undefined where the tables are the same. */
  readonly differences: RowDifferences | undefined;
  readonly verdict: Verdict;
}

/**
 * `equal`; `reduced`: the table has fewer rows and nothing else differs, each missing row was past its time at a removal
 * that the log tells of, and over all shards exactly as many are missing as were removed; `different`: anything else.
 */
export type Verdict = "equal" | "reduced" | "different";

/** Counts of rows by what became of them. */
export interface RowDifferences {
  /** Only in the table made again: lost, or removed since (retention). */
  readonly missing: number;
  /** Those of the missing that were not past their time at any removal. */
  readonly unexplained: number;
  /** Only in the table there was: no evidence has them. */
  readonly extra: number;
  /** In both, with other values. */
  readonly changed: number;
}

export interface ProofOptions {
  readonly source: ObjectStore;
  readonly target: ObjectStore;
  readonly replay: Replay;
  /** Folder for copies of files that are not on this machine; need not outlive the process. */
  readonly scratchDirectory: string;
  readonly signal?: AbortSignal;
}

/** Files that are read together, and their bytes at most. */
const FILES_AT_ONCE = 64;
const BYTES_AT_ONCE = 512 * 1024 * 1024;

export interface Proof {
  readonly shards: readonly ShardProof[];
  /** Rows of the table there was that are of no shard's stream. */
  readonly unplaced: number;
  /** Rows that are missing, and that the log says were removed, of all shards: it does not tell of which. */
  readonly missing: number;
  readonly removed: number;
}

/** Compares the old table, as it was when the replay began, with the one that was made. */
export async function proveReplay(options: ProofOptions): Promise<Proof> {
  const { source, target, signal, replay: { before, after: made, shards, removals } } = options;
  await using bench = await openBench(options);
  const { connection } = bench;
  const folder = bench.scratch.path;
  const request = signal === undefined ? {} : { signal };
  const old = { store: source, table: before, folder, ...request };
  const now = { store: target, table: made, folder, ...request };
  const { sums: found, total } = await fingerprintShards(connection, { ...old, shards });
  const proofs: Omit<ShardProof, "verdict">[] = [];
  for (const { shard, rows: after, incarnations, stateSha256 } of shards) {
    const rows = found.get(shard) ?? NO_ROWS;
    const differences = isSameRows(rows, after)
      ? undefined
      : await findDifferences(connection, { old, now, incarnations, removals });
    const isSameState = sha256OfStateKey(before.shards.get(shard)?.state ?? "") === stateSha256;
    proofs.push({ shard, before: rows, after, isSameState, differences });
  }
  const placed = proofs.reduce((sum, proof) => sum + proof.before.rows, 0);
  const missing = proofs.reduce((sum, { differences }) => sum + (differences?.missing ?? 0), 0);
  const removed = removals.reduce((sum, { rows }) => sum + rows, 0);
  const all = { isWholeLoss: missing === removed };
  return {
    shards: proofs.map((proof) => ({ ...proof, verdict: verdictOf(proof, all) })),
    unplaced: total - placed,
    missing,
    removed,
  };
}

function verdictOf(
  { differences, isSameState }: Omit<ShardProof, "verdict">,
  { isWholeLoss }: { readonly isWholeLoss: boolean },
): Verdict {
  if (!isSameState) return "different";
  if (differences === undefined) return "equal";
  const { extra, changed, unexplained } = differences;
  return extra + changed + unexplained === 0 && isWholeLoss ? "reduced" : "different";
}

interface Relation {
  readonly store: ObjectStore;
  readonly table: TableSnapshot;
  readonly folder: string;
  readonly signal?: AbortSignal;
}

async function fingerprintShards(
  connection: Connection,
  options: Relation & { readonly shards: readonly ReplayedShard[] },
): Promise<{ readonly sums: ReadonlyMap<string, RowsFingerprint>; readonly total: number }> {
  const sums = new Map<string, RowsFingerprint>();
  let total = 0;
  for await (const rows of rowsOfTable(options)) {
    total += Number((await connection.query(`SELECT count(*) AS n FROM ${rows}`)).rows[0]?.["n"]);
    for (const { shard, incarnations } of options.shards) {
      const own = `(SELECT * FROM ${rows} WHERE ${isOneOf(incarnations)})`;
      const sum = await fingerprintRows(connection, own, options.signal);
      sums.set(shard, addFingerprints(sums.get(shard) ?? NO_ROWS, sum));
    }
  }
  return { sums, total };
}

const ALL = STORED_COLUMNS.map(({ name }) => identifierOf(name)).join(", ");

async function findDifferences(
  connection: Connection,
  { old, now, incarnations, removals }: {
    readonly old: Relation;
    readonly now: Relation;
    readonly incarnations: readonly string[];
    readonly removals: readonly RemovalRecord[];
  },
): Promise<RowDifferences> {
  const sides = [["proof_before", old, "NULL"], [
    "proof_after",
    now,
    removableRows(removals),
  ]] as const;
  for (const [name, side, removable] of sides) {
    await connection.run(
      `CREATE OR REPLACE TEMP TABLE ${name}
         (incarnation VARCHAR, seq BIGINT, idx INTEGER, digest UBIGINT, removable BOOLEAN)`,
    );
    for await (const rows of rowsOfTable(side)) {
      await connection.query(
        `INSERT INTO ${name} SELECT incarnation, seq, idx, hash(${ALL}), ${removable} FROM ${rows}
         WHERE ${isOneOf(incarnations)}`,
        side.signal === undefined ? {} : { signal: side.signal },
      );
    }
  }
  // A row that stands twice in a table is one too many of it.
  const { rows: [row] } = await connection.query(
    `SELECT count(*) FILTER (WHERE b.n IS NULL) AS missing,
       count(*) FILTER (WHERE b.n IS NULL AND NOT a.removable) AS unexplained,
       coalesce(sum(b.n) FILTER (WHERE a.n IS NULL), 0)
         + coalesce(sum(b.n - a.n) FILTER (WHERE b.n > a.n), 0) AS extra,
       count(*) FILTER (WHERE a.n = b.n AND a.digest <> b.digest) AS changed
     FROM (SELECT incarnation, seq, idx, count(*) AS n, sum(digest) AS digest,
             bool_and(removable) AS removable
           FROM proof_after GROUP BY ALL) AS a
     FULL JOIN (SELECT incarnation, seq, idx, count(*) AS n, sum(digest) AS digest
           FROM proof_before GROUP BY ALL) AS b
       USING (incarnation, seq, idx)`,
  );
  for (const [name] of sides) await connection.run(`DROP TABLE ${name}`);
  return {
    missing: Number(row?.["missing"]),
    unexplained: Number(row?.["unexplained"]),
    extra: Number(row?.["extra"]),
    changed: Number(row?.["changed"]),
  };
}

/** The rows of a table's files, as SQL, so many at a time. */
async function* rowsOfTable({ store, table, folder, signal }: Relation): AsyncIterable<string> {
  for (const group of groupsOf([...table.files.values()])) {
    const paths: string[] = [];
    const copies: string[] = [];
    try {
      for (const [at, { path }] of group.entries()) {
        const key = dataFileKey(path);
        const local = store.localPath(key);
        paths.push(local ?? join(folder, `${at}.parquet`));
        if (local !== undefined) continue;
        copies.push(paths.at(-1) ?? "");
        const request = signal === undefined ? {} : { signal };
        if (!await store.download(key, copies.at(-1) ?? "", request)) {
          throw new Error(`Cannot read ${key} in ${store.url}: it is missing`);
        }
      }
      yield rowsOfFiles(paths);
    } finally {
      await Promise.all(copies.map((path) => rm(path, { force: true })));
    }
  }
}

function groupsOf(files: readonly DataFile[]): readonly (readonly DataFile[])[] {
  const groups: DataFile[][] = [];
  let bytes = BYTES_AT_ONCE;
  for (const file of files) {
    bytes += file.sizeBytes;
    const last = groups.at(-1);
    if (last === undefined || bytes > BYTES_AT_ONCE || last.length >= FILES_AT_ONCE) {
      groups.push([file]);
      bytes = file.sizeBytes;
    } else last.push(file);
  }
  return groups;
}

function isOneOf(incarnations: readonly string[]): string {
  return `incarnation IN (${["", ...incarnations].map(literalOf).join(", ")})`;
}
