/**
 * Gap rows: loss that acceptance reveals, as events at the sequence of the message that revealed it. They are computed
 * from the message alone, so that every reader of the stream makes the same ones.
 */
import type { Gap } from "./acceptance.ts";
import { type AuditEvent, formatTime, lineFields } from "./event.ts";

/**
 * The event a gap becomes. Its time is the broker's, at which the loss was known; the times of what is missing are those
 * its sender gave, and may lie long before.
 */
export function gapEvent(gap: Gap, loggedAtUs: number): AuditEvent {
  const { class: kind, count, reason, agent, epoch, batches, times } = gap;
  return {
    timeUs: loggedAtUs,
    topic: "agent/gap",
    severity: "high",
    message: `${count === null ? "An unknown number of" : count} events are missing: ${reason}.`,
    detail: {
      class: kind,
      count,
      reason,
      ...(agent === undefined ? {} : { agent }),
      ...(epoch === undefined ? {} : { epoch }),
      ...(batches === undefined ? {} : { batches }),
      ...(times === undefined ? {} : { from: formatTime(times[0]), to: formatTime(times[1]) }),
    },
  };
}

/** NDJSON of a message's gap rows; their `idx` follows the message's own rows. */
export function gapLines(gaps: readonly Gap[], loggedAtUs: number, firstIdx: number): string {
  return gaps
    .map((gap, place) => `{"idx":${firstIdx + place},${lineFields(gapEvent(gap, loggedAtUs))}\n`)
    .join("");
}
