/** Figures of the query service, read from its parts whenever somebody asks for them. */
import process from "node:process";
import type { CounterMetric, Metrics } from "../runtime/metrics.ts";
import type { Connection } from "../storage/duckdb.ts";
import type { Activity } from "./activity.ts";
import type { DataFiles } from "./data-files.ts";
import type { HotTable } from "./hot/table.ts";
import type { Tallies } from "./metric/tallies.ts";
import type { Subscriptions } from "./subscriptions/subscriptions.ts";
import type { TableWatch } from "./table-watch.ts";
import type { LiveClients } from "./tail/live-clients.ts";

export interface QueryParts {
  readonly hotTable: HotTable;
  /** Clients that follow the record, and answers that are being streamed. */
  readonly clients: LiveClients;
  readonly streams: Activity;
  readonly subscriptions: Subscriptions;
  readonly files: DataFiles;
  readonly tallies: Tallies;
  readonly watch: TableWatch;
  /** For questions about the database itself. */
  readonly connection: Connection;
}

/** Makes the figures of the service's parts readable. */
export function observeQuery(
  metrics: Metrics,
  { hotTable, clients, streams, subscriptions, files, tallies, watch, connection }: QueryParts,
): void {
  const ofDatabase = async (column: string): Promise<number> => {
    const { rows } = await connection.query(`SELECT sum(${column}) AS bytes FROM duckdb_memory()`);
    return Number(rows[0]?.["bytes"] ?? 0);
  };
  const gauges: readonly [string, string, () => number | Promise<number>][] = [
    [
      "probity_duckdb_memory_bytes",
      "Memory that DuckDB manages, that of people's SQL apart.",
      () => ofDatabase("memory_usage_bytes"),
    ],
    [
      "probity_duckdb_spill_bytes",
      "What queries have put on disk for want of memory.",
      () => ofDatabase("temporary_storage_bytes"),
    ],
    [
      "probity_hot_missing_parts",
      "Parts of the log that cannot be searched yet.",
      () => hotTable.missing().length,
    ],
    [
      "probity_table_checked_timestamp_seconds",
      "When the bucket last told the newest table version; 0 for never.",
      () => (watch.checkedUs ?? 0) / 1_000_000,
    ],
    ["probity_tallied_files", "Data files whose events are counted.", () => tallies.book.size],
    ["probity_tally_counts", "Counts held of them.", () => tallies.book.counts],
    ["probity_cache_hits_total", "Data files found in the cache.", () => files.figures.hits],
    ["probity_cache_misses_total", "Data files not found there.", () => files.figures.misses],
    ["process_resident_memory_bytes", "Memory of the process.", () => process.memoryUsage.rss()],
    [
      "process_cpu_seconds_total",
      "Processor time of the process.",
      () => {
        const { user, system } = process.cpuUsage();
        return (user + system) / 1_000_000;
      },
    ],
    ["probity_hot_json_bytes", "JSON held in the hot table.", () => hotTable.figures().jsonBytes],
    [
      "probity_hot_messages_total",
      "Messages loaded into the hot table.",
      () => hotTable.figures().loadedMessages,
    ],
    [
      "probity_hot_unreadable_messages_total",
      "Messages loaded as a gap because they could not be read.",
      () => hotTable.figures().unreadableMessages,
    ],
    ["probity_table_version", "Table version in use.", () => hotTable.version],
    ["probity_tail_clients", "Clients that follow the record.", () => clients.count],
    ["probity_event_streams", "Answers that are being streamed.", () => streams.count],
    [
      "probity_subscription_readers",
      "Readers of subscriptions.",
      () => subscriptions.figures.readers,
    ],
    [
      "probity_subscription_events_total",
      "Events handed out to readers of subscriptions.",
      () => subscriptions.figures.delivered,
    ],
    ["probity_cache_bytes", "Copies of data files.", () => files.cachedBytes],
  ];
  for (const [name, help, value] of gauges) metrics.observed(name, { help }, value);
}

/** What slow clients of the tail were not sent. */
export interface LeftOut {
  readonly gaps: CounterMetric;
  readonly events: CounterMetric;
}

export function leftOutCounters(metrics: Metrics): LeftOut {
  return {
    gaps: metrics.counter("probity_tail_gaps_total", { help: "Gaps told to slow clients." }),
    events: metrics.counter("probity_tail_left_out_events_total", {
      help: "Events that slow clients were not sent.",
    }),
  };
}
