/** Lines and bodies from a stream of bytes, each read when it is wanted. */

export interface Frames {
  /** The next line without its end; undefined at the end of the stream. */
  line(): Promise<string | undefined>;
  /** The next so many bytes. Rejects when the stream ends before. */
  bytes(count: number): Promise<Uint8Array<ArrayBuffer>>;
}

const NEWLINE = 10;

export function createFrames(source: AsyncIterable<Uint8Array>): Frames {
  const iterator = source[Symbol.asyncIterator]();
  let held: Uint8Array[] = [];
  const more = async (): Promise<boolean> => {
    const { done, value } = await iterator.next();
    if (done === true) return false;
    held.push(value);
    return true;
  };
  const take = (count: number): Uint8Array<ArrayBuffer> => {
    const taken = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const [first = new Uint8Array(), ...others] = held;
      const part = first.subarray(0, count - at);
      taken.set(part, at);
      at += part.length;
      held = part.length === first.length ? others : [first.subarray(part.length), ...others];
    }
    return taken;
  };
  return {
    async line() {
      let searched = 0;
      let before = 0;
      for (;;) {
        for (; searched < held.length; searched += 1) {
          const chunk = held[searched] ?? new Uint8Array();
          const at = chunk.indexOf(NEWLINE);
          if (at >= 0) {
            const text = new TextDecoder().decode(take(before + at));
            take(1);
            return text;
          }
          before += chunk.length;
        }
        if (!await more()) return undefined;
      }
    },
    async bytes(count) {
      while (held.reduce((total, { length }) => total + length, 0) < count) {
        if (!await more()) throw new Error("Cannot read an answer: the stream ended within it");
      }
      return take(count);
    },
  };
}
