import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSegmentEncoder, parseSegment } from "../../src/pipeline/segment.ts";
import type { StreamMessage } from "../../src/runtime/stream-message.ts";

const origin = { shard: "0", incarnation: "0123abcd" };

function encode(messages: readonly StreamMessage[]): Uint8Array {
  const encoder = createSegmentEncoder(origin);
  const parts = [encoder.begin(), ...messages.flatMap((each) => [...encoder.message(each)])];
  return new Uint8Array(Buffer.concat([...parts, encoder.end()]));
}

const message = (sequence: number, more: Partial<StreamMessage> = {}): StreamMessage => ({
  sequence,
  storedAtUs: 1_781_524_800_000_000 + sequence,
  subject: "audit.0.web",
  headers: new Map([["Probity-Host", "web-1"], ["A", ""]]),
  payload: new Uint8Array([1, 2, 3]),
  ...more,
});

describe("a segment", () => {
  test("of any messages reads back", () => {
    const anyMessage = fc.record({
      step: fc.integer({ min: 1, max: 1_000_000 }),
      storedAtUs: fc.maxSafeInteger(),
      subject: fc.string(),
      headers: fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 4 }).map((all) =>
        new Map(all)
      ),
      payload: fc.uint8Array({ maxLength: 100 }),
    });
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 6 }), (given) => {
        let sequence = 0;
        const messages = given.map(({ step, ...each }) => ({
          ...each,
          sequence: sequence += step,
        }));
        expect(parseSegment(encode(messages))).toEqual({ origin, messages });
      }),
      { verbose: true },
    );
  });

  test("has the layout that is documented", () => {
    const bytes = encode([message(7)]);
    const head = '{"subject":"audit.0.web","headers":[["Probity-Host","web-1"],["A",""]]}';
    const start = '{"shard":"0","incarnation":"0123abcd"}';
    const view = new DataView(bytes.buffer);
    expect(new TextDecoder().decode(bytes.subarray(0, 16))).toBe("probity-segment\x01");
    expect(view.getUint32(16, true)).toBe(start.length);
    const at = 20 + start.length;
    expect(bytes[at]).toBe(1);
    expect(view.getBigUint64(at + 1, true)).toBe(7n);
    expect(view.getBigInt64(at + 9, true)).toBe(1_781_524_800_000_007n);
    expect(view.getUint32(at + 17, true)).toBe(head.length);
    expect(view.getUint32(at + 21, true)).toBe(3);
    const end = at + 25 + head.length + 3;
    expect(bytes[end]).toBe(0);
    expect(view.getBigUint64(end + 1, true)).toBe(1n);
    expect(bytes.length).toBe(end + 41);
  });

  test("is refused when any byte of it is another", () => {
    const bytes = encode([message(1), message(5)]);
    for (let place = 0; place < bytes.length; place++) {
      const damaged = bytes.slice();
      damaged[place] = (damaged[place] ?? 0) ^ 0x11;
      expect(() => parseSegment(damaged), `byte ${place}`).toThrow(SyntaxError);
    }
  });

  test("is refused when it is cut anywhere or goes on", () => {
    const bytes = encode([message(1), message(5)]);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => parseSegment(bytes.subarray(0, length)), `length ${length}`).toThrow(
        SyntaxError,
      );
    }
    expect(() => parseSegment(new Uint8Array([...bytes, 0]))).toThrow("follow the end");
  });

  test("takes messages in order of sequence only", () => {
    const encoder = createSegmentEncoder(origin);
    encoder.message(message(5));
    expect(() => encoder.message(message(5))).toThrow(RangeError);
    expect(() => encoder.message(message(4))).toThrow("after 5");
  });

  test("of nothing is one, too", () => {
    expect(parseSegment(encode([]))).toEqual({ origin, messages: [] });
  });
});
