/**
 * The table as readers and the one kind of writer see it: snapshots of the Delta log, and commits to it. How the log is
 * read and written is in `delta-*.ts`; `delta-table.ts` brings it together.
 */

/**
 * Least and greatest value of a column in a file, as Delta statistics give them: times as ISO 8601 with milliseconds,
 * text by code point. Bounds may be wider than the data; a missing one means unknown.
 */
export type ColumnStatistics = Readonly<Record<string, string | number>>;

export interface DataFile {
  /** Path inside `table/`. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly rows: number;
  /** UTC day, YYYY-MM-DD. */
  readonly eventDate: string;
  readonly minimum: ColumnStatistics;
  readonly maximum: ColumnStatistics;
  readonly nullCount: Readonly<Record<string, number>>;
  /** Hex; "" when another engine wrote the file. */
  readonly sha256: string;
}

/** What a shard's last commit says: how far its stream is part of the table. */
export interface ShardPosition {
  readonly shard: string;
  /** Table version of that commit. */
  readonly version: number;
  readonly incarnation: string;
  /** Committed sequence, and the digest of the whole message there. */
  readonly sequence: number;
  readonly digest: string;
  /** Key of the acceptance state. */
  readonly state: string;
}

export interface TableSnapshot {
  /** -1 while there is no table yet. */
  readonly version: number;
  readonly files: ReadonlyMap<string, DataFile>;
  readonly shards: ReadonlyMap<string, ShardPosition>;
}

/** The work of one roll-up round, ready to become visible. */
export interface ShardCommit {
  readonly shard: string;
  /** The shard's version this work started from; undefined for its first commit. */
  readonly startedFrom: number | undefined;
  readonly position: Omit<ShardPosition, "version" | "shard">;
  readonly firstSequence: number;
  readonly evidence: readonly string[];
  readonly files: readonly DataFile[];
  /** After this time, ms since the Unix epoch, what it names may be vacuumed, and it must not be committed. */
  readonly notAfterMs: number;
  /** Figures for `commitInfo`: messages, rows, duplicates and so on. */
  readonly counts: Readonly<Record<string, number>>;
}

export type CommitResult =
  | { readonly kind: "committed"; readonly version: number }
  /** The shard moved under us: throw the work away and start from the new state. */
  | { readonly kind: "superseded" };

export interface Table {
  /** The newest snapshot: reads what the log gained since the last call. */
  refresh(signal?: AbortSignal): Promise<TableSnapshot>;
  /** The snapshot last read, without I/O. */
  current(): TableSnapshot;
  /**
   * Makes one round's work visible, whole or not at all. Safe to call again with the same work after any failure: work
   * that became visible after all is found and reported as committed. Throws RangeError when the work's sequences
   * begin at or before the shard's committed one, and an Error past its `notAfterMs`: what it names has to be put
   * again.
   */
  commit(commit: ShardCommit, signal?: AbortSignal): Promise<CommitResult>;
}

/** A change of the files that is no roll-up's: rows move to other files, or leave the table. */
export interface Replacement {
  readonly operation: "OPTIMIZE" | "DELETE";
  /** Whether rows leave the table; else the files added hold exactly the rows of those removed. */
  readonly isDataChange: boolean;
  readonly removed: readonly DataFile[];
  readonly added: readonly DataFile[];
  /** As in a {@link ShardCommit}; counts when files are added. */
  readonly notAfterMs?: number;
  /** For `commitInfo`. */
  readonly detail: Readonly<Record<string, unknown>>;
  /** Asked right before each attempt; on false nothing is changed. */
  readonly confirm?: () => Promise<boolean>;
}

/** The table to those who keep it in order. */
export interface MaintainedTable extends Table {
  /**
   * Replaces files, whole or not at all, whatever roll-ups commit meanwhile. `superseded` when one of the files to
   * remove is no longer part of the table, or `confirm` says no. Files added must have paths that were never used.
   */
  replace(work: Replacement, signal?: AbortSignal): Promise<CommitResult>;
  /** Writes a checkpoint if enough versions followed the last one; the version it is of. */
  checkpoint(signal?: AbortSignal): Promise<number | undefined>;
  /** Files that were removed from the table lately, by path; of the snapshot last read. */
  removed(): ReadonlyMap<string, RemovedDataFile>;
  /** When a file of the snapshot last read was added, by the clock of who did; undefined when the log does not say. */
  addedAtMs(path: string): number | undefined;
  /** Whether this version of the software knows every column of the table; of the snapshot last read. */
  knowsAllColumns(): boolean;
}

export interface RemovedDataFile {
  readonly removedAtMs: number;
  /** False when its rows are in other files. */
  readonly isDataChange: boolean;
}
