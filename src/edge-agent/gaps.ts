/**
 * Losses as `agent/gap` events: a flood of losses becomes at most one event per class and second, never silence.
 *
 * Invariant: what was added is in exactly one event; counts add up, and one unknown count makes the sum unknown.
 */
import { type AuditEvent, formatTime } from "../event/event.ts";

/** Gaps of one class are told together, this long at most after the first. */
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
  /** Events of what is due: of each class that told nothing for {@link GAP_INTERVAL_MS}. */
  due(nowUs: number): readonly AuditEvent[];
  /** Events of all that was added and not told. */
  rest(nowUs: number): readonly AuditEvent[];
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
  const toldUs = new Map<string, number>();
  const take = (nowUs: number, isDue: (kind: string) => boolean): readonly AuditEvent[] => {
    const events: AuditEvent[] = [];
    for (const [kind, gap] of open) {
      if (!isDue(kind)) continue;
      open.delete(kind);
      toldUs.set(kind, nowUs);
      events.push(gapEvent(kind, gap, nowUs));
    }
    return events;
  };
  return {
    add({ class: kind, source, count, reason, fromUs, toUs }) {
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
    due: (nowUs) =>
      take(nowUs, (kind) => nowUs - (toldUs.get(kind) ?? -Infinity) >= GAP_INTERVAL_MS * 1000),
    rest: (nowUs) => take(nowUs, () => true),
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
