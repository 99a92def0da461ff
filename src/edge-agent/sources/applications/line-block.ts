/**
 * Lines that are made together, as parts of one text.
 *
 * A line is put together from a dozen pieces of text, which would all live until its batch is compressed. Joined at once
 * and cut into lines again, one text for hundreds of lines is all that lives on: that halves the work of the memory.
 */
export class LineBlock {
  #text = "";
  #ends: number[] = [];

  add(fields: string): void {
    this.#text += fields;
    this.#ends.push(this.#text.length);
  }

  /** Hands on the lines since the last call. */
  flush(take: (fields: string) => void): void {
    const text = this.#text;
    const ends = this.#ends;
    if (ends.length === 0) return;
    this.#text = "";
    this.#ends = [];
    // Engines join the parts of a text when one of its characters is asked for.
    text.charCodeAt(text.length - 1);
    let start = 0;
    for (const end of ends) {
      take(text.slice(start, end));
      start = end;
    }
  }
}
