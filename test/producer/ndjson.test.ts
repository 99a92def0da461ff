import fc from "fast-check";
import { expect, it } from "vitest";
import { ndjsonOf } from "../../src/producer/ndjson.ts";

it("lines as NDJSON are their texts in UTF-8 with their numbers, whatever characters they have", () => {
  const text = fc.string({ unit: "binary", maxLength: 200 }).map((each) => each.toWellFormed());
  const plain = fc.string({ unit: "binary-ascii", maxLength: 40 });
  fc.assert(
    fc.property(fc.array(fc.oneof(plain, text), { maxLength: 130 }), (fields) => {
      const expected = fields.map((each, idx) => `{"idx":${idx},${each}\n`).join("");
      expect(Buffer.from(ndjsonOf(fields)).equals(Buffer.from(expected))).toBe(true);
    }),
  );
});

it("lines as NDJSON are numbered without end", () => {
  const fields = Array.from({ length: 100_001 }, () => "}");
  const lines = Buffer.from(ndjsonOf(fields)).toString().split("\n");
  for (const idx of [0, 9, 10, 99, 100, 9_999, 10_000, 99_999, 100_000]) {
    expect(lines[idx]).toBe(`{"idx":${idx},}`);
  }
});
