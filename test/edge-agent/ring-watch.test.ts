import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRingWatch } from "../../src/edge-agent/ring-watch.ts";

const SIZE = 4096;

/** A ring's two positions, as the kernel and anyone who maps it can move them. */
function createPositions() {
  let consumer = 0;
  let producer = 0;
  return {
    sizeBytes: SIZE,
    consumerPosition: () => consumer,
    producerPosition: () => producer,
    release: (position: number) => void (consumer = position),
    restore: (position: number) => void (consumer = position),
    /** As the kernel does: there is room up to one ring beyond the consumer position. */
    write(bytes: number) {
      const isRoom = producer + bytes - consumer <= SIZE && consumer <= producer + bytes;
      if (isRoom) producer += bytes;
      return isRoom;
    },
    move: (position: number) => void (consumer = position),
  };
}

describe("the watch over a ring's position", () => {
  it("finds nothing in what the reader itself does", () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(600))), (steps) => {
      const ring = createPositions();
      const watch = createRingWatch(ring);
      for (const [isWrite, bytes] of steps) {
        if (isWrite) ring.write(bytes * 8);
        else watch.release(ring.consumerPosition() + bytes * 8);
        expect(watch.look()).toBeUndefined();
      }
    }));
  });

  it.each([
    ["on, to the end", 800],
    ["on, beyond the end", 1 << 30],
    ["back", 8],
    ["to nowhere", -1],
  ])("tells a position that was moved %s, and puts it back", (_where, position) => {
    const ring = createPositions();
    const watch = createRingWatch(ring);
    ring.write(400);
    watch.release(400);
    ring.write(400);
    ring.move(position);
    expect(watch.look()).toEqual({ expected: 400, found: position, isIntact: true });
    expect(ring.consumerPosition()).toBe(400);
    expect(watch.look()).toBeUndefined();
  });

  it("tells what was overwritten, also when the position was put back meanwhile", () => {
    for (const isPutBack of [true, false]) {
      const ring = createPositions();
      const watch = createRingWatch(ring);
      ring.write(SIZE);
      ring.move(SIZE);
      expect(ring.write(800)).toBe(true);
      if (isPutBack) ring.move(0);
      expect(watch.look()).toMatchObject({ expected: 0, isIntact: false });
      // There is no telling where a record begins but at the kernel's own position.
      expect(ring.consumerPosition()).toBe(SIZE + 800);
      expect(watch.look()).toBeUndefined();
    }
  });

  it("does not hide a movement by a release of its own", () => {
    const ring = createPositions();
    const watch = createRingWatch(ring);
    ring.write(800);
    ring.move(160);
    watch.release(400);
    expect(watch.look()).toEqual({ expected: 400, found: 160, isIntact: true });
    expect(ring.consumerPosition()).toBe(400);
  });

  it("whatever is moved: the reader's position is never lost, and no loss goes unnoticed", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("write" as const), bytes: fc.nat(300) }),
      fc.record({ do: fc.constant("move" as const), bytes: fc.integer({ min: -400, max: 2000 }) }),
      fc.record({ do: fc.constant("release" as const), bytes: fc.nat(300) }),
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const ring = createPositions();
      const watch = createRingWatch(ring);
      let read = 0;
      for (const each of steps) {
        const bytes = each.bytes * 8;
        if (each.do === "write") ring.write(bytes);
        if (each.do === "move") ring.move(ring.consumerPosition() + bytes);
        if (each.do === "release") {
          const tampering = watch.look();
          const isOverwritten = ring.producerPosition() - read > SIZE;
          expect(tampering?.isIntact === false).toBe(isOverwritten);
          if (isOverwritten) read = ring.producerPosition();
          const next = Math.min(read + bytes, ring.producerPosition());
          watch.release(next);
          read = next;
          expect(ring.consumerPosition()).toBe(read);
        }
      }
    }));
  });
});
