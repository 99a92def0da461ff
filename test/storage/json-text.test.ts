import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../src/storage/json-text.ts";

/** The same value with the keys of its objects in the opposite order. */
function turned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(turned);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, each]) => [key, turned(each)] as const);
  return Object.fromEntries(entries.toReversed());
}

describe("canonical JSON", () => {
  test("is JSON of the same value, and the same text in whatever order its keys are", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      expect(canonicalJson(turned(value))).toBe(text);
    }));
  });

  test.each<[string, unknown, string]>([
    ["orders keys by code unit, numbers too", { b: 1, "9": 2, "10": 3 }, '{"10":3,"9":2,"b":1}'],
    ["leaves out what is undefined", { a: undefined, b: [undefined] }, '{"b":[null]}'],
    ["keeps a key that objects have a meaning for", { ["__proto__"]: 1 }, '{"__proto__":1}'],
    ["escapes text", { 'a"': "b\n" }, '{"a\\"":"b\\n"}'],
  ])("%s", (_, value, expected) => {
    expect(canonicalJson(value)).toBe(expected);
  });
});
