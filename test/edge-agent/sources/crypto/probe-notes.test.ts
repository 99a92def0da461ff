import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ElfError,
  type FileBytes,
  MACHINE,
} from "../../../../src/edge-agent/sources/crypto/elf-file.ts";
import { readProbeFile } from "../../../../src/edge-agent/sources/crypto/probe-notes.ts";
import { encodeSite, sitesOf } from "../../../../src/edge-agent/sources/crypto/probe-sites.ts";
import { proofLibraryBytes } from "../../../../src/edge-agent/sources/crypto/proof-library.ts";

const LIBRARY = proofLibraryBytes("some_provider", "x64");
const CODE_AT = 128;
const NOTE_AT = 160;
const SECTION_AT = 384 + 64;
const PROBE = {
  provider: "some_provider",
  name: "word_data",
  arguments: "8@%rdi 8@%rsi -8@%rdx",
  offset: CODE_AT,
  semaphore: 0,
};

/** Fails when more is read than there is, or than anybody needs. */
function fileOf(bytes: Uint8Array): FileBytes & { readonly readBytes: () => number } {
  let readBytes = 0;
  return {
    sizeBytes: bytes.length,
    read(offset, length) {
      expect(offset).toBeGreaterThanOrEqual(0);
      expect(length).toBeLessThanOrEqual(1024 * 1024);
      const read = bytes.slice(offset, offset + length);
      readBytes += read.length;
      return read;
    },
    readBytes: () => readBytes,
  };
}

/** The library with some of its bytes changed. */
function changed(write: (view: DataView) => void): FileBytes {
  const bytes = LIBRARY.slice();
  write(new DataView(bytes.buffer));
  return fileOf(bytes);
}

