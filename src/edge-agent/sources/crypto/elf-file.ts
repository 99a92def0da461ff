/**
 * ELF files, little endian, as far as probes ask: segments, sections by name, the build id (System V ABI,
 * chapters 4 and 5).
 *
 * Invariants: whoever may run a program may make us read it, so nothing a file claims is believed: no read is longer than
 * a named limit, no place lies outside the file, and a file that claims nonsense is refused with {@link ElfError}.
 */

/** Reads at a place: as many bytes as there are, at most `length`. */
export interface FileBytes {
  readonly sizeBytes: number;
  read(offset: number, length: number): Uint8Array;
}

export interface Segment {
  readonly type: number;
  readonly isExecutable: boolean;
  readonly isWritable: boolean;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
}

export interface Section {
  readonly name: string;
  readonly type: number;
  readonly address: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface ElfFile {
  readonly bits: 32 | 64;
  readonly machine: number;
  readonly segments: readonly Segment[];
  readonly sections: readonly Section[];
}

export interface Note {
  readonly owner: string;
  readonly type: number;
  readonly data: DataView<ArrayBuffer>;
}

/** The file is not what it says, or more than is read. */
export class ElfError extends Error {}

export const MACHINE = { x86_64: 62, aarch64: 183 } as const;
const HEADER_BYTES_MAX = 64;

/** Where the fields lie, in bytes. A `word` has as many bits as addresses. */
interface Layout {
  readonly bits: 32 | 64;
  readonly headerBytes: number;
  readonly header: Readonly<
    Record<"segments" | "sections" | "segmentBytes" | "sectionBytes" | "names", number>
  >;
  readonly segmentBytes: number;
  readonly segment: Readonly<Record<"flags" | "offset" | "address" | "fileBytes", number>>;
  readonly sectionBytes: number;
  readonly section: Readonly<Record<"address" | "offset" | "sizeBytes", number>>;
}

const LAYOUTS: readonly Layout[] = [{
  bits: 32,
  headerBytes: 52,
  header: { segments: 28, sections: 32, segmentBytes: 42, sectionBytes: 46, names: 50 },
  segmentBytes: 32,
  segment: { flags: 24, offset: 4, address: 8, fileBytes: 16 },
  sectionBytes: 40,
  section: { address: 12, offset: 16, sizeBytes: 20 },
}, {
  bits: 64,
  headerBytes: 64,
  header: { segments: 32, sections: 40, segmentBytes: 54, sectionBytes: 58, names: 62 },
  segmentBytes: 56,
  segment: { flags: 4, offset: 8, address: 16, fileBytes: 32 },
  sectionBytes: 64,
  section: { address: 16, offset: 24, sizeBytes: 32 },
}];
/** Far more than a linker makes. */
const SEGMENTS_MAX = 256;
const SECTIONS_MAX = 4096;
const NAMES_BYTES_MAX = 1024 * 1024;
const SECTION_NAME_BYTES_MAX = 256;
/** Notes of one section or segment that are read, in bytes. */
export const NOTES_BYTES_MAX = 1024 * 1024;
export const BUILD_ID_BYTES_MAX = 64;
/** Segments that are looked at for the build id, and the largest, in bytes: linkers make three, below a kilobyte. */
const NOTE_SEGMENTS_MAX = 8;
const NOTE_SEGMENT_BYTES_MAX = 64 * 1024;
const PT_NOTE = 4;
const PT_LOAD = 1;
const PF_X = 1;
const PF_W = 2;
const SHT_NOBITS = 8;
const NT_GNU_BUILD_ID = 3;

/** Undefined when the file is no ELF file at all. */
export function readElf(file: FileBytes): ElfFile | undefined {
  const start = file.read(0, HEADER_BYTES_MAX);
  if (start.length < 4 || String.fromCharCode(...start.subarray(0, 4)) !== "\x7fELF") {
    return undefined;
  }
  // The class is 1 or 2, and so is the order of bytes: 1 has the lowest first.
  const layout = start[5] === 1 ? LAYOUTS[(start[4] ?? 0) - 1] : undefined;
  if (start.length < 6 || start.length < (layout?.headerBytes ?? 0)) {
    throw new ElfError("Cannot read ELF file: its header is cut");
  }
  if (layout === undefined) {
    throw new ElfError("Cannot read ELF file: not of 32 or 64 bits, little endian");
  }
  const header = viewOf(start);
  return {
    bits: layout.bits,
    machine: header.getUint16(18, true),
    segments: readSegments(file, { header, layout }),
    sections: readSections(file, { header, layout }),
  };
}

export function isLoaded({ type }: Segment): boolean {
  return type === PT_LOAD;
}

/** The build id that the linker left, empty when there is none. */
export function readBuildId(file: FileBytes, { segments }: ElfFile): Uint8Array {
  const noted = segments.filter(({ type, fileBytes }) =>
    type === PT_NOTE && fileBytes <= NOTE_SEGMENT_BYTES_MAX
  );
  for (const { offset, fileBytes } of noted.slice(0, NOTE_SEGMENTS_MAX)) {
    for (const { owner, type, data } of notesIn(bytesAt(file, offset, fileBytes))) {
      const isBuildId = owner === "GNU" && type === NT_GNU_BUILD_ID;
      if (isBuildId && data.byteLength > 0 && data.byteLength <= BUILD_ID_BYTES_MAX) {
        return new Uint8Array(
          data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength),
        );
      }
    }
  }
  return new Uint8Array(0);
}

