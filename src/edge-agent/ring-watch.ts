/**
 * Notices when another process moves the position of a ring. The kernel lets whoever maps a pinned ring do that (a ring
 * cannot be frozen and mapped): moved on, the kernel overwrites what nobody read; moved back, or out of the ring, it has
 * no room and drops.
 *
 * Invariants: the position is the reader's own again after each look; whether records were overwritten is judged by what
 * the kernel has written, not by where the position is found.
 */
import type { RingBuffer } from "./ring-buffer.ts";
import type { SourceLoss } from "./source.ts";

/** What is told of it, by whether records were lost. */
export const MOVED: SourceLoss = {
  class: "tampered",
  count: 0,
  reason:
    "another process moved the position of the ring; nothing that was not read was overwritten",
};
export const OVERWRITTEN: SourceLoss = {
  class: "tampered",
  count: null,
  reason: "another process moved the position of the ring, and what was not read was overwritten",
};

export interface Tampering {
  /** Where the position should have been, and where it was. */
  readonly expected: number;
  readonly found: number;
  /** Whether everything that was not given back is still in the ring; else it begins anew at the kernel's position. */
  readonly isIntact: boolean;
}

export interface RingWatch {
  /** Where the position should be. */
  readonly position: number;
  /** Gives everything before `position` back to the kernel. */
  release(position: number): void;
  /** What another process did since the last look, made good; undefined when none did. */
  look(): Tampering | undefined;
}

type WatchedRing = Pick<
  RingBuffer,
  "sizeBytes" | "consumerPosition" | "producerPosition" | "release" | "restore"
>;

/** To be made before the first look at a ring; what it finds counts as right. */
export function createRingWatch(ring: WatchedRing): RingWatch {
  let own = ring.consumerPosition();
  return {
    get position() {
      return own;
    },
    release(position) {
      if (position <= own || position > ring.producerPosition()) return;
      // A position that another process moved is found by the next look, and is not hidden by ours.
      if (ring.consumerPosition() === own) ring.release(position);
      own = position;
    },
    look() {
      const found = ring.consumerPosition();
      const producer = ring.producerPosition();
      const isIntact = producer >= own && producer - own <= ring.sizeBytes;
      if (found === own && isIntact) return undefined;
      const expected = own;
      if (!isIntact) own = producer;
      ring.restore(own);
      return { expected, found, isIntact };
    },
  };
}
