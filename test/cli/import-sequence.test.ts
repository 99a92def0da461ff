import fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createImportDeed } from "../../src/cli/import-deed.ts";
import { openImportLedger } from "../../src/cli/import-ledger.ts";
import { importSequence, type ImportSummary, OtherFile } from "../../src/cli/import-sequence.ts";
import type { AuditEvent } from "../../src/event/event.ts";
import { CBOR_VARIANTS, encodeGroup, metadataGroup } from "../../src/event/crypto/group.ts";
import { createSequenceWriter } from "../../src/event/crypto/sequence-writer.ts";
import type { Lines, LinesOptions, RingPosition } from "../../src/producer/producer.ts";
import { eventGroup } from "../event/crypto/groups.ts";

const root = mkdtempSync(join(tmpdir(), "probity-import-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;

/** A record, and a place where imports note how far they are. A process that ends leaves its lines and its mark. */
function createRecord() {
  const folder = join(root, String(++folders));
  const lines: { text: string; timeUs: number }[] = [];
  const marks: Record<string, RingPosition> = {};
  const begun: { id: string; before: number }[] = [];
  let left = Infinity;
  return {
    lines,
    /** Files that were begun, and how many lines were there before. */
    begun,
    /** Ends the process at so many chunks. */
    async run(
      bytes: Uint8Array,
      { chunks = Infinity, piece = 1_000 } = {},
    ): Promise<ImportSummary> {
      left = chunks;
      async function* input() {
        for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
      }
      return await importSequence(input(), {
        producer: {
          appendAll: ({ fields, timesUs }: Lines, { mark }: LinesOptions = {}) => {
            if (left-- <= 0) throw new Error("killed");
            fields.forEach((text, at) => lines.push({ text, timeUs: timesUs[at] ?? 0 }));
            if (mark !== undefined) marks[mark.name] = mark.position;
          },
          writable: () => Promise.resolve(),
          flush: () => Promise.resolve(),
        },
        ledger: openImportLedger(folder, marks),
        bootSeconds: () => 1_700_000_000,
        onTime: () => undefined,
        onBegin: (id) => {
          begun.push({ id, before: lines.length });
          return Promise.resolve();
        },
        room: () => Promise.resolve(),
        signal: new AbortController().signal,
      });
    },
    exported(variant: typeof CBOR_VARIANTS[number]): Buffer {
      const writer = createSequenceWriter(variant);
      const events = lines.map(({ text, timeUs }) => ({ ...JSON.parse(`{${text}`), timeUs }))
        .toSorted((a, b) => a.timeUs - b.timeUs);
      return Buffer.concat([...events.flatMap((event) => writer.push(event)), ...writer.finish()]);
    },
  };
}

const word = (key: string, value = 1n) =>
  ({ kind: "data", key, datum: { type: "word", value } }) as const;
const groupOf = (at: number, count = 1) => ({
  context: at.toString(16).padStart(32, "c"),
  ...{ startNs: BigInt(at) * 1_000_000n, endNs: BigInt(at) * 1_000_000n },
  events: Array.from({ length: count }, (_, place) => word(`tls::key_${place}`)),
});
const fileOf = (count: number, variant: typeof CBOR_VARIANTS[number] = "normal") =>
  Buffer.concat([
    encodeGroup(metadataGroup(1_600_000_000n), variant),
    ...Array.from({ length: count }, (_, at) => encodeGroup(groupOf(at + 1), variant)),
  ]);

test("what is imported is exported byte by byte, whatever the file is", async () => {
  const groups = fc.array(eventGroup, { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(
      ...[groups, fc.constantFrom(...CBOR_VARIANTS), fc.integer({ min: 1, max: 300 })],
      async (all, variant, piece) => {
        const bytes = Buffer.concat(all.map((group) => encodeGroup(group, variant)));
        const record = createRecord();
        await record.run(bytes, { piece });
        expect(record.exported(variant).equals(bytes)).toBe(true);
      },
    ),
    { numRuns: 50 },
  );
});

describe("a file", () => {
  test("that is imported twice is there once, and told so", async () => {
    const record = createRecord();
    const bytes = fileOf(20);
    expect(await record.run(bytes)).toMatchObject({ groups: 21, events: 22, known: 0 });
    expect(await record.run(bytes)).toMatchObject({ groups: 21, events: 0, known: 21 });
    expect(record.lines).toHaveLength(22);
    expect(record.begun).toMatchObject([{ before: 0 }]);
  });

  test("that has grown is taken from where it ended, also in the middle of a group", async () => {
    const record = createRecord();
    const bytes = fileOf(20);
    const cut = await record.run(bytes.subarray(0, bytes.length - 5));
    expect(cut).toMatchObject({
      groups: 20,
      leftBytes: encodeGroup(groupOf(20), "normal").length - 5,
    });
    expect(await record.run(fileOf(30))).toMatchObject({ groups: 31, events: 11, known: 20 });
    expect(record.exported("normal").equals(fileOf(30))).toBe(true);
  });

  test("that another import was interrupted in goes on, in the middle of a large group too", async () => {
    const groups = [groupOf(1), groupOf(2, 5_000), groupOf(3)];
    const bytes = Buffer.concat(groups.map((group) => encodeGroup(group, "packed")));
    const record = createRecord();
    const other = Buffer.from(encodeGroup(groupOf(9), "packed"));
    for (const chunks of [1, 1, 0]) {
      await expect(record.run(bytes, { chunks })).rejects.toThrow("killed");
    }
    const before = record.lines.length;
    expect(before).toBeGreaterThan(1_000);
    expect(before).toBeLessThan(5_000);
    await record.run(other);
    expect(await record.run(bytes)).toMatchObject({ groups: 3, events: 5_002 - before });
    expect(record.lines).toHaveLength(5_002 + 1);
  });

  test("that begins like one that was imported and goes on otherwise is refused", async () => {
    const record = createRecord();
    const bytes = fileOf(20);
    await record.run(bytes);
    const other = Buffer.from(bytes);
    other[other.length - 1] = 2;
    await expect(record.run(other)).rejects.toThrow(OtherFile);
    await expect(record.run(Buffer.concat([other, encodeGroup(groupOf(40), "packed")]))).rejects
      .toThrow(OtherFile);
    const shifted = Buffer.concat([fileOf(3), encodeGroup(groupOf(7, 40), "normal"), fileOf(30)]);
    await expect(record.run(shifted)).rejects.toThrow(/goes on otherwise before byte/);
    expect(record.lines).toHaveLength(22);
  });

  test("that is shorter than one that was imported, and another in the middle, is refused", async () => {
    const record = createRecord();
    await record.run(fileOf(20));
    const begin = fileOf(8);
    expect(await record.run(begin)).toMatchObject({ groups: 9, events: 0, known: 9 });
    const other = Buffer.from(begin);
    // The value of its last group but one.
    const at = fileOf(7).length - 1;
    other[at] = 2;
    await expect(record.run(other)).rejects.toThrow(/goes on otherwise before byte/);
    await expect(record.run(other.subarray(0, at + 1))).rejects.toThrow(OtherFile);
    expect(record.lines).toHaveLength(22);
    expect(record.begun).toHaveLength(1);
    expect(await record.run(fileOf(30))).toMatchObject({ groups: 31, events: 10, known: 21 });
    expect(await record.run(fileOf(25))).toMatchObject({ groups: 26, events: 0, known: 26 });
  });

  test("that is shorter than an import that was killed is known as far as that was noted", async () => {
    const groups = Array.from({ length: 6_000 }, (_, at) => encodeGroup(groupOf(at + 1), "packed"));
    const record = createRecord();
    await expect(record.run(Buffer.concat(groups), { chunks: 3 })).rejects.toThrow("killed");
    const before = record.lines.length;
    const short = Buffer.concat(groups.slice(0, 100));
    // What its groups were had not been written yet: then it may be another file.
    await expect(record.run(short)).rejects.toThrow(/shorter than what was imported/);
    expect(await record.run(Buffer.concat(groups))).toMatchObject({ events: 6_000 - before });
    expect(await record.run(short)).toMatchObject({ events: 0, known: 100 });
    expect(record.lines).toHaveLength(6_000);
  });

  test("without metadata has the boot time that is given, one without events has nothing", async () => {
    const record = createRecord();
    const plain = encodeGroup(groupOf(5), "minimal");
    expect(await record.run(plain)).toMatchObject({ events: 1, hasBootTime: false });
    expect(record.lines[0]?.timeUs).toBe(1_700_000_000_000_000 + 5_000);
    const alone = await record.run(Buffer.from(encodeGroup(metadataGroup(1n), "normal")));
    expect(alone).toMatchObject({ id: undefined, events: 0 });
    expect(await record.run(new Uint8Array())).toMatchObject({ id: undefined, leftBytes: 0 });
  });

  test("says of itself what is next to its first event", async () => {
    const record = createRecord();
    await record.run(fileOf(2));
    expect(record.lines.map(({ timeUs }) => timeUs - 1_600_000_000_000_000)).toEqual([
      ...[1_000, 1_000, 1_000, 2_000],
    ]);
  });
});

test("who imports is told before the first event of a file and after its last, and how it failed", async () => {
  const told: { event: AuditEvent; flushes: number }[] = [];
  let [flushes, moments] = [0, 0];
  const newDeed = () =>
    createImportDeed({
      producer: {
        emit: (event) => void told.push({ event, flushes }),
        flush: () => Promise.resolve(void (flushes += 1)),
      },
      nowUs: () => 1_000,
      onNow: () => void (moments += 1),
      ...{ by: "root@db-1", path: "a.cborseq" },
    });
  await newDeed().end({ rows: 0 });
  expect(told).toEqual([]);
  const deed = newDeed();
  await deed.begin("cborseq-1");
  // What was appended before is closed with its own time, and the deed is on disk before anything else is.
  expect({ before: told[0]?.flushes, flushes, moments }).toEqual({
    ...{ before: 1, flushes: 2, moments: 1 },
  });
  await deed.end({ rows: 5 });
  await deed.end({ error: "Cannot read CBOR" });
  const parameters = { path: "a.cborseq", service: "cborseq-1" };
  const detail = { principal: "root@db-1", action: "import", parameters };
  expect(told.map(({ event }) => event)).toMatchObject([
    { topic: "audit/admin", timeUs: 1_000, outcome: "success", detail },
    { topic: "audit/admin", outcome: "success", detail: { ...detail, rows: 5 } },
    { outcome: "failure", severity: "medium", detail: { ...detail, error: "Cannot read CBOR" } },
  ]);
});
