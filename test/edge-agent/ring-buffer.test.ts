import { expect, it } from "vitest";
import process from "node:process";
import { recordMemory, RingCursor } from "../../src/edge-agent/ring-buffer.ts";
import { learnFrom, learningEndMs } from "../../src/edge-agent/ring-learning.ts";
import { createFlowDecoder } from "../../src/edge-agent/sources/network/flow-lines.ts";
import { createTestContext } from "../support/decoders.ts";
import { costlyAnswer } from "../support/dns.ts";
import { dnsRecord } from "../support/records.ts";

const BUSY = 0x8000_0000;
const DISCARDED = 0x4000_0000;
const SIZE = 128;

/** A ring as the kernel maps it: its data twice in a row. */
function createRing() {
  const buffer = new ArrayBuffer(2 * SIZE);
  const words = new Uint32Array(buffer);
  const write = (position: number, header: number): void => {
    const at = position % SIZE;
    words[at >> 2] = header;
    words[(at + SIZE) >> 2] = header;
  };
  return {
    write,
    cursorAt: (position: number) =>
      new RingCursor(recordMemory(buffer, 0), { sizeBytes: SIZE, position }),
  };
}

it("walks records up to the limit, each at a multiple of eight", () => {
  const ring = createRing();
  ring.write(0, 5);
  ring.write(16, 16);
  const cursor = ring.cursorAt(0);
  expect([cursor.next(40), cursor.length, cursor.position]).toEqual([8, 5, 16]);
  expect([cursor.next(40), cursor.length, cursor.position]).toEqual([24, 16, 40]);
  expect([cursor.next(40), cursor.position]).toEqual([-1, 40]);
});

it("stops before a record that is being written, and reads it when it is done", () => {
  const ring = createRing();
  ring.write(0, (BUSY | 8) >>> 0);
  const cursor = ring.cursorAt(0);
  expect([cursor.next(16), cursor.position]).toEqual([-1, 0]);
  ring.write(0, 8);
  expect([cursor.next(16), cursor.position]).toEqual([8, 16]);
});

it("passes over discarded records", () => {
  const ring = createRing();
  ring.write(0, DISCARDED | 8);
  ring.write(16, 8);
  const cursor = ring.cursorAt(0);
  expect([cursor.next(32), cursor.position]).toEqual([24, 32]);
  const atEnd = ring.cursorAt(0);
  expect([atEnd.next(16), atEnd.position]).toEqual([-1, 16]);
});

it("reads a record again that was taken back, once", () => {
  const ring = createRing();
  ring.write(0, DISCARDED | 8);
  ring.write(16, 8);
  ring.write(32, 5);
  const cursor = ring.cursorAt(0);
  expect(() => cursor.back()).toThrow("Cannot go back in a ring: nothing was read");
  expect(cursor.next(48)).toBe(24);
  cursor.back();
  expect(cursor.position).toBe(16);
  expect([cursor.next(48), cursor.next(48), cursor.length, cursor.position]).toEqual([
    24,
    40,
    5,
    48,
  ]);
  cursor.back();
  expect(() => cursor.back()).toThrow("nothing was read");
  expect([cursor.next(48), cursor.position]).toEqual([40, 48]);
});

it("goes around: a record over the end lies in one piece", () => {
  const ring = createRing();
  ring.write(SIZE * 7 + 112, 24);
  ring.write(SIZE * 8 + 16, 8);
  const cursor = ring.cursorAt(SIZE * 7 + 112);
  expect([cursor.next(SIZE * 8 + 32), cursor.length]).toEqual([120, 24]);
  expect([cursor.next(SIZE * 8 + 32), cursor.position]).toEqual([24, SIZE * 8 + 32]);
});

it("keeps positions beyond 2^32", () => {
  const ring = createRing();
  const far = 2 ** 40;
  ring.write(far, 8);
  const cursor = ring.cursorAt(far);
  expect([cursor.next(far + 16), cursor.position]).toEqual([8, far + 16]);
});

it("refuses to read beyond what was written", () => {
  const ring = createRing();
  ring.write(0, 64);
  expect(() => ring.cursorAt(0).next(16)).toThrow(/Cannot read the ring at 0/);
});

it("learns from records until its time is over, from one at least, and later from the rest", () => {
  const ring = createRing();
  for (const position of [0, 16, 32]) ring.write(position, 8);
  const cursor = ring.cursorAt(0);
  const learned: number[] = [];
  const learn = (offset: number): void => void learned.push(offset);
  learnFrom(cursor, { limit: 48, untilMs: performance.now(), learn });
  expect([learned, cursor.position]).toEqual([[8], 16]);
  learnFrom(cursor, { limit: 48, untilMs: Infinity, learn });
  expect([learned, cursor.position]).toEqual([[8, 24, 40], 48]);
});

it("keeps a reader no longer than a moment with names, however many answers there are", () => {
  expect(learningEndMs("process")).toBe(Infinity);
  const records = 2_000;
  const answer = dnsRecord({ payload: costlyAnswer() });
  const step = (answer.length + 15) & ~7;
  const sizeBytes = 2 ** Math.ceil(Math.log2(records * step));
  const buffer = new ArrayBuffer(2 * sizeBytes);
  const memory = recordMemory(buffer, 0);
  for (let at = 0; at < records; at += 1) {
    memory.words[(at * step) >> 2] = answer.length;
    memory.bytes.set(answer, at * step + 8);
  }
  const decoder = createFlowDecoder(createTestContext(), () => undefined);
  const cursor = new RingCursor(memory, { sizeBytes, position: 0 });
  const limit = records * step;
  let rounds = 0;
  for (; cursor.position < limit; rounds += 1) {
    const before = process.cpuUsage();
    learnFrom(cursor, {
      limit,
      untilMs: learningEndMs("flow"),
      learn: (offset, length) => decoder.learn({ memory, offset, length, timeUs: 0 }),
    });
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000, "ms of processor time in a round").toBeLessThan(100);
  }
  expect(rounds).toBeGreaterThan(1);
});
