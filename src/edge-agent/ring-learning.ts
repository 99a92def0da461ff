/**
 * Learning from the records of a ring before lines are made of them: what a family teaches others, and for how long.
 *
 * Invariant: each call gets on by a record at least. Names are learned for a moment only: whoever sends many answers of
 * the DNS must not keep the lines of all families waiting. What is left is learned before the next chunk; lines made
 * until then go without these names. Processes are learned whole, since lines without them would name the wrong ones.
 */
import type { KernelContext } from "./kernel-context.ts";
import type { RingCursor } from "./ring-buffer.ts";
import type { RingFamily } from "./sources/ring-family.ts";

/** How long names are learned before a chunk is made. */
const NAMES_LIMIT_MS = 20;

export type Learned = Pick<KernelContext["processes"], "follow">;

/** What is learned from a family's records; undefined when nothing is. */
export function learnedFrom(
  family: RingFamily["name"],
  context: Pick<KernelContext, "processes" | "peerNames">,
): Learned | undefined {
  switch (family) {
    case "process":
      return context.processes;
    case "flow":
      return context.peerNames;
    default:
      return undefined;
  }
}

/** When learning from a family that begins now is to stop, on the clock of `performance.now()`; infinity for never. */
export function learningEndMs(family: RingFamily["name"]): number {
  return family === "flow" ? performance.now() + NAMES_LIMIT_MS : Infinity;
}

export interface LearningOptions {
  /** The ring's producer position. */
  readonly limit: number;
  /** See {@link learningEndMs}. */
  readonly untilMs: number;
  /** Given a record's place in the ring's memory. */
  readonly learn: (offset: number, length: number) => void;
}

/** Learns from the records between a cursor and the limit, for as long as there is time. */
export function learnFrom(
  cursor: RingCursor,
  { limit, untilMs, learn }: LearningOptions,
): void {
  for (let offset = cursor.next(limit); offset >= 0; offset = cursor.next(limit)) {
    learn(offset, cursor.length);
    if (untilMs !== Infinity && performance.now() >= untilMs) return;
  }
}
