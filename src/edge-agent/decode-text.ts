/**
 * Bytes of records as text for JSON lines.
 *
 * Invariant: what comes out is the inside of a JSON string (no quotes, everything escaped that must be). Bytes that are
 * not UTF-8 become the text `\xNN`, and {@link RecordText.isEscaped} says so until it is reset.
 */
import { isUtf8 } from "node:buffer";

/** Characters that stand for themselves in JSON, as one byte each. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/** Whether a text is its own JSON form. */
export function isPlain(text: string): boolean {
  return PLAIN.test(text);
}

/** The inside of the JSON string of a text. */
export function jsonInner(text: string): string {
  return PLAIN.test(text) ? text : JSON.stringify(text.toWellFormed()).slice(1, -1);
}

export class RecordText {
  /** Whether a text read since this was last set to false had bytes that are not UTF-8. */
  isEscaped = false;

  /** The bytes from `start` to before `end`, as the inside of a JSON string. */
  json(bytes: Buffer, start: number, end: number): string {
    const text = bytes.toString("latin1", start, end);
    return PLAIN.test(text) ? text : JSON.stringify(this.text(bytes, start, end)).slice(1, -1);
  }

  /** The bytes from `start` to before `end`, as text. */
  text(bytes: Buffer, start: number, end: number): string {
    const part = bytes.subarray(start, end);
    if (isUtf8(part)) return part.toString("utf8");
    this.isEscaped = true;
    return escapeInvalid(part);
  }
}

/** UTF-8 text of bytes, in which each byte that belongs to no character is written as `\xNN`. */
export function escapeInvalid(bytes: Buffer): string {
  const parts: string[] = [];
  let validFrom = 0;
  let at = 0;
  while (at < bytes.length) {
    const length = characterLength(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    if (at > validFrom) parts.push(bytes.toString("utf8", validFrom, at));
    parts.push(`\\x${(bytes[at] ?? 0).toString(16).padStart(2, "0")}`);
    at += 1;
    validFrom = at;
  }
  if (at > validFrom) parts.push(bytes.toString("utf8", validFrom, at));
  return parts.join("");
}

/** Bytes of the UTF-8 character that starts at a place (Unicode 15, table 3-7), 0 when none does. */
function characterLength(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const second = bytes[at + 1] ?? 0;
  const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < lowest || second > highest) return 0;
  for (let place = at + 2; place < at + length; place += 1) {
    const next = bytes[place] ?? 0;
    if (next < 0x80 || next > 0xbf) return 0;
  }
  return length;
}

/** Length of the C string that starts at `start` and ends at the first NUL or at `end`. */
export function endOfText(bytes: Buffer, start: number, end: number): number {
  for (let at = start; at < end; at += 1) if (bytes[at] === 0) return at;
  return end;
}
