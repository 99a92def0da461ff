/** Figures of the query service, read from its parts whenever somebody asks for them. */
import type { Metrics } from "../runtime/metrics.ts";
import type { Activity } from "./activity.ts";
import type { HotTable } from "./hot/table.ts";
import type { Subscriptions } from "./subscriptions/subscriptions.ts";

export interface QueryParts {
  readonly hotTable: HotTable;
  /** Clients that follow the record, and answers that are being streamed. */
  readonly tails: Activity;
  readonly streams: Activity;
  readonly subscriptions: Subscriptions;
  readonly cachedBytes: () => number;
}

/** Makes the figures of the service's parts readable. */
export function observeQuery(
  metrics: Metrics,
  { hotTable, tails, streams, subscriptions, cachedBytes }: QueryParts,
): void {
  const gauges: readonly [string, string, () => number][] = [
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
    ["probity_tail_clients", "Clients that follow the record.", () => tails.count],
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
    ["probity_cache_bytes", "Copies of data files.", cachedBytes],
  ];
  for (const [name, help, value] of gauges) metrics.observed(name, { help }, value);
}
