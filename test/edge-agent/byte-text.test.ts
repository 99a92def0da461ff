import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { textOfBinary, textOfBytes } from "../../src/edge-agent/byte-text.ts";

describe("text of bytes", () => {
  const cases: readonly (readonly [string, Uint8Array, string, boolean])[] = [
    ["plain text stays", Buffer.from("/etc/passwd"), "/etc/passwd", false],
    ["UTF-8 stays", Buffer.from("/tmp/żółw \u{1f422}"), "/tmp/żółw \u{1f422}", false],
    ["a backslash alone stays", Buffer.from("a\\x41"), "a\\x41", false],
    ["control characters stay", Buffer.from("a\n\u0001"), "a\n\u0001", false],
    ["a mark of byte order stays", Buffer.from("\ufeffa"), "\ufeffa", false],
    ["a stray byte is escaped", Buffer.from([0x61, 0xff, 0x62]), "a\\xffb", true],
    ["a cut character is escaped", Buffer.from([0x61, 0xe2, 0x82]), "a\\xe2\\x82", true],
    ["an overlong form is escaped", Buffer.from([0xc0, 0xaf]), "\\xc0\\xaf", true],
    ["a surrogate is escaped", Buffer.from([0xed, 0xa0, 0x80]), "\\xed\\xa0\\x80", true],
    ["beside a stray byte, a backslash is too", Buffer.from([0x5c, 0xfe]), "\\x5c\\xfe", true],
    ["beside a stray byte, UTF-8 stays", Buffer.from([0xc3, 0xa9, 0x80]), "é\\x80", true],
  ];
  it.each(cases)("%s", (_name, bytes, text, isEscaped) => {
    expect(textOfBytes(bytes)).toEqual({ text, isEscaped });
    expect(textOfBinary(Buffer.from(bytes).toString("latin1"))).toEqual({ text, isEscaped });
  });

  it("gives the bytes back, whatever they are", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const { text, isEscaped } = textOfBytes(bytes);
      expect(text.isWellFormed()).toBe(true);
      expect(Buffer.from(isEscaped ? unescape(text) : text, isEscaped ? "latin1" : "utf8"))
        .toEqual(Buffer.from(bytes));
    }));
  });
});

function unescape(text: string): string {
  const binary = Buffer.from(text, "utf8").toString("latin1");
  return binary.replace(/\\x([0-9a-f]{2})/g, (_all, hex: string) => {
    return String.fromCharCode(Number.parseInt(hex, 16));
  });
}
