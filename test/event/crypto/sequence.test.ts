import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CBOR_VARIANTS, encodeGroup, type EventGroup } from "../../../src/event/crypto/group.ts";
import { createGroupReader } from "../../../src/event/crypto/sequence.ts";
import vectors from "../../fixtures/crypto-group.json" with { type: "json" };
import { eventGroup } from "./groups.ts";

const GROUP: EventGroup = {
  context: vectors.context,
  startNs: BigInt(vectors.ns),
  endNs: BigInt(vectors.ns),
  events: [
    {
      kind: "context",
      ...{ parent: vectors.parent, origin: vectors.origin },
      executable: Buffer.from(vectors.executable).toString("hex"),
    },
    { kind: "data", key: "tls::protocol_version", datum: { type: "word", value: 0x304n } },
  ],
};

const read = (...pieces: readonly Uint8Array[]) => {
  const reader = createGroupReader();
  const groups = pieces.flatMap((piece) => [...reader.push(piece)]);
  return { groups, left: reader.pendingBytes() };
};
const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");

test.for(CBOR_VARIANTS)("%s is what crypto-auditing writes and reads", (variant) => {
  const bytes = hex(vectors[variant]);
  expect(Buffer.from(encodeGroup(GROUP, variant)).toString("hex")).toBe(vectors[variant]);
  expect(read(bytes).groups).toEqual([
    { group: GROUP, offset: 0, bytes: Uint8Array.from(bytes), variant },
  ]);
});

test("every group comes back in its bytes, however they are cut", () => {
  const cuts = fc.array(fc.nat(), { maxLength: 8 });
  const sequence = fc.array(fc.tuple(eventGroup, fc.constantFrom(...CBOR_VARIANTS)), {
    maxLength: 4,
  });
  fc.assert(fc.property(sequence, cuts, (groups, places) => {
    const encoded = groups.map(([group, variant]) => encodeGroup(group, variant));
    const bytes = Buffer.concat(encoded);
    const ends = places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b);
    const pieces = [...ends, bytes.length].map((end, at) => bytes.subarray(ends[at - 1] ?? 0, end));
    const found = read(...pieces);
    expect(found.left).toBe(0);
    expect(found.groups.map(({ group }) => group)).toEqual(groups.map(([group]) => group));
    expect(
      found.groups.map(({ group, variant }) =>
        variant === undefined ? undefined : encodeGroup(group, variant)
      ),
    ).toEqual(encoded);
  }));
});

test("a tail that is cut anywhere loses nothing before it, and says how much is left", () => {
  const whole = hex(vectors.packed);
  for (let length = 0; length < whole.length; length++) {
    const { groups, left } = read(whole, whole.subarray(0, length));
    expect([groups.length, left]).toEqual([1, length]);
  }
});

test("members in another order are read, and told", () => {
  const normal = hex(vectors.normal);
  const { startNs: _, ...rest } = GROUP;
  const swapped = hex("a4 00 50" + vectors.context + "02 05 01 04 03 81 a1 01 a2 01 07 00 61 61");
  expect(read(normal, swapped).groups.map(({ group, variant }) => [group, variant])[1]).toEqual([
    {
      ...{ ...rest, startNs: 4n, endNs: 5n },
      events: [{ kind: "data", key: "a", datum: { type: "word", value: 7n } }],
    },
    undefined,
  ]);
});

