import { describe, expect, it } from "vitest";
import {
  BACKLOG_JSON_BYTES,
  BATCH_JSON_BYTES,
  PAYLOAD_JSON_BYTES_MAX,
} from "../../src/event/wire.ts";
import { type ClosedLines, createBatcher, LINE_LENGTH_MAX } from "../../src/producer/batcher.ts";

function collect(options: { readonly isBacklog?: () => boolean } = {}) {
  const closed: ClosedLines[] = [];
  const refused: number[] = [];
  let opened = 0;
  const batcher = createBatcher({
    lane: "bulk",
    isBacklog: options.isBacklog ?? (() => false),
    onFull: (lines) => closed.push(lines),
    onOpen: () => opened++,
    onRefused: (_weight, timeUs) => refused.push(timeUs),
  });
  return { batcher, closed, refused, opened: () => opened };
}

const line = (length: number): string => "x".repeat(length);

describe("the batcher", () => {
  it("closes a batch before it would be more than 256 KiB", () => {
    const { batcher, closed } = collect();
    for (let number = 0; number < 300; number++) batcher.append(line(1_008), number);
    expect(closed.map(({ fields }) => fields.length)).toEqual([256]);
    expect(closed[0]?.weight).toBe(BATCH_JSON_BYTES);
    expect(batcher.close()?.timesUs).toEqual(Array.from({ length: 44 }, (_, at) => 256 + at));
    expect(batcher.close()).toBeUndefined();
  });

  it("closes at 4 MiB while many batches wait", () => {
    let isBacklog = true;
    const { batcher, closed } = collect({ isBacklog: () => isBacklog });
    for (let number = 0; number < 4_097; number++) batcher.append(line(1_008), 0);
    expect(closed.map(({ weight }) => weight)).toEqual([BACKLOG_JSON_BYTES]);
    isBacklog = false;
    for (let number = 0; number < 300; number++) batcher.append(line(1_008), 0);
    expect(closed.map(({ fields }) => fields.length)).toEqual([4_096, 256]);
  });

  it("keeps one line that is larger than a batch, alone", () => {
    const { batcher, closed, refused } = collect();
    batcher.append("a", 1);
    batcher.append(line(BATCH_JSON_BYTES), 2);
    batcher.append("b", 3);
    expect(closed.map(({ timesUs }) => timesUs)).toEqual([[1], [2]]);
    expect(refused).toEqual([]);
  });

  it("refuses a line that no batch can hold, and tells of it", () => {
    const { batcher, closed, refused } = collect();
    batcher.append(line(LINE_LENGTH_MAX + 1), 1);
    batcher.append(line(LINE_LENGTH_MAX), 2);
    expect(refused).toEqual([1]);
    expect(closed).toEqual([]);
    expect(batcher.close()?.timesUs).toEqual([2]);
  });

  it("tells of the first line or mark of every batch", () => {
    const { batcher, opened } = collect();
    expect(opened()).toBe(0);
    batcher.append("a", 0);
    batcher.append("b", 0);
    batcher.mark("process", { ring: "r", position: 8 });
    expect(opened()).toBe(1);
    batcher.close();
    batcher.mark("process", { ring: "r", position: 16 });
    batcher.append("c", 0);
    expect(opened()).toBe(2);
  });

  it("keeps marks with the lines before them, and alone", () => {
    const { batcher } = collect();
    batcher.append("a", 0);
    batcher.mark("process", { ring: "r", position: 8 });
    batcher.mark("network", { ring: "s", position: 1 });
    batcher.mark("process", { ring: "r", position: 16 });
    expect(batcher.close()?.positions).toEqual({
      process: { ring: "r", position: 16 },
      network: { ring: "s", position: 1 },
    });
    batcher.mark("process", { ring: "r", position: 24 });
    expect(batcher.close()).toMatchObject({
      fields: [],
      positions: { process: { position: 24 } },
    });
  });

  it("never parts lines that are added together from each other and their mark", () => {
    const { batcher, closed } = collect();
    const lines = { fields: [line(99_000), line(99_000)], timesUs: [1, 2] };
    const mark = (position: number) => ({ name: "process", position: { ring: "r", position } });
    batcher.appendAll(lines, mark(8));
    batcher.appendAll(lines, mark(16));
    expect(closed).toMatchObject([{ timesUs: [1, 2], positions: { process: { position: 8 } } }]);
    batcher.appendAll({ fields: Array(5).fill(line(99_000)), timesUs: [3, 4, 5, 6, 7] }, mark(24));
    expect(closed.slice(1)).toMatchObject([
      { timesUs: [1, 2], positions: { process: { position: 16 } } },
      { timesUs: [3, 4, 5, 6, 7], positions: { process: { position: 24 } } },
    ]);
    expect(batcher.close()).toBeUndefined();
  });

  it("spreads lines that come at once and share no mark over batches of the usual size", () => {
    const { batcher, closed } = collect();
    const fields = Array.from({ length: 1_000 }, () => line(1_008));
    batcher.appendAll({ fields, timesUs: fields.map((_, place) => place) }, undefined);
    expect(closed.map(({ weight }) => weight)).toEqual(Array(3).fill(BATCH_JSON_BYTES));
    expect(batcher.close()?.timesUs.at(-1)).toBe(999);
  });

  it("never makes more JSON than a receiver reads, whatever the script", () => {
    // One UTF-16 unit is at most three bytes of UTF-8.
    expect(BACKLOG_JSON_BYTES * 3).toBeLessThanOrEqual(PAYLOAD_JSON_BYTES_MAX);
  });
});
