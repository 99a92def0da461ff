/** A producer's counters as figures of its process. */
import type { Metrics } from "../runtime/metrics.ts";
import type { Producer, ProducerCounters } from "./producer.ts";

const FIGURES: readonly (readonly [keyof ProducerCounters, string, string])[] = [
  ["eventsAppended", "probity_producer_events_total", "Events added to batches."],
  ["eventsLost", "probity_producer_events_lost_total", "Events that never became part of a batch."],
  ["eventsVoided", "probity_producer_events_voided_total", "Events the spool could not keep."],
  ["batchesClosed", "probity_producer_batches_total", "Batches closed."],
  ["batchesPublished", "probity_producer_batches_published_total", "Batches the broker stored."],
  ["batchesResent", "probity_producer_batches_resent_total", "Batches published again."],
  ["batchesReleased", "probity_producer_batches_released_total", "Batches the archive covers."],
  ["spoolBytes", "probity_producer_spool_bytes", "Bytes of the spool's files."],
  ["spoolBatches", "probity_producer_spool_batches", "Batches in the spool."],
];

export function observeProducer(metrics: Metrics, producer: Pick<Producer, "counters">): void {
  for (const [counter, name, help] of FIGURES) {
    metrics.observed(name, { help }, () => producer.counters()[counter]);
  }
}
