/**
 * Bytes that the kernel hands out (paths, names, arguments) as text. Linux names are bytes, lines are valid UTF-8: what
 * is not UTF-8 is written as `\xNN`, and then a backslash is `\x5c`, so that the bytes can be had back.
 *
 * Invariant: text with nothing escaped is exactly the bytes; the caller names escaped fields in `detail.escaped`.
 */
import { isUtf8 } from "node:buffer";

export interface ByteText {
  readonly text: string;
  readonly isEscaped: boolean;
}

const ASCII = /^[\0-\x7f]*$/;
const BACKSLASH = 0x5c;

/** Text of bytes. Whoever names files and arguments chooses them: hostile ones cost little more than others. */
export function textOfBytes(bytes: Uint8Array): ByteText {
  if (!isUtf8(bytes)) return { text: escapedTextOf(bytes), isEscaped: true };
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { text: buffer.toString("utf8"), isEscaped: false };
}

/** Text of bytes that stand beside others which are escaped: backslashes are, too, if nothing else. */
export function escapedTextOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: string[] = [];
  let plainFrom = 0;
  for (let at = 0; at < bytes.byteLength;) {
    const sizeBytes = bytes[at] === BACKSLASH ? 0 : characterBytes(bytes, at);
    if (sizeBytes > 0) {
      at += sizeBytes;
      continue;
    }
    parts.push(
      buffer.toString("utf8", plainFrom, at),
      `\\x${(bytes[at] ?? 0).toString(16).padStart(2, "0")}`,
    );
    at += 1;
    plainFrom = at;
  }
  parts.push(buffer.toString("utf8", plainFrom));
  return parts.join("");
}

/** Text of a binary string (one character per byte). */
export function textOfBinary(binary: string): ByteText {
  if (ASCII.test(binary)) return { text: binary, isEscaped: false };
  return textOfBytes(Buffer.from(binary, "latin1"));
}

/** Bytes of the UTF-8 character at a place (Unicode 15, table 3-7); 0 when there is none. */
function characterBytes(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const sizeBytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const second = bytes[at + 1] ?? 0;
  const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < lowest || second > highest) return 0;
  for (let place = at + 2; place < at + sizeBytes; place += 1) {
    const next = bytes[place] ?? 0;
    if (next < 0x80 || next > 0xbf) return 0;
  }
  return sizeBytes;
}
