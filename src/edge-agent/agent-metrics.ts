/**
 * The figures of an agent's sources for Prometheus, read from their counters at every scrape; the producer adds its own.
 */
import type { Metrics } from "../runtime/metrics.ts";
import type { CanaryOutcome } from "./canary.ts";
import type { AgentReport } from "./agent-events.ts";
import type { CounterPart, SourceCounters } from "./source.ts";

export interface AgentMetrics {
  /** Brings every figure up to date, then formats them. */
  text(report: Pick<AgentReport, "sources">): Promise<string>;
  gap(kind: string): void;
  canary(outcome: CanaryOutcome): void;
  readonly contentType: string;
}

const CLASS_OUTCOMES: readonly (readonly [Exclude<keyof CounterPart, "kind" | "cpu">, string])[] = [
  ["submitted", "submitted"],
  ["ringFull", "ring_full"],
  ["filtered", "filtered"],
  ["throttled", "throttled"],
  ["readFault", "read_fault"],
  ["recursion", "recursion"],
];

const OUTCOMES: readonly (readonly [Exclude<keyof SourceCounters, "parts">, string])[] = [
  ...CLASS_OUTCOMES,
  ["unreadable", "unreadable"],
];

export function createAgentMetrics(metrics: Metrics): AgentMetrics {
  const events = followed(metrics, "probity_agent_source_events_total", {
    help: "Events a source met, by what became of them, since the agent started.",
    labels: ["source", "outcome"],
  });
  const classes = followed(metrics, "probity_agent_class_events_total", {
    help:
      "Events of one class that a source met, by what became of them, since its programs began.",
    labels: ["source", "class", "outcome"],
  });
  const on = metrics.gauge("probity_agent_source_on", {
    help: "Whether a source is on (1) or off (0).",
    labels: ["source"],
  });
  const blind = metrics.gauge("probity_agent_source_blind", {
    help: "Whether the source's last canary did not come back (1) or did (0).",
    labels: ["source"],
  });
  const canaries = metrics.counter("probity_agent_canaries_total", {
    help: "Canaries of sources, by what became of them.",
    labels: ["outcome"],
  });
  const gaps = metrics.counter("probity_agent_gaps_total", {
    help: "Gap events told, by class of loss.",
    labels: ["class"],
  });
  return {
    text({ sources }) {
      for (const { name, status, isBlind, counters } of sources) {
        blind.set(isBlind === true ? 1 : 0, { source: name });
        on.set(status.state === "on" ? 1 : 0, { source: name });
        for (const [key, outcome] of OUTCOMES) {
          events.set(counters[key] ?? 0, { source: name, outcome });
        }
        for (const [kind, parts] of Map.groupBy(counters.parts ?? [], (part) => part.kind)) {
          for (const [key, outcome] of CLASS_OUTCOMES) {
            const total = parts.reduce((sum, part) => sum + (part[key] ?? 0), 0);
            classes.set(total, { source: name, class: kind, outcome });
          }
        }
      }
      return metrics.text();
    },
    canary: (outcome) => canaries.add(1, { outcome }),
    gap: (kind) => gaps.add(1, { class: kind }),
    contentType: metrics.contentType,
  };
}

/** A counter that takes totals kept elsewhere; a total that went back starts anew. */
function followed(
  metrics: Metrics,
  name: string,
  options: { readonly help: string; readonly labels?: readonly string[] },
): { set(total: number, labels: Readonly<Record<string, string>>): void } {
  const counter = metrics.counter(name, options);
  const totals = new Map<string, number>();
  return {
    set(total, labels) {
      const key = JSON.stringify(labels);
      const last = totals.get(key) ?? 0;
      counter.add(total >= last ? total - last : total, labels);
      totals.set(key, total);
    },
  };
}
