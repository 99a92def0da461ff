import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatEventId, incarnationOf, parseEventId } from "../../src/event/event-id.ts";

describe("an event id", () => {
  it("is read back as it was written", () => {
    const place = fc.record({
      incarnation: fc.string({
        unit: fc.constantFrom(..."0123456789abcdef"),
        minLength: 8,
        maxLength: 8,
      }),
      sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      idx: fc.nat({ max: 999_999_999 }),
    });
    fc.assert(
      fc.property(place, (each) => {
        expect(parseEventId(formatEventId(each))).toEqual(each);
      }),
      { verbose: true },
    );
  });

  it.each([
    "",
    "0123abcd-1",
    "0123abcd-0-0",
    "0123abcd-1-00",
    "0123abcd-01-0",
    "0123ABCD-1-0",
    "0123abc-1-0",
    "0123abcd-1-0 ",
    "0123abcd-1--1",
    "0123abcd-9999999999999999-0",
    "0123abcd-1-1000000000",
  ])("is not %j", (text) => {
    expect(parseEventId(text)).toBeUndefined();
  });
});

describe("an incarnation", () => {
  it("is the beginning of the SHA-256 of name, LF and creation text", () => {
    // printf 'AUDIT_0\n2026-03-04T05:06:07.123456789Z' | sha256sum
    expect(incarnationOf("AUDIT_0", "2026-03-04T05:06:07.123456789Z")).toBe("7b686a03");
  });

  it("differs by name and by every digit of the creation text", () => {
    const texts = ["2026-03-04T05:06:07.1Z", "2026-03-04T05:06:07.10Z", "2026-03-04T05:06:07.2Z"];
    const all = texts.flatMap((text) => [incarnationOf("A", text), incarnationOf("B", text)]);
    expect(new Set(all).size).toBe(6);
  });
});
