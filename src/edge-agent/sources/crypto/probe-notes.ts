/**
 * Probes that a file declares: notes of SystemTap's form (USDT), with the places in the file where the kernel breaks in.
 * Form: the notes that sys/sdt.h makes, version 3.
 *
 * Invariants: a place is told only when it lies in a segment that is loaded to be executed, its semaphore only in one
 * that is loaded to be written; a note that says anything else is counted and left out.
 */
import {
  ElfError,
  type ElfFile,
  type FileBytes,
  isLoaded,
  type Note,
  NOTES_BYTES_MAX,
  notesIn,
  readBuildId,
  readElf,
  readSection,
  type Segment,
} from "./elf-file.ts";

const NOTES_SECTION = ".note.stapsdt";
const BASE_SECTION = ".stapsdt.base";
const OWNER = "stapsdt";
const NOTE_TYPE = 3;
/** Place, base and semaphore stand before the texts. */
const ADDRESSES = [0, 1, 2] as const;
/** Notes that are looked at, in one file; the largest known library has some thousand. */
const NOTES_MAX = 16_384;

export interface ProbeNote {
  readonly provider: string;
  readonly name: string;
  /** Where the arguments are, as the assembler wrote it. */
  readonly arguments: string;
  /** In bytes from the beginning of the file; `semaphore`: 0 for none. */
  readonly offset: number;
  readonly semaphore: number;
}

export interface ProbeFile {
  readonly bits: 32 | 64;
  readonly machine: number;
  readonly buildId: Uint8Array;
  readonly probes: readonly ProbeNote[];
  /** Notes that make no sense. */
  readonly unreadable: number;
}

/** Undefined when it is no ELF file. Throws {@link ElfError} for one that makes no sense. */
export function readProbeFile(file: FileBytes): ProbeFile | undefined {
  const elf = readElf(file);
  if (elf === undefined) return undefined;
  const found = readNotes(file, elf);
  return {
    bits: elf.bits,
    machine: elf.machine,
    // Who asks for probes wants to know the file; of all others it would be read in vain.
    buildId: found.probes.length === 0 ? new Uint8Array(0) : readBuildId(file, elf),
    ...found,
  };
}

function readNotes(
  file: FileBytes,
  { bits, sections, segments }: ElfFile,
): Pick<ProbeFile, "probes" | "unreadable"> {
  const section = sections.find(({ name }) => name === NOTES_SECTION);
  if (section === undefined) return { probes: [], unreadable: 0 };
  const base = sections.find(({ name }) => name === BASE_SECTION)?.address;
  const probes: ProbeNote[] = [];
  let [seen, unreadable] = [0, 0];
  for (const note of notesIn(readSection(file, section, NOTES_BYTES_MAX))) {
    seen += 1;
    if (seen > NOTES_MAX) throw new ElfError(`Cannot read probes: more than ${NOTES_MAX} notes`);
    if (note.owner !== OWNER || note.type !== NOTE_TYPE) continue;
    const probe = probeOf(note, { bits, base, segments, sizeBytes: file.sizeBytes });
    if (probe === undefined) unreadable += 1;
    else probes.push(probe);
  }
  return { probes, unreadable };
}

function probeOf(
  { data }: Note,
  { bits, base, segments, sizeBytes }: {
    readonly bits: 32 | 64;
    readonly base: number | undefined;
    readonly segments: readonly Segment[];
    readonly sizeBytes: number;
  },
): ProbeNote | undefined {
  const addressBytes = bits / 8;
  const textsAt = ADDRESSES.length * addressBytes;
  if (data.byteLength < textsAt) return undefined;
  const [at, noteBase, semaphoreAt] = ADDRESSES.map((place) =>
    bits === 32
      ? BigInt(data.getUint32(place * addressBytes, true))
      : data.getBigUint64(place * addressBytes, true)
  );
  if (at === undefined || noteBase === undefined || semaphoreAt === undefined) return undefined;
  // A file whose addresses were changed after it was linked (prelink) tells by how much.
  const moved = base === undefined ? 0n : BigInt(base) - noteBase;
  const texts = textsOf(data, textsAt);
  const placed = (address: bigint, candidates: readonly Segment[]): number | undefined => {
    const place = placeOf(address, candidates);
    return place !== undefined && place < sizeBytes ? place : undefined;
  };
  const offset = placed(at + moved, segments.filter(({ isExecutable }) => isExecutable));
  const semaphore = semaphoreAt === 0n
    ? 0
    : placed(semaphoreAt + moved, segments.filter(({ isWritable }) => isWritable));
  if (texts === undefined || offset === undefined || semaphore === undefined) return undefined;
  return { ...texts, offset, semaphore };
}

function textsOf(
  { buffer, byteOffset, byteLength }: DataView,
  from: number,
): Pick<ProbeNote, "provider" | "name" | "arguments"> | undefined {
  const texts = Buffer.from(buffer, byteOffset + from, byteLength - from).toString("latin1");
  const [provider, name, found, ...rest] = texts.split("\0");
  if (!provider || !name || found === undefined || rest.length === 0) return undefined;
  return { provider, name, arguments: found };
}

/** Place in the file of an address; undefined when none of the segments brings it from the file. */
function placeOf(address: bigint, segments: readonly Segment[]): number | undefined {
  for (const segment of segments) {
    if (!isLoaded(segment)) continue;
    const within = address - BigInt(segment.address);
    if (within < 0n || within >= BigInt(segment.fileBytes)) continue;
    const place = Number(within) + segment.offset;
    return Number.isSafeInteger(place) ? place : undefined;
  }
  return undefined;
}
