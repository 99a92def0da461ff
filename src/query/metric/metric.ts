/**
 * A metric: how many events of a topic a range of time holds, with its first and last. What tallies answer is added up;
 * files that have none, or of which only a part lies in the range, are read together with the hot rows.
 *
 * Invariant: the answer is what a full count over the same view, by the same principal, gives.
 */
import type { SqlRow } from "../../storage/duckdb.ts";
import type { DataFile } from "../../storage/table.ts";
import { type Executor, type Scan, scanOf } from "../executor.ts";
import type { EventsRequest } from "../planner.ts";
import { planTotal } from "../planner/metric.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { takeCounted } from "./counted-kinds.ts";
import type { Tallies } from "./tallies.ts";

export interface Total {
  readonly rows: number;
  /** Times of the first and the last event, µs; undefined when there is none. */
  readonly firstUs: number | undefined;
  readonly lastUs: number | undefined;
}

export interface MetricAnswer {
  readonly total: Total;
  readonly scan: Scan;
  readonly prunedFiles: number;
  readonly missing: readonly string[];
}

/** Totals of single files, for one question that is asked again and again. */
export type TotalsKept = Map<string, Total>;

export interface MetricReader {
  readonly executor: Executor;
  readonly tallies: Tallies;
}

/** What a request for a metric is beside its range and conditions. */
export const WHOLE_RECORD = {
  order: "asc",
  limit: undefined,
  after: undefined,
  upper: undefined,
} as const;

/** The request's conditions are on `topic` and `host` alone. */
export async function readMetric(
  { executor, tallies }: MetricReader,
  request: EventsRequest,
  { view, principal, signal, kept }: {
    readonly view: ReadView;
    readonly principal: Principal;
    readonly signal: AbortSignal;
    /** Files are then read one by one, each once. */
    readonly kept?: TotalsKept;
  },
): Promise<MetricAnswer> {
  const { totals, unread } = addUp(tallies, request, { view, principal });
  const asker = { principal, signal };
  const scanned = new Set<DataFile>();
  const read = async (files: readonly DataFile[], hot: ReadView["hot"]): Promise<Total> => {
    if (files.length === 0 && hot.length === 0) return NOTHING;
    const { steps } = planTotal(request, principal, { ...view, files, hot });
    const results: Total[] = [];
    for (const step of steps) {
      for (const file of step.files) scanned.add(file);
      if (step.files.length === 0 && hot.length === 0) continue;
      results.push(...(await executor.rows(step, asker)).rows.map(totalOf));
    }
    return sumOf(results);
  };
  if (kept === undefined) {
    totals.push(await read(unread, view.hot));
  } else {
    const names = new Set(unread.map(({ path }) => path));
    for (const name of kept.keys()) if (!names.has(name)) kept.delete(name);
    for (const file of unread) {
      const total = kept.get(file.path) ?? await read([file], []);
      kept.set(file.path, total);
      totals.push(total);
    }
    totals.push(await read([], view.hot));
  }
  return {
    total: sumOf(totals),
    scan: scanOf(scanned),
    prunedFiles: view.files.length - scanned.size,
    missing: view.missing,
  };
}

const NOTHING: Total = { rows: 0, firstUs: undefined, lastUs: undefined };

/** What tallies say, and the files whose tallies cannot. */
function addUp(
  tallies: Tallies,
  request: EventsRequest,
  asked: { readonly view: ReadView; readonly principal: Principal },
): { readonly totals: Total[]; readonly unread: readonly DataFile[] } {
  let [sum, least, greatest] = [0, Infinity, -Infinity];
  const unread = takeCounted(tallies, request, {
    ...asked,
    take({ rows, firstUs, lastUs }, places) {
      for (const at of places) {
        sum += rows[at] ?? 0;
        least = Math.min(least, firstUs[at] ?? 0);
        greatest = Math.max(greatest, lastUs[at] ?? 0);
      }
    },
  });
  const total = sum === 0 ? NOTHING : { rows: sum, firstUs: least, lastUs: greatest };
  return { totals: [total], unread };
}

function totalOf({ rows, first, last }: SqlRow): Total {
  const count = Number(rows);
  return count === 0 ? NOTHING : { rows: count, firstUs: Number(first), lastUs: Number(last) };
}

function sumOf(totals: readonly Total[]): Total {
  return totals.reduce((sum, each) => ({
    rows: sum.rows + each.rows,
    firstUs: boundOf(Math.min, sum.firstUs, each.firstUs),
    lastUs: boundOf(Math.max, sum.lastUs, each.lastUs),
  }), NOTHING);
}

function boundOf(
  choose: (a: number, b: number) => number,
  a: number | undefined,
  b: number | undefined,
): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return choose(a, b);
}
