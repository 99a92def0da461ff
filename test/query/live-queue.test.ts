import { describe, expect, test } from "vitest";
import {
  createLiveQueue,
  LiveQueue,
  QUEUE_ROWS_MAX,
  type TailRow,
} from "../../src/query/tail/live-queue.ts";

const signal = new AbortController().signal;
const row = (sequence: number, json = "{}"): TailRow => ({
  incarnation: "0a1b2c3d",
  sequence,
  idx: 0,
  json,
});
const rows = (from: number, to: number): TailRow[] =>
  Array.from({ length: to - from }, (_, at) => row(from + at));
const take = (queue: LiveQueue, quietMs = 10) => queue.take({ signal, quietMs });

describe("a live client's queue", () => {
  test("is waited for when it fills, unless its client reads what it missed by itself", async () => {
    for (const isDurable of [false, true]) {
      const queue = createLiveQueue({ isDurable });
      queue.push(rows(0, QUEUE_ROWS_MAX / 2 + 1));
      expect(queue.isFilling).toBe(!isDurable);
      queue.push(rows(QUEUE_ROWS_MAX / 2 + 1, QUEUE_ROWS_MAX + 5));
      expect(await take(queue)).toEqual({ kind: "rows", rows: rows(0, QUEUE_ROWS_MAX) });
      expect(await take(queue)).toMatchObject({ kind: "skipped", skipped: { count: 5 } });
    }
  });

  test("gives what came in order, and says when nothing comes", async () => {
    const queue = new LiveQueue();
    queue.push(rows(0, 3));
    queue.push(rows(3, 5));
    expect(await take(queue)).toEqual({ kind: "rows", rows: rows(0, 5) });
    expect(await take(queue)).toEqual({ kind: "quiet" });
    const waiting = take(queue, 10_000);
    queue.push(rows(5, 6));
    expect(await waiting).toEqual({ kind: "rows", rows: rows(5, 6) });
  });

  test("leaves out what does not fit until all that waits was taken, and counts it", async () => {
    const queue = new LiveQueue({ rowsMax: 4, lengthMax: 1_000 });
    queue.push(rows(0, 6));
    queue.push(rows(6, 7));
    expect(queue.hasSkipped).toBe(true);
    expect(await take(queue)).toEqual({ kind: "rows", rows: rows(0, 4) });
    // The gap stands at its place: what comes now lies behind it.
    queue.push(rows(7, 9));
    expect(await take(queue)).toEqual({
      kind: "skipped",
      skipped: {
        count: 5,
        ranges: [{ first: row(4), last: row(8), earliest: "", latest: "" }],
      },
    });
    queue.push(rows(9, 10));
    expect(await take(queue)).toEqual({ kind: "rows", rows: rows(9, 10) });
    expect(queue.hasSkipped).toBe(false);
  });

  test("is bounded by length as well, but takes one row of any length", async () => {
    const queue = new LiveQueue({ rowsMax: 100, lengthMax: 10 });
    const long = row(0, "x".repeat(50));
    queue.push([long]);
    queue.push([row(1)]);
    expect(await take(queue)).toEqual({ kind: "rows", rows: [long] });
    expect(await take(queue)).toMatchObject({ kind: "skipped", skipped: { count: 1 } });
  });

  test("forgets what waits when it is broken", async () => {
    const queue = new LiveQueue();
    queue.push(rows(0, 3));
    queue.break();
    expect(await take(queue)).toEqual({ kind: "broken" });
    const other = new LiveQueue();
    const waiting = take(other, 10_000);
    other.break();
    expect(await waiting).toEqual({ kind: "broken" });
  });

  test("still gives what waits when it is closed, and ends at once when the client is gone", async () => {
    const queue = new LiveQueue();
    queue.push(rows(0, 1));
    queue.close();
    expect(await take(queue)).toEqual({ kind: "rows", rows: rows(0, 1) });
    expect(await take(queue)).toEqual({ kind: "closed" });
    const gone = new AbortController();
    const waiting = new LiveQueue().take({ signal: gone.signal, quietMs: 10_000 });
    gone.abort();
    expect(await waiting).toEqual({ kind: "closed" });
  });
});
