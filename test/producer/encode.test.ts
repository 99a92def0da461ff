import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  BATCH_SPAN_US,
  digestOf,
  encodeHeaders,
  HEADER,
  MESSAGE_BYTES_MAX,
  PAYLOAD_JSON_BYTES_MAX,
  resendIdOf,
} from "../../src/event/wire.ts";
import {
  type EncodedBatch,
  encodeLines,
  HEADER_BYTES_MAX,
  PAYLOAD_BYTES_MAX,
  spanOf,
} from "../../src/producer/encode.ts";
import { decompressFrame, frameShapeOf } from "../../src/runtime/zstd.ts";

const NOW_US = Date.UTC(2026, 0, 31) * 1000;
const DAY_US = 86_400_000_000;

async function encode(fields: readonly string[], refused: string[] = []) {
  return await encodeLines({ lane: "bulk", fields, timesUs: fields.map(() => NOW_US) }, {
    nowUs: NOW_US,
    onRefused: (text) => refused.push(text),
  });
}

async function linesOf({ payload }: EncodedBatch): Promise<Record<string, unknown>[]> {
  const json = await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX);
  const text = new TextDecoder().decode(json);
  expect(text.endsWith("\n")).toBe(true);
  return text.slice(0, -1).split("\n").map((line) => JSON.parse(line));
}

const incompressible = (bytes: number): string => `"text":"${randomBytes(bytes).toString("hex")}"}`;

describe("a payload", () => {
  it("is one zstd frame that says its size, of lines numbered from 0", async () => {
    const [batch, ...rest] = await encode([`"a":"ä"}`, `"a":2}`]);
    if (batch === undefined) throw new Error("no batch");
    expect(rest).toEqual([]);
    expect(frameShapeOf(batch.payload)).toMatchObject({
      contentBytes: new TextEncoder().encode('{"idx":0,"a":"ä"}\n{"idx":1,"a":2}\n').length,
      frameBytes: batch.payload.length,
    });
    expect(await linesOf(batch)).toEqual([{ idx: 0, a: "ä" }, { idx: 1, a: 2 }]);
    expect(batch).toMatchObject({ count: 2, digest: digestOf(batch.payload), firstUs: NOW_US });
  });

  it("is split where one message cannot hold it; each part is numbered from 0", async () => {
    const fields = Array.from({ length: 9 }, () => incompressible(300_000));
    const batches = await encode(fields);
    expect(batches.length).toBeGreaterThan(1);
    const read: unknown[] = [];
    for (const batch of batches) {
      expect(batch.payload.length).toBeLessThanOrEqual(PAYLOAD_BYTES_MAX);
      const lines = await linesOf(batch);
      expect(lines.map(({ idx }) => idx)).toEqual(lines.map((_, place) => place));
      expect(lines.length).toBe(batch.count);
      read.push(...lines.map(({ text }) => `"text":"${text}"}`));
    }
    expect(read).toEqual(fields);
  });

  it("is split where it compresses well but is more JSON than a receiver opens", async () => {
    const fields = Array.from(
      { length: 20 },
      (_, place) => `"text":"${place}${"x".repeat(2 ** 20)}"}`,
    );
    const batches = await encode(fields);
    const read: unknown[] = [];
    for (const batch of batches) {
      read.push(...(await linesOf(batch)).map(({ text }) => `"text":"${text}"}`));
    }
    expect(read).toEqual(fields);
  });

  it("leaves out a line that no message can hold, and tells of it", async () => {
    const refused: string[] = [];
    const huge = incompressible(1_100_000);
    const batches = await encode([`"a":1}`, huge, `"a":2}`], refused);
    expect(refused).toEqual([huge]);
    const lines = (await Promise.all(batches.map(linesOf))).flat();
    expect(lines.map(({ a }) => a)).toEqual([1, 2]);
  });

  it("is none for no lines", async () => {
    expect(await encode([])).toEqual([]);
  });

  it("leaves room for the largest headers there can be", () => {
    const longest = Number.MAX_SAFE_INTEGER;
    const header = {
      host: "h".repeat(253),
      agent: "a".repeat(63),
      epoch: "e".repeat(32),
      number: longest,
      count: longest,
      firstUs: longest,
      lastUs: longest,
      digest: "d".repeat(64),
      previous: "d".repeat(64),
      void: "v".repeat(200),
    };
    const headers = new Map([
      ...encodeHeaders(header),
      [HEADER.messageId, resendIdOf(header, { incarnation: "01234567", sequence: longest })],
      [HEADER.expectedLastSubjectSequence, String(longest)],
      [HEADER.signature, "s".repeat(88)],
    ]);
    const subject = `audit.${"s".repeat(16)}.${header.agent}`;
    const text = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const bytes = new TextEncoder().encode(`NATS/1.0\r\n${text}\r\n${subject}`).length;
    expect(bytes).toBeLessThanOrEqual(HEADER_BYTES_MAX);
    expect(HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX).toBe(MESSAGE_BYTES_MAX);
  });
});

describe("first and last time", () => {
  it.each<[string, number[], number, number]>([
    ["of lines in any order", [5, 3, 4], 3, 5],
    ["of no line", [], 0, 0],
    ["leave out lines of another age", [-65 * DAY_US, -1, 65 * DAY_US], -1, -1],
    ["of none but those are now", [-65 * DAY_US, NaN, Infinity], 0, 0],
    ["take the border in", [-BATCH_SPAN_US, 0], -BATCH_SPAN_US, 0],
    [
      "are never further apart than 64 days",
      [-63 * DAY_US, 10 * DAY_US],
      -54 * DAY_US,
      10 * DAY_US,
    ],
  ])("%s", (_name, offsets, first, last) => {
    expect(spanOf(offsets.map((each) => NOW_US + each), NOW_US)).toEqual({
      firstUs: NOW_US + first,
      lastUs: NOW_US + last,
    });
  });

  it("are never before 1970", () => {
    expect(spanOf([-10, 5.5], 0)).toEqual({ firstUs: 0, lastUs: 5 });
  });
});
