/**
 * A library of one probe, made on the spot: by hitting it the agent sees whether such probes are told here.
 *
 * Invariant: its code is an instruction that does nothing and a return, and nobody else executes it.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { CallWords, Libbpf, Mapping } from "../../libbpf.ts";
import { type Libc, O_RDONLY } from "../../libc.ts";
import { makeProofFolder, PROOF_PLACES } from "../../proof-folder.ts";
import { MACHINE } from "./elf-file.ts";

/** Where it may be made: not every folder lets what is in it be executed. */
const FILE_BYTES = 4096;
const HEADER_BYTES = 64;
const SECTION_BYTES = 64;
const CODE_AT = 128;
const NOTE_AT = 160;
const NAMES_AT = 320;
const SECTIONS_AT = 384;
const NAMES = "\0.note.stapsdt\0.shstrtab\0";

interface Machine {
  readonly machine: number;
  readonly code: readonly number[];
  /** Where a function's first three arguments are. */
  readonly operands: string;
}

/** Does nothing, then returns. */
const MACHINES: Readonly<Record<string, Machine>> = {
  x64: { machine: MACHINE.x86_64, code: [0x90, 0xc3], operands: "8@%rdi 8@%rsi -8@%rdx" },
  arm64: {
    machine: MACHINE.aarch64,
    code: [0x1f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6],
    operands: "8@x0 8@x1 -8@x2",
  },
};

export interface ProofLibrary extends Disposable {
  readonly fd: number;
  readonly path: string;
  /** Hits the probe `word_data`. */
  hit(words: CallWords): void;
}

/** Throws when none can be made or executed here. */
export function openProofLibrary(libbpf: Libbpf, libc: Libc, provider: string): ProofLibrary {
  const bytes = proofLibraryBytes(provider);
  let reason = "no folder can be made";
  for (const place of PROOF_PLACES) {
    const folder = makeProofFolder(place);
    if (folder === undefined) continue;
    const path = join(folder, "proof.so");
    writeFileSync(path, bytes);
    const fd = libc.open(path, O_RDONLY);
    const mapping = fd < 0
      ? null
      : libbpf.mmap(fd, { sizeBytes: FILE_BYTES, offsetBytes: 0, access: "execute" });
    if (mapping !== null) return created(libbpf, libc, { fd, path, folder, mapping });
    reason = `"${place}" lets nothing be executed`;
    if (fd >= 0) libc.close(fd);
    rmSync(folder, { recursive: true, force: true });
  }
  throw new Error(`Cannot make a library for a proof: ${reason}`);
}

function created(
  libbpf: Libbpf,
  libc: Libc,
  { fd, path, folder, mapping }: {
    readonly fd: number;
    readonly path: string;
    readonly folder: string;
    readonly mapping: Mapping;
  },
): ProofLibrary {
  return {
    fd,
    path,
    hit: (words) => libbpf.call(mapping.address + BigInt(CODE_AT), words),
    [Symbol.dispose]() {
      libbpf.munmap(mapping);
      libc.close(fd);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Throws on a machine whose instructions are not known here. */
export function proofLibraryBytes(provider: string, arch: string = process.arch): Uint8Array {
  const machine = MACHINES[arch];
  if (machine === undefined) throw new Error(`Cannot make a library for a proof: for ${arch}`);
  const bytes = new Uint8Array(FILE_BYTES);
  const view = new DataView(bytes.buffer);
  writeHeader(view, machine.machine);
  bytes.set(machine.code, CODE_AT);
  const noteBytes = writeNote(bytes, `${provider}\0word_data\0${machine.operands}\0`);
  bytes.set(Buffer.from(NAMES, "latin1"), NAMES_AT);
  writeSection(view, 1, { name: 1, type: 7, offset: NOTE_AT, sizeBytes: noteBytes });
  writeSection(view, 2, { name: 15, type: 3, offset: NAMES_AT, sizeBytes: NAMES.length });
  return bytes;
}

/** A shared object of one segment, which is loaded whole to be executed. */
function writeHeader(view: DataView, machine: number): void {
  for (const [at, byte] of [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1].entries()) view.setUint8(at, byte);
  const words: readonly (readonly [at: number, value: number])[] = [
    [16, 3],
    [18, machine],
    [52, HEADER_BYTES],
    [54, 56],
    [56, 1],
    [58, SECTION_BYTES],
    [60, 3],
    [62, 2],
  ];
  for (const [at, value] of words) view.setUint16(at, value, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true);
  view.setBigUint64(40, BigInt(SECTIONS_AT), true);
  view.setUint32(HEADER_BYTES, 1, true);
  view.setUint32(HEADER_BYTES + 4, 5, true);
  for (const at of [32, 40]) view.setBigUint64(HEADER_BYTES + at, BigInt(FILE_BYTES), true);
  view.setBigUint64(HEADER_BYTES + 48, BigInt(FILE_BYTES), true);
}

/** Bytes of the note. */
function writeNote(bytes: Uint8Array, texts: string): number {
  const view = new DataView(bytes.buffer, NOTE_AT);
  const dataBytes = 24 + texts.length;
  const padded = Math.ceil(dataBytes / 4) * 4;
  if (20 + padded > NAMES_AT - NOTE_AT) {
    throw new Error("Cannot make a library for a proof: the provider's name is too long");
  }
  view.setUint32(0, 8, true);
  view.setUint32(4, dataBytes, true);
  view.setUint32(8, 3, true);
  bytes.set(Buffer.from("stapsdt\0", "latin1"), NOTE_AT + 12);
  view.setBigUint64(20, BigInt(CODE_AT), true);
  bytes.set(Buffer.from(texts, "latin1"), NOTE_AT + 20 + 24);
  return 20 + padded;
}

function writeSection(
  view: DataView,
  place: number,
  { name, type, offset, sizeBytes }: {
    readonly name: number;
    readonly type: number;
    readonly offset: number;
    readonly sizeBytes: number;
  },
): void {
  const at = SECTIONS_AT + place * SECTION_BYTES;
  view.setUint32(at, name, true);
  view.setUint32(at + 4, type, true);
  view.setBigUint64(at + 24, BigInt(offset), true);
  view.setBigUint64(at + 32, BigInt(sizeBytes), true);
}