describe("probes that a file declares", () => {
  it("are found with their places and arguments", () => {
    const found = readProbeFile(fileOf(LIBRARY));
    expect(found).toMatchObject({ machine: MACHINE.x86_64, probes: [PROBE], unreadable: 0 });
    expect(found && sitesOf(found, "some_provider").sites).toHaveLength(1);
    expect(found && sitesOf(found, "another").sites).toEqual([]);
  });

  it("are found in a file of 32 bits, too, and said to be unattached", () => {
    const bytes = new Uint8Array(4096);
    const view = new DataView(bytes.buffer);
    const texts = Buffer.from(
      ["some_provider", "word_data", "4@%eax 4@%ebx -4@%ecx", ""].join("\0"),
    );
    const words: readonly (readonly [at: number, value: number])[] = [
      ...[[0, 0x464c457f], [4, 0x010101]] as const,
      // Header: machine, segments, sections.
      ...[[16, 3 | 3 << 16], [28, 52], [32, 512], [42, 32 | 1 << 16], [46, 40 | 3 << 16], [50, 2]],
      // The segment: to be loaded and executed, all of the file.
      ...[[52, 1], [56, 0], [60, 0], [68, 4096], [76, 5]],
      // The note: its place, base and counter, then texts.
      ...[[160, 8], [164, 12 + texts.length], [168, 3], [180, 128], [184, 0], [188, 0]],
      // Sections: notes, names.
      ...[[552, 1], [556, 7], [568, 160], [572, 20 + 12 + texts.length], [592, 15], [608, 320]],
      [612, 25],
    ].map(([at = 0, value = 0]) => [at, value] as const);
    for (const [at, value] of words) view.setUint32(at, value, true);
    bytes.set(Buffer.from("stapsdt\0"), 172);
    bytes.set(texts, 192);
    bytes.set(Buffer.from("\0.note.stapsdt\0.shstrtab\0"), 320);
    const found = readProbeFile(fileOf(bytes));
    expect(found).toMatchObject({
      bits: 32,
      machine: 3,
      probes: [{ provider: "some_provider", name: "word_data", offset: 128, semaphore: 0 }],
      unreadable: 0,
    });
    const faults = ["it is a file of 32 bits, whose probes cannot be attached"];
    expect(found && sitesOf(found, "some_provider")).toEqual({ sites: [], faults });
    expect(found && sitesOf(found, "another")).toEqual({ sites: [], faults: [] });
  });

  it("are none of what is no ELF file, or is one of nothing", () => {
    expect(readProbeFile(fileOf(new Uint8Array(0)))).toBeUndefined();
    expect(readProbeFile(fileOf(Buffer.from("#!/bin/sh\n")))).toBeUndefined();
    expect(readProbeFile(changed((view) => view.setUint16(60, 0, true)))?.probes).toEqual([]);
  });

  it.each<[string, RegExp, (view: DataView) => void]>([
    ["of another width", /32 or 64 bits/, (view) => view.setUint8(4, 3)],
    ["of the other order of bytes", /little endian/, (view) => view.setUint8(5, 2)],
    ["with segments of another size", /segments/, (view) => view.setUint16(54, 55, true)],
    ["with too many sections", /sections/, (view) => view.setUint16(60, 0xfff0, true)],
    ["with names that are none of its sections", /sections/, (view) => view.setUint16(62, 9, true)],
    ["whose sections lie outside", /ends before/, (view) => view.setUint32(40, 1 << 30, true)],
    [
      "whose notes lie outside",
      /ends before/,
      (view) => view.setUint32(SECTION_AT + 24, 4090, true),
    ],
    [
      "whose notes are too long",
      /more than/,
      (view) => view.setUint32(SECTION_AT + 32, 1 << 30, true),
    ],
    [
      "with a place beyond all files",
      /beyond/,
      (view) => view.setUint32(SECTION_AT + 28, -1, true),
    ],
  ])("are refused of a file %s", (_name, message, write) => {
    expect(() => readProbeFile(changed(write))).toThrow(message);
    expect(() => readProbeFile(changed(write))).toThrow(ElfError);
  });

  it.each<[string, (view: DataView) => void]>([
    ["beyond its segment", (view) => view.setUint32(NOTE_AT + 20, 5000, true)],
    ["where nothing is executed", (view) => view.setUint32(64 + 4, 6, true)],
    ["with a counter where nothing is written", (view) => view.setUint32(NOTE_AT + 36, 200, true)],
    ["without texts", (view) => view.setUint32(NOTE_AT + 4, 24, true)],
    ["shorter than its addresses", (view) => view.setUint32(NOTE_AT + 4, 8, true)],
  ])("are left out and counted, %s", (_name, write) => {
    expect(readProbeFile(changed(write))).toMatchObject({ probes: [], unreadable: 1 });
  });

  it("cost no more than a few reads, however many notes a file claims to have", () => {
    const bytes = Buffer.alloc(1024 * 1024);
    bytes.set(LIBRARY);
    // 249 segments of notes that all lie over the whole file, after the one.
    const tableAt = LIBRARY.length;
    for (let place = 0; place < 250; place += 1) {
      const at = tableAt + place * 56;
      bytes.set(LIBRARY.subarray(64, 64 + 56), at);
      if (place === 0) continue;
      bytes.writeUInt32LE(4, at);
      bytes.writeBigUInt64LE(0n, at + 8);
      bytes.writeBigUInt64LE(BigInt(bytes.length), at + 32);
    }
    bytes.writeBigUInt64LE(BigInt(tableAt), 32);
    bytes.writeUInt16LE(250, 56);
    const file = fileOf(bytes);
    expect(readProbeFile(file)?.probes).toHaveLength(1);
    expect(file.readBytes()).toBeLessThan(2 * 1024 * 1024);
  });

  it("are never read out of bounds, or without an end, of a file that was tampered with", () => {
    const offsets = fc.oneof(fc.nat(LIBRARY.length - 1), fc.integer({ min: 0, max: 600 }));
    const value = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
    const changes = fc.array(fc.tuple(offsets, value), { minLength: 1, maxLength: 12 });
    const cut = fc.oneof(fc.constant(LIBRARY.length), fc.nat(LIBRARY.length));
    fc.assert(
      fc.property(changes, cut, (list, length) => {
        const bytes = LIBRARY.slice(0, length);
        for (const [at, byte] of list) if (at < length) bytes[at] = byte;
        const file = fileOf(bytes);
        try {
          const found = readProbeFile(file);
          for (const { offset, semaphore } of found?.probes ?? []) {
            expect(offset).toBeLessThan(length);
            expect(semaphore).toBeLessThan(length);
          }
          for (const site of found === undefined ? [] : sitesOf(found, "some_provider").sites) {
            encodeSite(site, { file: 1, group: 0 });
          }
        } catch (error) {
          if (!(error instanceof ElfError)) throw error;
        }
        expect(file.readBytes()).toBeLessThan(8 * 1024 * 1024);
      }),
      { numRuns: 2000 },
    );
  });
});
