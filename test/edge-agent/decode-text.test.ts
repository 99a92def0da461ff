import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { endOfText, jsonInner, RecordText } from "../../src/edge-agent/decode-text.ts";

const parsed = (inner: string): unknown => JSON.parse(`"${inner}"`);

describe("text of records", () => {
  it("is what the bytes say, when they are UTF-8", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      const bytes = Buffer.concat([Buffer.from("<"), Buffer.from(text), Buffer.from(">")]);
      const reader = new RecordText();
      const inner = reader.json(bytes, 1, bytes.length - 1);
      expect(parsed(inner)).toBe(text);
      expect(reader.isEscaped).toBe(false);
    }));
  });

  it("is well formed whatever the bytes are, and escaped exactly when they are no UTF-8", () => {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 24 }), (array) => {
        const bytes = Buffer.from(array);
        const reader = new RecordText();
        const text = String(parsed(reader.json(bytes, 0, bytes.length)));
        expect(text.isWellFormed()).toBe(true);
        let valid: string | undefined;
        try {
          valid = strict.decode(array);
        } catch {
          valid = undefined;
        }
        expect(reader.isEscaped).toBe(valid === undefined);
        if (valid !== undefined) expect(text).toBe(valid);
        else expect(text).not.toContain("\ufffd");
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["a lone byte", [0x61, 0xff, 0x62], "a\\xffb"],
    ["a cut character", [0x61, 0xe2, 0x82], "a\\xe2\\x82"],
    ["an overlong form", [0xc0, 0xaf], "\\xc0\\xaf"],
    ["a surrogate", [0xed, 0xa0, 0x80], "\\xed\\xa0\\x80"],
    ["beyond Unicode", [0xf4, 0x90, 0x80, 0x80], "\\xf4\\x90\\x80\\x80"],
    ["good after bad", [0x80, 0xc3, 0xa4, 0xf0, 0x9f, 0x98, 0x80], "\\x80ä😀"],
    ["a backslash beside it", [0x5c, 0xff], "\\x5c\\xff"],
  ])("escapes %s", (_what, bytes, text) => {
    const buffer = Buffer.from(bytes);
    expect(new RecordText().text(buffer, 0, buffer.length)).toBe(text);
  });

  it("remembers that it escaped until it is told to forget", () => {
    const reader = new RecordText();
    reader.json(Buffer.of(0xff), 0, 1);
    reader.json(Buffer.of(0x61), 0, 1);
    expect(reader.isEscaped).toBe(true);
  });

  it("ends at the first NUL or at the end", () => {
    const bytes = Buffer.from("ab\0cd");
    expect(endOfText(bytes, 0, 5)).toBe(2);
    expect(endOfText(bytes, 3, 5)).toBe(5);
    expect(endOfText(bytes, 2, 5)).toBe(2);
  });

  it("is escaped for JSON, and never holds a lone surrogate", () => {
    for (const text of ["plain", 'quo"te', "back\\slash", "line\nfeed", "\u0001", "ä", "😀"]) {
      expect(parsed(jsonInner(text))).toBe(text);
    }
    expect(parsed(jsonInner("a\ud800b"))).toBe("a\ufffdb");
  });
});