/** Content of a section, at most `bytesMax` bytes of it. */
export function readSection(file: FileBytes, section: Section, bytesMax: number): Uint8Array {
  const { name, type, offset, sizeBytes } = section;
  if (type === SHT_NOBITS) return new Uint8Array(0);
  if (sizeBytes > bytesMax) {
    throw new ElfError(`Cannot read section "${name}": it has more than ${bytesMax} bytes`);
  }
  return bytesAt(file, offset, sizeBytes);
}

/** Notes one after the other, each aligned to 4 bytes; what is cut ends them. */
export function* notesIn(bytes: Uint8Array): Generator<Note> {
  const view = viewOf(bytes);
  for (let at = 0; at + 12 <= bytes.length;) {
    const nameBytes = view.getUint32(at, true);
    const dataBytes = view.getUint32(at + 4, true);
    const dataAt = at + 12 + aligned(nameBytes);
    const end = dataAt + dataBytes;
    if (end > bytes.length) return;
    const name = bytes.subarray(at + 12, at + 12 + Math.max(0, nameBytes - 1));
    yield {
      owner: Buffer.from(name).toString("latin1"),
      type: view.getUint32(at + 8, true),
      data: new DataView(view.buffer, view.byteOffset + dataAt, dataBytes),
    };
    at = dataAt + aligned(dataBytes);
  }
}

interface Headed {
  readonly header: DataView;
  readonly layout: Layout;
}

function readSegments(file: FileBytes, { header, layout }: Headed): readonly Segment[] {
  const { bits, header: places, segmentBytes, segment } = layout;
  const count = header.getUint16(places.segmentBytes + 2, true);
  if (count === 0) return [];
  if (header.getUint16(places.segmentBytes, true) !== segmentBytes || count > SEGMENTS_MAX) {
    throw new ElfError("Cannot read ELF file: its segments are not as they should be");
  }
  const from = wordAt(header, places.segments, bits);
  const table = viewOf(bytesAt(file, from, count * segmentBytes));
  return Array.from({ length: count }, (_each, place): Segment => {
    const at = place * segmentBytes;
    const flags = table.getUint32(at + segment.flags, true);
    return {
      type: table.getUint32(at, true),
      isExecutable: (flags & PF_X) !== 0,
      isWritable: (flags & PF_W) !== 0,
      offset: wordAt(table, at + segment.offset, bits),
      address: wordAt(table, at + segment.address, bits),
      fileBytes: wordAt(table, at + segment.fileBytes, bits),
    };
  });
}

function readSections(file: FileBytes, { header, layout }: Headed): readonly Section[] {
  const { bits, header: places, sectionBytes, section } = layout;
  const count = header.getUint16(places.sectionBytes + 2, true);
  if (count === 0) return [];
  const namesPlace = header.getUint16(places.names, true);
  const isSane = header.getUint16(places.sectionBytes, true) === sectionBytes &&
    count <= SECTIONS_MAX && namesPlace < count;
  if (!isSane) throw new ElfError("Cannot read ELF file: its sections are not as they should be");
  const table = viewOf(bytesAt(file, wordAt(header, places.sections, bits), count * sectionBytes));
  const placeOf = (at: number): Pick<Section, "address" | "offset" | "sizeBytes"> => ({
    address: wordAt(table, at + section.address, bits),
    offset: wordAt(table, at + section.offset, bits),
    sizeBytes: wordAt(table, at + section.sizeBytes, bits),
  });
  const namesAt = placeOf(namesPlace * sectionBytes);
  if (namesAt.sizeBytes > NAMES_BYTES_MAX) {
    throw new ElfError(`Cannot read ELF file: names of more than ${NAMES_BYTES_MAX} bytes`);
  }
  const names = bytesAt(file, namesAt.offset, namesAt.sizeBytes);
  return Array.from({ length: count }, (_each, place): Section => {
    const at = place * sectionBytes;
    return {
      name: textAt(names, table.getUint32(at, true)),
      type: table.getUint32(at + 4, true),
      ...placeOf(at),
    };
  });
}

/** Exactly these bytes. */
function bytesAt(file: FileBytes, offset: number, length: number): Uint8Array {
  if (offset + length > file.sizeBytes) {
    throw new ElfError("Cannot read ELF file: it ends before what it says it holds");
  }
  const bytes = file.read(offset, length);
  if (bytes.length !== length) throw new ElfError("Cannot read ELF file: it was cut meanwhile");
  return bytes;
}

/** Text up to a NUL; empty when it begins outside. */
function textAt(names: Uint8Array, from: number): string {
  const end = names.indexOf(0, from);
  if (from >= names.length || end < 0) return "";
  return Buffer.from(names.subarray(from, Math.min(end, from + SECTION_NAME_BYTES_MAX)))
    .toString("latin1");
}

/** A number of so many bits. Places of real files are far below 2^53. */
function wordAt(view: DataView, at: number, bits: 32 | 64): number {
  const value = bits === 32 ? BigInt(view.getUint32(at, true)) : view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ElfError("Cannot read ELF file: a place in it is beyond every file");
  }
  return Number(value);
}

function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  const copy = bytes.slice();
  return new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
}

function aligned(size: number): number {
  return Math.ceil(size / 4) * 4;
}
