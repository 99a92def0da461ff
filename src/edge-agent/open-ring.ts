/**
 * A ring of a family as its reader holds it: opened at the place that is durable, with its books.
 */
import type { RingPosition } from "../producer/producer.ts";
import type { KernelContext } from "./kernel-context.ts";
import { createLossLedger, type LossLedger } from "./losses.ts";
import type { PinnedPrograms } from "./pinned-programs.ts";
import type { RingBuffer, RingCursor } from "./ring-buffer.ts";
import { createRingWatch, type RingWatch } from "./ring-watch.ts";

/** A ring and the places up to which it was read and learned from. */
export interface OpenRing {
  readonly programs: PinnedPrograms;
  /** Identity of the ring in positions: first 8 characters of the boot id, and the map's id. */
  readonly id: string;
  readonly cursor: RingCursor;
  readonly learning: RingCursor;
  readonly ledger: LossLedger;
  readonly watch: RingWatch;
  /** Boot time from which the next ring has the events, ns; infinity for the last. */
  readonly untilNs: number;
  /** Boot time from which its programs take events, ns; 0 when none were before them. */
  readonly fromNs: number;
  /** Whether it was released beyond what this reader had made durable. */
  readonly isReadByOthers: boolean;
}

export function openRing(
  context: KernelContext,
  programs: PinnedPrograms,
  { family, position, untilNs }: {
    readonly family: string;
    readonly position: RingPosition | undefined;
    readonly untilNs: number;
  },
): OpenRing {
  const { ring } = programs;
  const id = `${context.ids.boot}-${programs.mapId}`;
  const ours = position?.ring === id ? position : undefined;
  const released = ring.consumerPosition();
  const isReadByOthers = ours !== undefined && released > ours.position;
  // Nothing is released here: a position that was taken need not be durable yet.
  const from = ours !== undefined && isPlaceIn(ring, ours.position) ? ours.position : released;
  return {
    isReadByOthers,
    programs,
    id,
    cursor: ring.cursorAt(from),
    learning: ring.cursorAt(from),
    ledger: createLossLedger({
      programs,
      family,
      bootClock: context.bootClock,
      known: ours?.lost,
    }),
    untilNs,
    fromNs: Number(programs.settings().fromNs),
    watch: createRingWatch(ring),
  };
}

/** Whether a position can be one of a record that is still there; records begin at multiples of 8. */
function isPlaceIn(ring: RingBuffer, position: number): boolean {
  return position % 8 === 0 && position >= ring.consumerPosition() &&
    position <= ring.producerPosition();
}

export function positionOf({ id, cursor, ledger }: OpenRing): RingPosition {
  const lost = ledger.reported();
  return { ring: id, position: cursor.position, ...(lost === undefined ? {} : { lost }) };
}
