/**
 * Events that are lost before they are in a batch: counted by class, and told once each by an `agent/gap` event as soon
 * as one can be written.
 *
 * Invariant: every loss that was noted is told exactly once, with its count and the times between which it fell.
 */
import { type AuditEvent, formatTime } from "../event/event.ts";
import type { Break } from "./spool-index.ts";

export interface Loss {
  /** `line_too_large`, `spool_blocked`, … */
  readonly class: string;
  /** How many events; null when unknowable. */
  readonly count: number | null;
  /** One clause that goes on "… events are missing: ". */
  readonly reason: string;
  readonly timeUs: number;
  /** Where it was noticed later than it fell: since when it may have fallen. */
  readonly fromUs?: number;
}

export interface Losses {
  /** Events lost so far, where known. */
  readonly total: number;
  readonly isPending: boolean;
  note(loss: Loss): void;
  /** One event per class for what was noted since the last call. */
  take(nowUs: number): readonly AuditEvent[];
}

interface Sum {
  count: number | null;
  readonly reason: string;
  fromUs: number;
  toUs: number;
}

export function createLosses(): Losses {
  const sums = new Map<string, Sum>();
  let total = 0;
  return {
    get total() {
      return total;
    },
    get isPending() {
      return sums.size > 0;
    },
    note({ class: kind, count, reason, timeUs, fromUs: told = timeUs }) {
      total += count ?? 0;
      const sum = sums.get(kind);
      const fromUs = Math.min(told, timeUs);
      if (sum === undefined) {
        sums.set(kind, { count, reason, fromUs, toUs: timeUs });
        return;
      }
      sum.count = sum.count === null || count === null ? null : sum.count + count;
      sum.fromUs = Math.min(sum.fromUs, fromUs);
      sum.toUs = Math.max(sum.toUs, timeUs);
    },
    take(nowUs) {
      const events = [...sums].map(([kind, sum]) => gapEventOf(kind, sum, nowUs));
      sums.clear();
      return events;
    },
  };
}

/** What a damaged spool took away, as far as is known when that happened. */
export function lossOfBreak({ base, fromUs, toUs }: Break, nowUs: number): Loss {
  return {
    ...{ class: "spool", count: null },
    reason: `a spool file was damaged; batches up to the spool's ${base}th are missing`,
    timeUs: Math.min(toUs ?? nowUs, nowUs),
    ...(fromUs === undefined ? {} : { fromUs }),
  };
}

function gapEventOf(kind: string, { count, reason, fromUs, toUs }: Sum, nowUs: number): AuditEvent {
  return {
    timeUs: nowUs,
    topic: "agent/gap",
    severity: "high",
    message: `${count === null ? "An unknown number of" : count} events are missing: ${reason}.`,
    detail: { class: kind, count, reason, from: formatTime(fromUs), to: formatTime(toUs) },
  };
}
