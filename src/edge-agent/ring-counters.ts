/** What a ring's programs count, and what the kernel counts of them; sums over rings that followed each other. */
import { addClassCounters, type ClassCounters } from "./class-counters.ts";
import type { PinnedPrograms } from "./pinned-programs.ts";

export interface Counted {
  readonly parts: readonly ClassCounters[];
  readonly recursionMisses: number;
}

export function countedOf(programs: PinnedPrograms): Counted {
  return { parts: programs.counters(), recursionMisses: programs.recursionMisses() };
}

export function addCounted(left: Counted, right: Counted): Counted {
  return {
    parts: addClassCounters(left.parts, right.parts),
    recursionMisses: left.recursionMisses + right.recursionMisses,
  };
}
