/**
 * Bytes that the kernel hands out (paths, names, arguments) as text. Linux names are bytes, lines are valid UTF-8: what
 * is not UTF-8 is written as `\xNN`, and then a backslash is `\x5c`, so that the bytes can be had back.
 *
 * Invariant: text with nothing escaped is exactly the bytes; the caller names escaped fields in `detail.escaped`.
 */

export interface ByteText {
  readonly text: string;
  readonly isEscaped: boolean;
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ASCII = /^[\0-\x7f]*$/;

/** Text of bytes. */
export function textOfBytes(bytes: Uint8Array): ByteText {
  const whole = decode(bytes);
  if (whole !== undefined) return { text: whole, isEscaped: false };
  const parts: string[] = [];
  for (let at = 0; at < bytes.byteLength;) {
    const sizeBytes = characterBytes(bytes[at] ?? 0);
    const character = decode(bytes.subarray(at, at + sizeBytes));
    if (character === undefined || character === "\\") {
      parts.push(`\\x${(bytes[at] ?? 0).toString(16).padStart(2, "0")}`);
      at += 1;
    } else {
      parts.push(character);
      at += sizeBytes;
    }
  }
  return { text: parts.join(""), isEscaped: true };
}

/** Text of a binary string (one character per byte). */
export function textOfBinary(binary: string): ByteText {
  if (ASCII.test(binary)) return { text: binary, isEscaped: false };
  return textOfBytes(Buffer.from(binary, "latin1"));
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Bytes of the UTF-8 character that a first byte opens; 1 for a byte that opens none. */
function characterBytes(first: number): number {
  if (first >= 0xf0) return 4;
  if (first >= 0xe0) return 3;
  return first >= 0xc0 ? 2 : 1;
}
