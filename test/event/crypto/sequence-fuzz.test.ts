/**
 * Valid sequences with one to three faults in them: read, or refused with a place, and nothing else. PROBITY_SEED gives
 * another run.
 */
import process from "node:process";
import { expect, test } from "vitest";
import { CborFault } from "../../../src/event/crypto/cbor-items.ts";
import { CBOR_VARIANTS, encodeGroup, type EventGroup } from "../../../src/event/crypto/group.ts";
import { createGroupReader } from "../../../src/event/crypto/sequence.ts";
import { createSeededRandom, type SeededRandom } from "../../support/seeded-random.ts";

const INPUTS = 100_000;
const SEED = Number(process.env["PROBITY_SEED"] ?? 20_260_601);

/** Every refusal that the format knows; the library's own are below. */
const FAULTS = [
  ...["a tag, which the format has not", "a float or simple value, which the format has not"],
  ...["a length that is indefinite", "a length of a reserved form"],
  ...["a number that is longer than need be", "it is nested more than 4 deep"],
  ...["an array of more than 65536 entries", "a map of more than 8 entries"],
  ...["an item of more than 8388608 bytes", "the text is not UTF-8", "the group is not a map"],
  ...["the group has an unknown member", "the group comes twice"],
  ...['"events" of the group is not a list', "the group has no events"],
  ...['"context" is not 16 bytes', '"parent" is not 16 bytes'],
  ...['"start" is no number of nanoseconds', '"end" is no number of nanoseconds'],
  ...["an event is neither a map of one entry nor a list of two"],
  ...["an event is neither NewContext nor Data", "the datum is not a map"],
  ...["the context is not a map", "the datum has an unknown member"],
  ...["the context has an unknown member", "the context comes twice", "the datum comes twice"],
  ...['"origin" is not at most 256 bytes', '"executable" is not at most 4096 bytes'],
  ...['"key" is not text of at most 1024 bytes', '"value" is no signed number of 64 bits'],
  ...['"value" is no number, text or bytes of at most 65536 bytes', "found repeat map key"],
] as const;

/** Bytes that stand for something in the format, or for what it must not have. */
const HEADS = [
  ...[0x00, 0x01, 0x02, 0x03, 0x04, 0x20, 0x17, 0x18, 0x1b, 0x1c, 0x1f, 0x38, 0x3b, 0x40, 0x50],
  ...[0x5b, 0x5f, 0x60, 0x61, 0x7b, 0x7f, 0x80, 0x81, 0x82, 0x9a, 0x9b, 0x9f, 0xa0, 0xa1, 0xa2],
  ...[0xa4, 0xbb, 0xbf, 0xc0, 0xc1, 0xd8, 0xf5, 0xf6, 0xf7, 0xfb, 0xff],
] as const;

const GROUPS: readonly EventGroup[] = [1, 3].map((count) => ({
  ...{ context: "0a".repeat(16), startNs: 5_000_000_000n, endNs: 70_000n },
  events: Array.from({ length: count }).flatMap((_, at) => [
    {
      kind: "context",
      ...{ parent: "ff".repeat(16), origin: "00112233", executable: at === 0 ? undefined : "61" },
    },
    {
      kind: "data",
      key: "tls::group",
      datum: { type: "word", value: BigInt(at) * 3_000_000_000n },
    },
    { kind: "data", key: "näme", datum: { type: "string", value: "tls::handshake" } },
    { kind: "data", key: "a", datum: { type: "blob", value: Uint8Array.of(1, 2, 3) } },
  ]),
}));
const VALID = GROUPS.flatMap((group) =>
  CBOR_VARIANTS.map((variant) => encodeGroup(group, variant))
);

/** Bytes with one fault: a head changed, bytes doubled, taken away or put in, a length that is huge. */
function fault(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  const at = random.between(0, bytes.length);
  const size = random.between(1, 24);
  const head = HEADS[random.between(0, HEADS.length - 1)] ?? 0;
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (random.between(0, 6)) {
    case 0:
      return Buffer.concat([before, Uint8Array.of(head), after.subarray(1)]);
    case 1:
      return Buffer.concat([before, Uint8Array.of(head), after]);
    case 2:
      return Buffer.concat([before, after.subarray(size)]);
    case 3:
      return Buffer.concat([before, after.subarray(0, size), after]);
    case 4:
      return Buffer.concat([before, Uint8Array.of(random.between(0, 255)), after.subarray(1)]);
    case 5:
      return before;
    default: {
      const kind = random.between(2, 5) << 5;
      const length: readonly number[] = random.pick([[0x18, 0xff], [0x19, 4, 1], [
        0x1a,
        0,
        1,
        0,
        1,
      ]]);
      const huge = [kind | (length[0] ?? 0), ...length.slice(1)];
      return Buffer.concat([
        before,
        Uint8Array.from(huge),
        new Uint8Array(size),
        after.subarray(1),
      ]);
    }
  }
}

test(`reads or refuses ${INPUTS} faulty sequences (PROBITY_SEED=${SEED})`, () => {
  const random = createSeededRandom(SEED);
  const met = new Map<string, number>();
  let read = 0;
  let truncated = 0;
  for (let input = 0; input < INPUTS; input++) {
    let bytes = VALID[random.between(0, VALID.length - 1)] ?? new Uint8Array();
    for (let left = random.between(1, 3); left > 0; left--) bytes = fault(bytes, random);
    const reader = createGroupReader();
    const cut = random.between(0, bytes.length);
    try {
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        for (const { group, variant, offset, bytes: { length } } of reader.push(piece)) {
          read += 1;
          if (variant === undefined) continue;
          const again = Buffer.from(encodeGroup(group, variant));
          if (!again.equals(bytes.subarray(offset, offset + length))) {
            throw new Error(`input ${input} does not come back`);
          }
        }
      }
      if (reader.pendingBytes() > 0) truncated += 1;
    } catch (error) {
      if (!(error instanceof CborFault) || error.offset > bytes.length) throw error;
      const said = error.message.replace(/^Cannot read CBOR at byte \d+: /, "");
      met.set(said, (met.get(said) ?? 0) + 1);
    }
  }
  expect(read).toBeGreaterThan(INPUTS / 50);
  expect(truncated).toBeGreaterThan(INPUTS / 100);
  const unmet = FAULTS.filter((each) => ![...met.keys()].some((said) => said.includes(each)));
  expect(unmet).toEqual([]);
  const unknown = [...met.keys()].filter((said) => !FAULTS.some((each) => said.includes(each)));
  expect(unknown).toEqual([]);
});
