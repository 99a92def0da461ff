import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeRequest,
  type Operation,
  parseRequest,
  REQUESTS,
} from "../../../src/edge-agent/privilege/messages.ts";

const OPERATIONS = Object.keys(REQUESTS) as Operation[];
const path = fc.array(fc.stringMatching(/^[a-z0-9._-]{1,12}$/), { minLength: 1, maxLength: 5 })
  .map((segments) => `/${segments.join("/")}`);
const VALID: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  path,
  relative: path.map((text) => text.slice(1)),
  paths: fc.array(path, { maxLength: 4 }),
  bytes: fc.uint8Array({ maxLength: 128 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  handles: fc.array(
    fc.uint8Array({ maxLength: 136 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    { minLength: 1, maxLength: 32 },
  ),
  name: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
  number: fc.nat(),
  variant: fc.constantFrom("tp_btf", "raw_tp", "cgroup"),
  values: fc.dictionary(fc.stringMatching(/^[a-z_]{1,12}$/), fc.constantFrom("", "\u00ff\0"), {
    maxKeys: 4,
    noNullPrototype: true,
  }),
};
const INVALID: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  relative: fc.constantFrom("/etc", "a\0b", "\u0100", "a".repeat(4096), 1, null),
  path: fc.constantFrom("", "etc", "/a\0b", "/\u0100", `/${"a".repeat(4096)}`, 1, null, ["/a"]),
  paths: fc.constantFrom("/a", ["a"], [1], null, { 0: "/a" }, Array(1025).fill("/a")),
  handles: fc.constantFrom("a", [], [1], ["\u0100"], ["a".repeat(137)], Array(33).fill("a"), null),
  bytes: fc.constantFrom("\u0100", "a".repeat(513), 1, null),
  name: fc.constantFrom("", "a/b", "..", "a.b", "a".repeat(65), 1),
  number: fc.constantFrom(-1, 1.5, 2 ** 53, "1", null, Number.MAX_VALUE),
  variant: fc.constantFrom("", "kprobe", 1, null),
  values: fc.constantFrom(null, "", [], { a: 1 }, { "a/b": "" }, { a: "\u0100" }, {
    a: "a".repeat(4097),
  }),
};

const shapeOf = (operation: Operation) => {
  const { fields, descriptors } = REQUESTS[operation];
  return { fields: Object.entries<string>(fields), descriptors };
};
const validFields = (operation: Operation) =>
  fc.record(
    Object.fromEntries(
      shapeOf(operation).fields.map(([name, kind]) => [name, VALID[kind] ?? fc.constant(0)]),
    ),
  );

describe("requests to the privileged process", () => {
  it.each(OPERATIONS)("%s is read back as it was said", (operation) => {
    fc.assert(fc.property(validFields(operation), (fields) => {
      const bytes = encodeRequest(operation, fields);
      expect(parseRequest(bytes, shapeOf(operation).descriptors)).toEqual({ operation, fields });
    }));
  });

  it.each(OPERATIONS)("%s is refused with a field wrong, missing or too many", (operation) => {
    const { fields, descriptors } = shapeOf(operation);
    const wrong = fc.tuple(validFields(operation), fc.nat(), fc.nat()).chain(([valid, at, how]) => {
      const [name, kind] = fields[at % fields.length] ?? ["", ""];
      if (how % 3 === 0 || fields.length === 0) return fc.constant({ ...valid, more: 1 });
      if (how % 3 === 1) return fc.constant({ ...valid, [name]: undefined });
      return INVALID[kind]?.map((value) => ({ ...valid, [name]: value })) ?? fc.constant({});
    });
    fc.assert(fc.property(wrong, (said) => {
      expect(parseRequest(encodeRequest(operation, said), descriptors)).toBeUndefined();
    }));
  });

  it("are refused with another number of descriptors", () => {
    const bytes = encodeRequest("fanotify_mark", { flags: 1, mask: 1 });
    expect([0, 1, 2, 3].map((count) => parseRequest(bytes, count) !== undefined))
      .toEqual([false, false, true, false]);
  });

  it("are never taken from other bytes, and never throw", () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.json().map((text) => Buffer.from(text)),
      fc.object().map((value) => Buffer.from(JSON.stringify(value))),
      fc.constantFrom("__proto__", "constructor", "toString", "hasOwnProperty").map((operation) =>
        Buffer.from(JSON.stringify({ operation }))
      ),
      fc.constant(Buffer.from('{"operation":"policy","contents":[],"__proto__":{"a":1}}')),
      fc.constant(Buffer.from(`${"[".repeat(20_000)}`)),
    );
    fc.assert(fc.property(noise, fc.nat(4), (bytes, descriptors) => {
      expect(parseRequest(bytes, descriptors)).toBeUndefined();
    }));
  });
});
