/**
 * The tables that hold one shard's hot rows: each takes the rows of a run of sequences and is dropped whole once all
 * of them are in the archive, since deleting rows would not give their memory back.
 *
 * Invariant: a table that a view names is not dropped before the view is released.
 */
import type { Connection } from "../../storage/duckdb.ts";
import type { HotRange } from "../read-view.ts";
import { createHotTable } from "./loader.ts";

/** A table is followed by another at this much JSON, in bytes. */
const SEGMENT_BYTES = 64 * 1024 * 1024;

/** Schema of hot tables: out of reach of names without a schema. */
export const HOT_SCHEMA = "hot";

interface Segment {
  readonly table: string;
  readonly incarnation: string;
  /** Last sequence that was loaded into it. */
  last: number;
  /** No row is earlier, µs. */
  firstUs: number;
  jsonBytes: number;
  users: number;
}

export interface Filling extends Disposable {
  readonly table: string;
  /** States that the table now holds everything up to a sequence, and what was added since. */
  done(last: number, added: { readonly jsonBytes: number; readonly firstUs: number }): void;
}

export interface HotSegments {
  /** JSON of all rows held, in bytes. */
  readonly jsonBytes: number;
  /** The table that takes the next rows; it stays until the filling is disposed of. */
  fill(incarnation: string): Promise<Filling>;
  /** Lets go of what lies at or below a committed sequence, and begins another table for what comes. */
  evict(committed: number): void;
  /** Lets go of everything. */
  clear(): void;
  /** Tables with rows after a sequence; they stay until the function that is returned was called. */
  hold(after: number): { readonly ranges: readonly HotRange[]; readonly release: () => void };
}

export interface HotSegmentsOptions {
  /** For making and dropping tables; not one in whose transactions rows are loaded. */
  readonly connection: Connection;
  readonly shard: string;
  readonly onError: (error: unknown) => void;
}

export function createHotSegments({ connection, shard, onError }: HotSegmentsOptions): HotSegments {
  let made = 0;
  let segments: Segment[] = [];
  /** No longer part of any new view, and dropped once unused. */
  const retired = new Set<Segment>();
  /** Whether the last table takes more rows. */
  let isOpen = false;
  let filling: Segment | undefined;
  let evictedUpTo = -1;

  const drop = (segment: Segment): void => {
    if (segment.users > 0) return;
    retired.delete(segment);
    connection.run(`DROP TABLE ${segment.table}`).catch(onError);
  };
  const retire = (gone: readonly Segment[]): void => {
    segments = segments.filter((each) => !gone.includes(each));
    for (const segment of gone) {
      retired.add(segment);
      drop(segment);
    }
    isOpen = false;
  };
  const release = (segment: Segment): void => {
    segment.users -= 1;
    if (retired.has(segment)) drop(segment);
  };
  return {
    get jsonBytes() {
      return [...segments, ...retired].reduce((total, each) => total + each.jsonBytes, 0);
    },
    async fill(incarnation) {
      const last = segments.at(-1);
      const fits = last?.incarnation === incarnation && last.jsonBytes < SEGMENT_BYTES;
      const segment = isOpen && fits ? last : {
        table: `${HOT_SCHEMA}.rows_${shard}_${++made}`,
        incarnation,
        last: 0,
        firstUs: Infinity,
        jsonBytes: 0,
        users: 0,
      };
      if (segment !== last) {
        await connection.run(createHotTable(segment.table));
        segments.push(segment);
        isOpen = true;
      }
      segment.users += 1;
      filling = segment;
      return {
        table: segment.table,
        done(sequence, { jsonBytes, firstUs }) {
          segment.last = sequence;
          segment.firstUs = Math.min(segment.firstUs, firstUs);
          segment.jsonBytes += jsonBytes;
        },
        [Symbol.dispose]() {
          filling = undefined;
          release(segment);
        },
      };
    },
    evict(committed) {
      const gone = segments.filter((each) => each !== filling && each.last <= committed);
      if (gone.length > 0 || committed !== evictedUpTo) retire(gone);
      evictedUpTo = committed;
    },
    clear() {
      retire(segments);
    },
    hold(after) {
      const held = segments.filter(({ last }) => last > after);
      for (const segment of held) segment.users += 1;
      return {
        ranges: held.map(({ table, incarnation, last, firstUs }) => ({
          ...{ table, incarnation, firstUs },
          after,
          upTo: last,
        })),
        release: () => held.forEach(release),
      };
    },
  };
}
