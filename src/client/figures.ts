/**
 * Counts: by time, by values, and of a topic as a metric, once or as it changes.
 *
 * as: an object with the member that is asked for is taken for the answer; its members are what the service says
 */
import type { ColumnName } from "../event/columns.ts";
import { objectWith } from "./answer.ts";
import type { Condition, EventQuery } from "./record.ts";
import { isPassing } from "./reconnect.ts";
import {
  type AnswerFacts,
  type Connection,
  factsOf,
  jsonOf,
  request,
  type RequestOptions,
} from "./request.ts";
import type { ServerSentEvent } from "./sse.ts";
import { followStream, type TailOptions } from "./tail.ts";

/** Which events to count. */
export type RangeQuery = Omit<EventQuery, "order" | "limit">;

export interface HitsQuery extends RangeQuery {
  /** Length of a bucket, such as `5m`; the service's own choice without it. */
  readonly step?: string;
  /** Column whose values are counted apart. */
  readonly by?: ColumnName;
  /** Values counted apart; the others are counted together. */
  readonly limit?: number;
}

export interface Hits extends AnswerFacts {
  readonly from: string;
  readonly to: string;
  readonly step_seconds: number;
  readonly by?: string;
  readonly total: number;
  /** Begins of the buckets. */
  readonly times: readonly string[];
  readonly series: readonly {
    /** Null: events without the column. Absent when nothing is counted apart, and of the others. */
    readonly value?: string | null;
    readonly others?: true;
    readonly total: number;
    /** One for each bucket. */
    readonly counts: readonly number[];
  }[];
}

export interface FacetsQuery extends RangeQuery {
  /** The service's own choice without any. */
  readonly by?: readonly ColumnName[];
  /** Values of each column. */
  readonly limit?: number;
}

export interface Facet {
  readonly column: string;
  /** Values that there are. */
  readonly distinct: number;
  /** Events that have the column. */
  readonly present: number;
  /** The most frequent first. */
  readonly values: readonly { readonly value: string; readonly count: number }[];
}

export interface MetricQuery {
  /** Inclusive; 24 hours before `to` unless given. */
  readonly from?: string;
  /** Exclusive; now unless given. */
  readonly to?: string;
  /** As in a search. */
  readonly host?: Condition;
}

/** Averages are over the whole range. */
export interface Metric {
  readonly topic: string;
  readonly from: string;
  readonly to: string;
  readonly total: number;
  readonly rate_per_second: number;
  readonly average_per_minute: number;
  readonly average_per_hour: number;
  readonly average_per_day: number;
  /** Of the events counted; null when there are none. */
  readonly first: string | null;
  readonly last: string | null;
}

/** `complete`: whether all of the log was seen. */
export interface MetricState extends Metric {
  readonly complete: boolean;
}

export type MetricItem =
  /** The present state, whole. */
  | { readonly kind: "metric"; readonly metric: MetricState }
  | { readonly kind: "reconnecting"; readonly reason: string; readonly delayMs: number };

export interface FigureClient {
  /** Counts of events by time. */
  hits(query?: HitsQuery, options?: RequestOptions): Promise<Hits>;
  /** The most frequent values of columns. */
  facets(
    query?: FacetsQuery,
    options?: RequestOptions,
  ): Promise<{ readonly facets: readonly Facet[] } & AnswerFacts>;
  /** How many events of a topic there are; `*` for all. */
  metric(
    topic: string,
    query?: MetricQuery,
    options?: RequestOptions,
  ): Promise<Metric & AnswerFacts>;
  /**
   * The same from a time on: the present state at once, then whenever it changes, until the signal is aborted. Opened
   * again after an outage; a state says everything, so nothing is missed by that.
   */
  metricTail(
    topic: string,
    query?: Omit<MetricQuery, "to">,
    options?: Omit<TailOptions, "after">,
  ): AsyncIterable<MetricItem>;
}

export function createFigures(connection: Connection): FigureClient {
  return {
    async hits(query, options) {
      const response = await request(connection, "v1/hits", {
        ...options,
        parameters: { ...query },
      });
      const value = objectWith("series", await jsonOf(response)) as unknown as Hits;
      return { ...factsOf(response), ...value };
    },
    async facets({ by, ...query } = {}, options) {
      const response = await request(connection, "v1/facets", {
        ...options,
        parameters: { ...query, by: by?.join(",") },
      });
      const { facets } = objectWith("facets", await jsonOf(response));
      return { ...factsOf(response), facets: facets as readonly Facet[] };
    },
    async metric(topic, query, options) {
      const response = await request(connection, pathOf(topic), {
        ...options,
        parameters: { ...query },
      });
      const value = objectWith("total", await jsonOf(response)) as unknown as Metric;
      return { ...factsOf(response), ...value };
    },
    async *metricTail(topic, query = {}, options = {}) {
      const stream = {
        path: `${pathOf(topic)}/tail`,
        since: undefined,
        parametersOf: () => ({ ...query }),
        isPassing,
        itemOf: metricItem,
      };
      for await (const item of followStream(connection, stream, options)) {
        // States say themselves whether all was seen.
        if (item.kind !== "incomplete") yield item;
      }
    },
  };
}

function metricItem({ event, data }: ServerSentEvent): MetricItem | undefined {
  if (event !== "metric") return undefined;
  const metric = objectWith("total", JSON.parse(data)) as unknown as MetricState;
  return { kind: "metric", metric };
}

/** A topic's slashes are the path's. */
function pathOf(topic: string): string {
  return `v1/metrics/${topic.split("/").map(encodeURIComponent).join("/")}`;
}
