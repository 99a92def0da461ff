/**
 * Plans of figures: counts of the events that match, by topic, by host, by time and by the values of columns. One
 * statement over everything the range needs, since what is counted needs no order.
 */
import { identifierOf } from "../../storage/sql-text.ts";
import { type EventsRequest, type Plan, planWhole } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";

/** Rows with `topic` and `rows`, one for each topic that occurs. */
export function planTopics(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  return planWhole(
    request,
    { principal, view },
    ({ source }) =>
      `SELECT topic, count(*) AS rows FROM (\n${source([])}\n) GROUP BY topic ORDER BY topic`,
  );
}

/** Rows with `host`, `last_seen`, `rows` and `gaps`. */
export function planHosts(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const gaps = `count(*) FILTER (topic = ${binder.text("agent/gap")}) AS gaps`;
    return `SELECT host, max("time") AS last_seen, count(*) AS rows, ${gaps} FROM (\n${
      source([])
    }\n) GROUP BY host ORDER BY host`;
  });
}

export interface HitsRequest extends EventsRequest {
  /** Length of a bucket, µs; buckets begin at multiples of it since the Unix epoch. */
  readonly stepUs: number;
  /** Column whose values are counted apart; undefined for one series of all. */
  readonly by: string | undefined;
  /** The most frequent values that are counted apart; the others are counted together. */
  readonly seriesMax: number;
}

/**
 * Rows with `bucket` (the bucket's begin, µs since the Unix epoch), `value` (text; null where the column is absent),
 * `is_other` (what stands for the values beyond the most frequent ones) and `rows`.
 */
export function planHits(request: HitsRequest, principal: Principal, view: ReadView): Plan {
  const { stepUs, by, seriesMax } = request;
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const bucket = `epoch_us("time") // ${binder.integer(stepUs)}`;
    const value = by === undefined ? "NULL::VARCHAR" : `${identifierOf(by)}::VARCHAR`;
    const counts = `SELECT ${bucket} AS bucket, ${value} AS value, count(*) AS rows FROM (\n${
      source([])
    }\n) GROUP BY ALL`;
    const ranks = `SELECT value, row_number() OVER (ORDER BY sum(rows) DESC, value) > ${
      binder.integer(seriesMax)
    } AS is_other FROM counts GROUP BY value`;
    return `WITH counts AS MATERIALIZED (${counts}), ranks AS (${ranks})
SELECT bucket * ${
      binder.integer(stepUs)
    } AS bucket, CASE WHEN NOT is_other THEN counts.value END AS value, is_other,
  sum(rows)::BIGINT AS rows
FROM counts JOIN ranks ON counts.value IS NOT DISTINCT FROM ranks.value GROUP BY ALL`;
  });
}

export interface FacetsRequest extends EventsRequest {
  readonly columns: readonly string[];
  /** The most frequent values of each column that are given. */
  readonly valuesMax: number;
}

/**
 * Rows with `place` (of the column in the request), `value` (text), `rows`, and of the whole column `distinct` and
 * `present` (events that have it), most frequent values first. A column that no event has gives no row.
 */
export function planFacets(request: FacetsRequest, principal: Principal, view: ReadView): Plan {
  const { columns, valuesMax } = request;
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const names = columns.map(identifierOf);
    // All columns are counted in one pass over the events.
    const sets = names.map((name) => `(${name})`).join(", ");
    const place = names.length === 1
      ? "0"
      : `CASE ${names.map((name, at) => `WHEN grouping(${name}) = 0 THEN ${at}`).join(" ")} END`;
    const value = `coalesce(${names.map((name) => `${name}::VARCHAR`).join(", ")})`;
    const counts = `SELECT ${place} AS place, ${value} AS value, count(*) AS rows FROM (\n${
      source([])
    }\n) GROUP BY GROUPING SETS (${sets})`;
    return `SELECT place, value, rows, count(*) OVER column_rows AS distinct_values,
  (sum(rows) OVER column_rows)::BIGINT AS present
FROM (${counts}) WHERE value IS NOT NULL WINDOW column_rows AS (PARTITION BY place)
QUALIFY row_number() OVER (PARTITION BY place ORDER BY rows DESC, value) <= ${
      binder.integer(valuesMax)
    } ORDER BY place, rows DESC, value`;
  });
}
