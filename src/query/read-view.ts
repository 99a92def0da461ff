/**
 * What one query reads: the data files of one table version, and the hot rows beyond the sequences committed in that
 * very version. Taken together, no event is missing and none is there twice.
 */
import type { DataFile } from "../storage/table.ts";

/** Rows of a hot table's part that belong to a view. */
export interface HotRange {
  /** Name of the table in DuckDB. */
  readonly table: string;
  readonly incarnation: string;
  /** Committed sequence: rows at or below it are in the data files. */
  readonly after: number;
  /** Last sequence that was loaded when the view was taken. */
  readonly upTo: number;
  /** No row of the table is earlier, µs; undefined when that is not known. */
  readonly firstUs?: number;
}

export interface ReadView {
  /** -1 while there is no table yet. */
  readonly version: number;
  readonly files: readonly DataFile[];
  readonly hot: readonly HotRange[];
  /** Highest sequence that can be searched, for every incarnation that is being written. */
  readonly upper: ReadonlyMap<string, number>;
  /** What of the log cannot be searched yet, in words; empty when everything can. */
  readonly missing: readonly string[];
}

/** A view that is in use: what it names stays until it is released. */
export interface ViewLease extends Disposable {
  readonly view: ReadView;
}