describe("what crypto-auditing never writes is refused, with its place", () => {
  const id = "00 50" + vectors.context;
  const events = (event: string) => `a4 ${id} 01 04 02 05 03 81 ${event}`;
  const deep = `a4 ${id} 01 04 02 05 03 81 a1 01 a2 00 61 61 01 81`;
  test.for<readonly [name: string, bytes: string, at: number, fault: string]>([
    ["a tag", "c1 00", 0, "a tag"],
    ["a float", "fb 0000000000000000", 0, "a float or simple value"],
    ["null as a value", events("a1 01 a2 00 61 61 01 f6"), 32, "a float or simple value"],
    ["an indefinite map", "bf", 0, "a length that is indefinite"],
    ["a reserved length", "1c", 0, "a length of a reserved form"],
    ["a long form of a small number", `a4 ${id} 01 18 17`, 20, "a number that is longer"],
    ["a long form of 32 bits", `a4 ${id} 01 1b 00000000ffffffff`, 20, "a number that is longer"],
    ["nesting", deep, 32, "it is nested more than 4 deep"],
    ["many entries", `a4 ${id} 01 04 02 05 03 9a 00010001`, 24, "an array of more than 65536"],
    ["a large map", "a9", 0, "a map of more than 8 entries"],
    ["a huge text", "7b 7fffffffffffffff", 0, "an item of more than 8388608 bytes"],
    ["huge bytes", "5b ffffffffffffffff", 0, "an item of more than 8388608 bytes"],
    ["text that is no UTF-8", events("a1 01 a2 00 61 ff"), 29, "the text is not UTF-8"],
    ["no map", "01", 0, "the group is not a map"],
    ["the same number twice", `a2 01 04 01 04`, 0, 'found repeat map key "1"'],
    ["a name and its number", `a2 01 04 65 7374617274 04`, 0, '"start" of the group comes twice'],
    ["an unknown member", "a1 04 00", 0, "the group has an unknown member"],
    ["a list as a name", "a1 80 00", 0, "the group has an unknown member"],
    ["no events", `a3 ${id} 01 04 02 05`, 0, '"events" of the group is not a list'],
    ["an empty list", `a4 ${id} 01 04 02 05 03 80`, 0, "the group has no events"],
    ["a short context", `a4 00 41 00 01 04 02 05 03 81 00`, 0, '"context" is not 16 bytes'],
    ["a begin below zero", `a4 ${id} 01 20 02 05 03 81 00`, 0, '"start" is no number'],
    ["no end", `a3 ${id} 01 04 03 81 00`, 0, '"end" is no number'],
    ["an event that is a number", events("00"), 0, "an event is neither a map of one entry"],
    ["an event of two entries", events("a2 00 a0 01 a0"), 0, "an event is neither a map"],
    ["an event of a third kind", events("a1 02 a0"), 0, "an event is neither NewContext nor Data"],
    ["a kind that is a list", events("82 80 a0"), 0, "an event is neither NewContext nor Data"],
    ["a body that is no map", events("82 01 00"), 0, "the datum is not a map"],
    ["a context without origin", events("a1 00 a1 00 50" + vectors.parent), 0, '"origin" is not'],
    ["a context's short parent", events("a1 00 a2 01 40 00 40"), 0, '"parent" is not 16 bytes'],
    [
      "an executable that is bytes",
      events("a1 00 a3 00 50" + vectors.parent + "01 40 02 60"),
      ...[0, '"executable" is not at most'] as const,
    ],
    ["a key that is bytes", events("a1 01 a2 00 40 01 00"), 0, '"key" is not text'],
    ["a long key", events("a1 01 a2 00 79 0401" + "61".repeat(0x401) + "01 00"), 0, '"key" is not'],
    ["a word of 65 bits", events("a1 01 a2 00 61 61 01 1b 8000000000000000"), 0, "is no signed"],
    ["a word below 64 bits", events("a1 01 a2 00 61 61 01 3b 8000000000000000"), 0, "no signed"],
    ["no value", events("a1 01 a1 00 61 61"), 0, '"value" is no number, text or bytes'],
    ["a list as value", events("a1 01 a2 00 61 61 01 80"), 0, '"value" is no number, text or'],
  ])("%s", ([, bytes, at, fault]) => {
    const before = hex(vectors.minimal);
    const reader = createGroupReader(1_000);
    expect([...reader.push(before)]).toHaveLength(1);
    const message = `Cannot read CBOR at byte ${1_000 + before.length + at}: `;
    const refused = (): unknown => [...reader.push(hex(bytes))];
    expect(refused).toThrow(message);
    const again = createGroupReader();
    expect(() => [...again.push(hex(bytes))]).toThrow(fault);
  });
});
