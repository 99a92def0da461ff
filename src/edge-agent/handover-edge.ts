/**
 * Events that both sets of programs told when one took over from the other: each looks at the clock for itself, and an
 * event may lie before the instant for the old programs, which run first, and after it for the new ones.
 *
 * Invariant: only a record that is equal to one of the old ring, but for its place and time, and within {@link EDGE_NS} of
 * it, is passed over, and for each record of the old ring at most one.
 */
import type { LocatedRecord } from "./line-decoder.ts";
import { HEADER } from "./record-layout.ts";

/** Longest time between the two looks at the clock: one program's run, and interrupts meanwhile. */
export const EDGE_NS = 200_000;
/** Records remembered of one handover. */
const RECORDS_MAX = 4096;

export interface HandoverEdge {
  /** Notes a record of the old ring that is told. */
  note(record: LocatedRecord, timeNs: number): void;
  /** Whether the old ring had the same event. */
  takes(record: LocatedRecord, timeNs: number): boolean;
}

export function createHandoverEdge(): HandoverEdge {
  const told = new Map<string, number>();
  return {
    note(record, timeNs) {
      if (told.size < RECORDS_MAX) told.set(contentOf(record), timeNs);
    },
    takes(record, timeNs) {
      const content = contentOf(record);
      const toldNs = told.get(content);
      if (toldNs === undefined || timeNs - toldNs > EDGE_NS) return false;
      return told.delete(content);
    },
  };
}

/** Bytes of a record but for its sequence, time and CPU. */
function contentOf({ memory, offset, length }: LocatedRecord): string {
  const { bytes } = memory;
  return bytes.toString("latin1", offset, offset + HEADER.sequence) +
    bytes.toString("latin1", offset + HEADER.tid, offset + length);
}
