/**
 * A chunk of bytes in the forms in which messages are looked at: four bytes at a time, and as text.
 *
 * Invariant: a piece of text is what the bytes mean in UTF-8, if they are UTF-8.
 */

const ONES = 0x01010101;
const HIGHS = 0x80808080 | 0;
const SPACES = 0x20202020;
const QUOTES = 0x22222222;
const BACKSLASHES = 0x5c5c5c5c;
const DELETES = 0x7f7f7f7f;

export class ChunkText {
  readonly bytes: Buffer;
  readonly #view: DataView;
  /** All bytes as text, one character each, once it was asked for. */
  #characters: string | undefined;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** The first place that holds no character that stands for itself in JSON as one byte; `end` when there is none. */
  plainEnd(from: number, end: number): number {
    const view = this.#view;
    let at = from;
    for (; at + 4 <= end; at += 4) {
      const four = view.getInt32(at, true);
      // A byte that is below another is found by what it borrows; so may be, falsely, the byte after it.
      const quotes = four ^ QUOTES;
      const backslashes = four ^ BACKSLASHES;
      const deletes = four ^ DELETES;
      const found = four | ((four - SPACES) & ~four) | ((quotes - ONES) & ~quotes) |
        ((backslashes - ONES) & ~backslashes) | ((deletes - ONES) & ~deletes);
      if ((found & HIGHS) !== 0) break;
    }
    const bytes = this.bytes;
    while (at < end && isPlain(bytes[at] ?? 0)) at += 1;
    return at;
  }

  /** A piece whose bytes are ASCII. */
  ascii(start: number, end: number): string {
    this.#characters ??= this.bytes.toString("latin1");
    return this.#characters.slice(start, end);
  }

  /** Any other piece. */
  text(start: number, end: number): string {
    return this.bytes.toString("utf8", start, end);
  }
}

function isPlain(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
}
