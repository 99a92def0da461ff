/**
 * What all decoders share: whether bytes are a record, its numbers, and the text of its time.
 *
 * Invariant: nothing is read outside the record. Lengths that a record claims are checked against the length that the
 * ring gives it before any field is used.
 */
import { HEADER, HEADER_BYTES, RECORD_VERSION } from "./record-layout.ts";
import type { RecordMemory } from "./ring-buffer.ts";

export const WORD = 4294967296;
/** What the kernel says for "not set". */
export const UNSET = 4294967295;

/** Kind of the record at an offset; 0 when the bytes are no record of this version. */
export function kindOf({ words, bytes }: RecordMemory, offset: number, length: number): number {
  if (length < HEADER_BYTES || words[(offset + HEADER.length) >> 2] !== length) return 0;
  return bytes[offset + HEADER.version] === RECORD_VERSION ? bytes[offset + HEADER.kind] ?? 0 : 0;
}

export function flagsOf({ bytes }: RecordMemory, offset: number): number {
  const at = offset + HEADER.flags;
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}

/** A 32-bit number at a byte offset, which must be a multiple of 4. */
export function u32(words: Uint32Array, at: number): number {
  return words[at >> 2] ?? 0;
}

export function u16(words: Uint32Array, at: number): number {
  const word = words[at >> 2] ?? 0;
  return (at & 2) === 0 ? word & 0xffff : word >>> 16;
}

/** A 64-bit number at a byte offset; exact below 2^53, close above. */
export function u64(words: Uint32Array, at: number): number {
  return (words[(at >> 2) + 1] ?? 0) * WORD + (words[at >> 2] ?? 0);
}

/** A 64-bit number as decimal text, exact. */
export function u64Text(words: Uint32Array, at: number): string {
  const value = u64(words, at);
  if (Number.isSafeInteger(value)) return String(value);
  return String((BigInt(words[(at >> 2) + 1] ?? 0) << 32n) | BigInt(words[at >> 2] ?? 0));
}

/** Boot time of a record, ns. */
export function timeNsOf(words: Uint32Array, offset: number): number {
  return u64(words, offset + HEADER.time_ns);
}

/** Device number of the kernel (major << 20 | minor) as `major:minor`. */
export function deviceText(device: number): string {
  return `${device >>> 20}:${device & 0xfffff}`;
}

/** Mode of a file in octal, as stat shows it: `0100644`. */
export function modeText(mode: number): string {
  return `0${mode.toString(8)}`;
}

const DIGITS = Array.from({ length: 1000 }, (_, number) => String(number).padStart(3, "0"));

/** A function that formats times as `formatTime` does, quicker for times that are close to each other. */
export function createTimeText(): (timeUs: number) => string {
  let second = NaN;
  let prefix = "";
  return (timeUs) => {
    const wholeSecond = Math.floor(timeUs / 1_000_000);
    if (wholeSecond !== second) {
      second = wholeSecond;
      prefix = new Date(wholeSecond * 1000).toISOString().slice(0, 20);
    }
    const rest = timeUs - wholeSecond * 1_000_000;
    const milliseconds = Math.floor(rest / 1000);
    return `${prefix}${DIGITS[milliseconds]}${DIGITS[rest - milliseconds * 1000]}Z`;
  };
}
