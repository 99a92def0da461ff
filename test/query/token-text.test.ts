import { describe, expect, test } from "vitest";
import { isTokenText, newTokenText } from "../../src/query/token-text.ts";

describe("the text of a token", () => {
  test.each([
    // What Python's zlib and integers make of them: others must find the same.
    [0, "prb_00000000000000000000000000000000000000000002CZclj"],
    [255, "prb_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13sRzl1"],
  ])("is what others compute: bytes of %d", (byte, text) => {
    expect(newTokenText(new Uint8Array(32).fill(byte))).toBe(text);
    expect(isTokenText(text)).toBe(true);
  });

  test("gives the bytes back, so that none of their chance is lost", () => {
    const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const bytes = Uint8Array.from({ length: 32 }, (_, at) => (at * 37 + 11) % 256);
    let value = 0n;
    for (const digit of newTokenText(bytes).slice(4, 47)) {
      value = value * 62n + BigInt(digits.indexOf(digit));
    }
    expect(value.toString(16).padStart(64, "0")).toBe(Buffer.from(bytes).toString("hex"));
  });

  test("is another each time", () => {
    expect(new Set(Array.from({ length: 100 }, () => newTokenText())).size).toBe(100);
  });

  test("shows every wrong character", () => {
    const text = newTokenText(new Uint8Array(32).fill(7));
    for (let at = 4; at < text.length; at++) {
      const other = text[at] === "x" ? "y" : "x";
      expect(isTokenText(`${text.slice(0, at)}${other}${text.slice(at + 1)}`)).toBe(false);
    }
    for (const wrong of ["", "prb_", text.slice(1), `${text}0`, text.toUpperCase(), `${text}\n`]) {
      expect(isTokenText(wrong)).toBe(false);
    }
  });
});
