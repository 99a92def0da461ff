/**
 * Losses as `agent/gap` events: what was lost between two takings becomes one event per class. The agent takes once a
 * {@link GAP_INTERVAL_MS}, so that a flood of losses is no flood of events, and never silence.
 *
 * Invariant: what was added is in exactly one event; counts add up, and one unknown count makes the sum unknown.
 */
import { type AuditEvent, formatTime } from "../event/event.ts";
import type { LostOnCpu } from "./source.ts";

/** How often the agent asks for losses and tells them. */
export const GAP_INTERVAL_MS = 1000;
/** At most this many different reasons stand in one event. */
const REASONS_MAX = 8;
/** CPUs named in one event, those that lost most; the others are one sum. */
export const CPUS_MAX = 64;

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
  /** Of the count, as far as it is known: by class of event, and by CPU. */
  readonly classes?: Readonly<Record<string, number>>;
  readonly cpus?: readonly LostOnCpu[];
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
  readonly classes: Map<string, number>;
  readonly cpus: Map<number, number>;
}

export function createGapLedger(): GapLedger {
  const open = new Map<string, OpenGap>();
  return {
    add({ class: kind, source, count, reason, classes = {}, cpus = [], ...span }) {
      // The clock may have been set back in between.
      const fromUs = Math.min(span.fromUs, span.toUs);
      const toUs = Math.max(span.fromUs, span.toUs);
      const gap = open.get(kind) ?? emptyGap();
      open.set(kind, gap);
      gap.count = gap.count === null || count === null ? null : gap.count + count;
      gap.fromUs = Math.min(gap.fromUs, fromUs);
      gap.toUs = Math.max(gap.toUs, toUs);
      gap.sources.add(source);
      if (gap.reasons.size < REASONS_MAX) gap.reasons.add(reason);
      for (const [name, lost] of Object.entries(classes)) addTo(gap.classes, name, lost);
      for (const { cpu, count: lost } of cpus) addTo(gap.cpus, cpu, lost);
    },
    take(nowUs) {
      const events = [...open].map(([kind, gap]) => gapEvent(kind, gap, nowUs));
      open.clear();
      return events;
    },
  };
}

function emptyGap(): OpenGap {
  return {
    count: 0,
    fromUs: Infinity,
    toUs: -Infinity,
    reasons: new Set(),
    sources: new Set(),
    classes: new Map(),
    cpus: new Map(),
  };
}

function addTo<K>(sums: Map<K, number>, key: K, count: number): void {
  sums.set(key, (sums.get(key) ?? 0) + count);
}

/** The CPUs that lost most, by number; what the others lost is one sum without a number. */
function cpusOf(cpus: ReadonlyMap<number, number>): readonly Readonly<Record<string, number>>[] {
  const most = [...cpus].toSorted(([, left], [, right]) => right - left);
  const others = most.slice(CPUS_MAX).reduce((sum, [, count]) => sum + count, 0);
  return [
    ...most.slice(0, CPUS_MAX).toSorted(([left], [right]) => left - right)
      .map(([cpu, count]) => ({ cpu, count })),
    ...(others === 0 ? [] : [{ count: others }]),
  ];
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
      ...(gap.classes.size === 0 ? {} : { classes: Object.fromEntries(gap.classes) }),
      ...(gap.cpus.size === 0 ? {} : { cpus: cpusOf(gap.cpus) }),
    },
  };
}
