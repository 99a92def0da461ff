/**
 * Bytes of records as text for JSON lines.
 *
 * Invariant: what comes out is the inside of a JSON string (no quotes, everything escaped that must be). Bytes that are
 * not UTF-8 become the text `\xNN`, and {@link RecordText.isEscaped} says so until it is reset.
 */
import { textOfBytes } from "./byte-text.ts";

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
    const { text, isEscaped } = textOfBytes(bytes.subarray(start, end));
    if (isEscaped) this.isEscaped = true;
    return text;
  }
}

/** Length of the C string that starts at `start` and ends at the first NUL or at `end`. */
export function endOfText(bytes: Buffer, start: number, end: number): number {
  for (let at = start; at < end; at += 1) if (bytes[at] === 0) return at;
  return end;
}
