import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { lineFields } from "../../../src/event/event.ts";
import { CBOR_VARIANTS, encodeGroup, metadataGroup } from "../../../src/event/crypto/group.ts";
import { createGroupEvents } from "../../../src/event/crypto/group-events.ts";
import { cryptoFields, PROOF_KEY } from "../../../src/event/crypto/record.ts";
import { createGroupReader } from "../../../src/event/crypto/sequence.ts";
import {
  createSequenceWriter,
  MixedSequence,
  type SequenceEvent,
} from "../../../src/event/crypto/sequence-writer.ts";
import { eventGroup } from "./groups.ts";

const BOOT_US = 1_771_970_837_000_000;
const CONTEXT = "2fbbb4cbef9df39583d7c747986856d5";

/** As it comes back from the record: through the text of its line. */
const recorded = (event: Parameters<typeof lineFields>[0]): SequenceEvent => ({
  ...JSON.parse(`{${lineFields(event)}`),
  timeUs: event.timeUs,
});

test("a file comes back byte by byte from its events, sorted by time", () => {
  const variant = fc.constantFrom(...CBOR_VARIANTS);
  const hasMetadata = fc.boolean();
  const groups = fc.array(eventGroup, { minLength: 1, maxLength: 6 });
  fc.assert(fc.property(groups, variant, hasMetadata, (plain, encoding, withMetadata) => {
    const all = withMetadata ? [metadataGroup(5n), ...plain] : plain;
    const made = createGroupEvents({ bootUs: BOOT_US, firstNs: plain[0]?.startNs ?? 0n });
    const events = all.flatMap((group, at) => made.next(group, { id: "ab", group: at }));
    const sorted = events.map(recorded).toSorted((a, b) => a.timeUs - b.timeUs);
    const writer = createSequenceWriter(encoding);
    const written = [...sorted.flatMap((event) => writer.push(event)), ...writer.finish()];
    expect(Buffer.concat(written).toString("hex")).toBe(
      Buffer.concat(all.map((group) => encodeGroup(group, encoding))).toString("hex"),
    );
    expect(writer.counts).toMatchObject({ skipped: 0, partial: 0, displaced: 0 });
  }));
});

describe("events of probes", () => {
  const told = (timeUs: number, sinceBootNs: bigint, more: Partial<SequenceEvent> = {}) =>
    recorded({
      ...{ timeUs, exe: "/usr/bin/curl" },
      ...cryptoFields({
        ...{ context: CONTEXT, sinceBootNs },
        fact: { kind: "context", parent: CONTEXT },
      }, { origin: "00ff" }),
      ...more,
    });
  const written = (...events: readonly SequenceEvent[]) => {
    const writer = createSequenceWriter("packed");
    const bytes = Buffer.concat([
      ...events.flatMap((event) => writer.push({ host: "h", ...event })),
      ...writer.finish(),
    ]);
    const groups = [...createGroupReader().push(bytes)].map(({ group }) => group);
    return { groups, counts: writer.counts };
  };

  test("stand alone, after the metadata of their boot", () => {
    const { groups } = written(told(BOOT_US + 7, 7_999n));
    expect(groups).toEqual([
      metadataGroup(BigInt(BOOT_US / 1_000_000)),
      {
        ...{ context: CONTEXT, startNs: 7_999n, endNs: 7_999n },
        events: [{
          ...{ kind: "context", parent: CONTEXT, origin: "00ff" },
          executable: Buffer.from("curl").toString("hex"),
        }],
      },
    ]);
  });

  test("of a later boot are told as if the first one went on, and a corrected clock is no boot", () => {
    const { groups } = written(
      told(BOOT_US + 5_000_000, 5_000_000_000n),
      told(BOOT_US + 9_000_000, 8_000_000_000n),
      told(BOOT_US + 100_000_000, 1_000_000_000n),
    );
    expect(groups.slice(1).map(({ startNs }) => startNs)).toEqual([
      5_000_000_000n,
      8_000_000_000n,
      100_000_000_000n,
    ]);
  });

  test("of other hosts, and of files, are refused beside them", () => {
    const first = told(BOOT_US, 0n);
    expect(() => written(first, { ...first, host: "other" })).toThrow(MixedSequence);
    const sequence = { id: "ab", group: 0, index: 0, size: 1 };
    const imported = { ...first, detail: { ...first.detail, sequence } };
    expect(() => written(first, imported)).toThrow(/both probes of host "h" and file ab/);
  });

  test("that are none are counted, and an agent's proofs to itself are none", () => {
    expect(written({ timeUs: 0, context: "short" }).counts.skipped).toBe(1);
    const datum = { type: "word", value: 1n } as const;
    const proof = cryptoFields({
      ...{ context: CONTEXT, sinceBootNs: 1n },
      fact: { kind: "data", key: PROOF_KEY, datum },
    }, {});
    const { groups, counts } = written(recorded({ timeUs: BOOT_US, ...proof }));
    expect([groups, counts.skipped]).toEqual([[], 0]);
  });
});

test("groups of which events are missing are told, and do not hold up the rest for ever", () => {
  const made = createGroupEvents({ bootUs: BOOT_US, firstNs: 0n });
  const group = {
    ...{ context: CONTEXT, startNs: 1n, endNs: 1n },
    events: ["a", "b"].map((key) =>
      ({ kind: "data", key, datum: { type: "word", value: 1n } }) as const
    ),
  };
  const writer = createSequenceWriter("packed");
  const [, lone] = made.next(group, { id: "ab", group: 3 });
  const written = lone === undefined ? [] : [...writer.push(recorded(lone))];
  for (let at = 4; at < 20_000; at++) {
    for (const event of made.next(group, { id: "ab", group: at })) {
      written.push(...writer.push(recorded(event)));
    }
  }
  expect(written.length).toBeGreaterThan(3_000);
  written.push(...writer.finish());
  expect(written).toHaveLength(20_000 - 3);
  expect(writer.counts).toMatchObject({ partial: 1, displaced: 0, groups: 19_997 });
});
