/**
 * Whether the sums close: at each heartbeat the agent compares, per source, class and CPU, what the programs met with what
 * they say became of it. An event that is in neither column is a loss that nobody counted, and is told as one.
 *
 * Invariant: what is missing is told once; only what is missing beyond that is told again.
 */
import type { AgentReport } from "./agent-events.ts";
import { accountedOf, IN_FLIGHT_MAX } from "./class-counters.ts";
import type { AgentGap } from "./gaps.ts";

export interface LedgerCheck {
  /** What has come to be missing since the last call. */
  gaps(report: Pick<AgentReport, "sources">, nowUs: number): readonly AgentGap[];
}

export function createLedgerCheck(): LedgerCheck {
  const told = new Map<string, number>();
  let askedUs: number | undefined;
  return {
    gaps({ sources }, nowUs) {
      const fromUs = askedUs ?? nowUs;
      askedUs = nowUs;
      return sources.flatMap(({ name, counters: { parts = [] } }) =>
        parts.flatMap((part): AgentGap[] => {
          const key = `${name} ${part.kind} ${part.cpu}`;
          const missing = Math.abs(part.attempted - accountedOf(part));
          const before = told.get(key) ?? 0;
          // Some are being decided right now.
          if (missing <= before + IN_FLIGHT_MAX) return [];
          told.set(key, missing);
          const count = missing - before;
          return [{
            class: "ledger",
            source: name,
            count,
            reason: "the counters of the kernel's programs do not add up",
            fromUs,
            toUs: nowUs,
            classes: { [part.kind]: count },
            cpus: [{ cpu: part.cpu, count }],
          }];
        })
      );
    },
  };
}
