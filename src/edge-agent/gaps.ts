/**
 * Losses as `agent/gap` events: what was lost between two takings becomes one event per class. The agent takes once a
 * {@link GAP_INTERVAL_MS}, so that a flood of losses is no flood of events, and never silence.
 *
 * Invariant: what was added is in exactly one event; counts add up, and one unknown count makes the sum unknown.
 */
import { type AuditEvent, formatTime } from "../event/event.ts";

/** How often the agent asks for losses and tells them. */
export const GAP_INTERVAL_MS = 1000;
/** At most this many different reasons stand in one event. */
const REASONS_MAX = 8;

/** Events that are missing, and when they must have happened. */
export interface AgentGap {
  /** `ring_full`, `throttled`, `read_fault`, `overflow`, `absent`, `outage` … */
  readonly class: string;
  readonly source: string;
  /** Null when unknowable. */
  readonly count: number | null;
  readonly reason: string;
  /** First and last moment of the loss, µs since the Unix epoch. */
  readonly fromUs: number;
  readonly toUs: number;
}

export interface GapLedger {
  add(gap: AgentGap): void;
  /** Events of what was added since the last call, one per class. */
  take(nowUs: number): readonly AuditEvent[];
}

interface OpenGap {
  count: number | null;
  fromUs: number;
  toUs: number;
  readonly reasons: Set<string>;
  readonly sources: Set<string>;
}

export function createGapLedger(): GapLedger {
  const open = new Map<string, OpenGap>();
  return {
    add({ class: kind, source, count, reason, ...span }) {
      // The clock may have been set back in between.
      const fromUs = Math.min(span.fromUs, span.toUs);
      const toUs = Math.max(span.fromUs, span.toUs);
      const gap = open.get(kind);
      if (gap === undefined) {
        const [reasons, sources] = [new Set([reason]), new Set([source])];
        open.set(kind, { count, fromUs, toUs, reasons, sources });
        return;
      }
      gap.count = gap.count === null || count === null ? null : gap.count + count;
      gap.fromUs = Math.min(gap.fromUs, fromUs);
      gap.toUs = Math.max(gap.toUs, toUs);
      gap.sources.add(source);
      if (gap.reasons.size < REASONS_MAX) gap.reasons.add(reason);
    },
    take(nowUs) {
      const events = [...open].map(([kind, gap]) => gapEvent(kind, gap, nowUs));
      open.clear();
      return events;
    },
  };
}

function gapEvent(kind: string, gap: OpenGap, nowUs: number): AuditEvent {
  const reason = [...gap.reasons].join("; ");
  const count = gap.count === null ? "An unknown number of" : String(gap.count);
  return {
    timeUs: nowUs,
    topic: "agent/gap",
    severity: "high",
    message: `${count} events are missing: ${reason}.`,
    detail: {
      class: kind,
      count: gap.count,
      reason,
      from: formatTime(gap.fromUs),
      to: formatTime(gap.toUs),
      sources: [...gap.sources],
    },
  };
}
