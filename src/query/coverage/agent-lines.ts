/**
 * The agents of one host as lines of succession: an agent that was begun anew under another name goes on where the last
 * one ended, and agents that are there at the same time stand beside each other. Pure.
 *
 * Invariant: no agent's signs are taken for those of another that was there at the same time, so that of two machines of
 * one name neither covers for the other.
 */
import type { Sign } from "./told.ts";

export interface AgentLine {
  /** By time; of agents that followed each other. */
  readonly signs: readonly Sign[];
  /** From here on nothing is expected of it, since another agent was begun; Infinity when it is. */
  readonly untilUs: number;
}

/** Signs of one host, by time. */
export function agentLines(signs: readonly Sign[]): readonly AgentLine[] {
  const lines: { signs: Sign[]; untilUs: number }[] = [];
  for (const [, [first, ...more]] of Map.groupBy(signs, ({ agent }) => agent)) {
    if (first === undefined) continue;
    const lastUs = (line: AgentLine): number => line.signs.at(-1)?.timeUs ?? Infinity;
    // Only who says that it begins takes the place of those that ended: who goes on was there before.
    const [before, ...others] = first.what !== "start" ? [] : lines
      .filter((line) => line.untilUs === Infinity && lastUs(line) < first.timeUs)
      .toSorted((a, b) => lastUs(b) - lastUs(a));
    for (const line of others) line.untilUs = first.timeUs;
    const last = before?.signs.at(-1);
    if (before === undefined || last === undefined) {
      lines.push({ signs: [first, ...more], untilUs: Infinity });
    } else {
      const ending = { timeUs: last.timeUs, isStop: last.what === "stop" };
      before.signs.push({ ...first, before: ending }, ...more);
    }
  }
  return lines;
}
