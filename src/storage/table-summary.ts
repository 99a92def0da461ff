/** A version of the table in figures, as commands and the service show it. */
import type { TableSnapshot } from "./table.ts";

export interface TableSummary {
  /** -1 while there is no table yet. */
  readonly version: number;
  readonly files: number;
  readonly rows: number;
  /** Of all data files. */
  readonly bytes: number;
  /** UTC days that have files; the first and the last as YYYY-MM-DD, undefined while there is none. */
  readonly days: number;
  readonly first_day: string | undefined;
  readonly last_day: string | undefined;
  /** How far each shard's stream is part of the table, and since which version. */
  readonly shards: readonly {
    readonly shard: string;
    readonly incarnation: string;
    readonly sequence: number;
    readonly version: number;
  }[];
}

export function summarizeTable({ version, files, shards }: TableSnapshot): TableSummary {
  let rows = 0;
  let bytes = 0;
  const days = new Set<string>();
  for (const file of files.values()) {
    rows += file.rows;
    bytes += file.sizeBytes;
    days.add(file.eventDate);
  }
  const sorted = [...days].toSorted();
  return {
    version,
    files: files.size,
    rows,
    bytes,
    days: days.size,
    first_day: sorted[0],
    last_day: sorted.at(-1),
    shards: [...shards.values()].map(({ shard, incarnation, sequence, version: at }) => ({
      ...{ shard, incarnation, sequence },
      version: at,
    })),
  };
}
