/**
 * Lines as the bytes of NDJSON, each with its place in the batch.
 *
 * Invariant: what comes out is `{"idx":n,` and the text of the n-th line, in UTF-8, for each line, ended by LF.
 */

/** Bytes before a line's number; what is behind it are a comma, and LF at the line's end. */
const HEAD = Buffer.from('{"idx":');
const ZERO = 0x30;
const COMMA = 0x2c;
const LINE_FEED = 0x0a;
/** The most bytes that surround a line's text: {@link HEAD}, a number, comma and LF. */
const AROUND_BYTES = HEAD.length + 10 + 2;
/** The most bytes of one UTF-16 unit. */
const UNIT_BYTES_MAX = 3;

/**
 * Written line by line: one text of all lines is a tree of thousands of pieces, which takes the engine four times as long
 * to put together and encode (Node 24).
 */
export function ndjsonOf(fields: readonly string[]): Uint8Array {
  const longest = fields.reduce((most, text) => Math.max(most, text.length), 0);
  // With it there is room for a line of any text until the last, unless one before was not ASCII.
  const spareBytes = longest * (UNIT_BYTES_MAX - 1);
  let bytes: Buffer = Buffer.allocUnsafeSlow(roomFor(fields, (text) => text.length) + spareBytes);
  let at = 0;
  for (let idx = 0; idx < fields.length; idx += 1) {
    const text = fields[idx] ?? "";
    if (bytes.length - at < AROUND_BYTES + text.length * UNIT_BYTES_MAX) {
      const grown = Buffer.allocUnsafeSlow(
        at + roomFor(fields.slice(idx), (each) => Buffer.byteLength(each)) + spareBytes,
      );
      bytes.copy(grown, 0, 0, at);
      bytes = grown;
    }
    at = writeHead(bytes, at, idx);
    at += bytes.write(text, at);
    bytes[at] = LINE_FEED;
    at += 1;
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, at);
}

/** Bytes of lines whose texts have so many. */
function roomFor(fields: readonly string[], bytesOf: (text: string) => number): number {
  return fields.reduce((sum, text) => sum + bytesOf(text) + AROUND_BYTES, 0);
}

function writeHead(bytes: Buffer, from: number, idx: number): number {
  let at = from;
  for (let place = 0; place < HEAD.length; place += 1) bytes[at + place] = HEAD[place] ?? 0;
  at += HEAD.length;
  let digits = 1;
  for (let rest = idx; rest >= 10; rest = Math.floor(rest / 10)) digits += 1;
  for (let place = digits - 1, rest = idx; place >= 0; place -= 1) {
    const less = Math.floor(rest / 10);
    bytes[at + place] = ZERO + rest - less * 10;
    rest = less;
  }
  at += digits;
  bytes[at] = COMMA;
  return at + 1;
}
