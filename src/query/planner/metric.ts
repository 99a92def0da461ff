/** Plans of metrics: what a data file holds of each kind of event, and what of a question no tally answers. */
import type { DataFile } from "../../storage/table.ts";
import type { EventsRequest, Plan, Step } from "../planner.ts";
import { planSlices, WHOLE } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { createBinder } from "./binder.ts";
import { scopePredicates } from "./predicate.ts";
import { sourceOf } from "./rows.ts";

/**
 * Rows with `topic`, `topics` (JSON or null), `host`, `rows`, `first` and `last` (µs), at most so many. For the
 * service's own bookkeeping: the principal is whoever may see all of it.
 */
export function planTally(file: DataFile, principal: Principal, kindsMax: number): Step {
  const binder = createBinder();
  const predicates = scopePredicates(principal.scopes, binder);
  const source = sourceOf({ hasFiles: true, hot: [], detail: "text", predicates }, binder);
  const sql = `SELECT topic, to_json(topics)::VARCHAR AS topics, host, ${COUNTS} ` +
    `FROM (\n${source}\n) GROUP BY topic, topics, host LIMIT ${binder.integer(kindsMax)}`;
  return { files: [file], statement: { sql, parameters: binder.parameters } };
}

/** One row with `rows`, `first` and `last` (µs; null when there is none) over a view's files and hot rows. */
export function planTotal(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  const slicing = { ...WHOLE, order: request.order };
  return planSlices(
    request,
    principal,
    { view, range: request, slicing },
    ({ source }) => `SELECT ${COUNTS} FROM (\n${source([])}\n)`,
  );
}

const COUNTS = `count(*) AS rows, epoch_us(min("time")) AS first, epoch_us(max("time")) AS last`;
