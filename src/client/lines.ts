/**
 * Bytes to lines: LF, CR and CR LF end a line, wherever the chunks are cut. Both NDJSON and server-sent events are read
 * by it.
 *
 * Invariant: the lines do not depend on how the bytes are cut into chunks.
 */

/** Longest line, in characters; a longer one is an error, so that a broken server cannot fill the memory. */
export const LINE_LENGTH_MAX = 32 * 1024 * 1024;

/** Lines of a stream without their ends. Text after the last end is a line too. Leaving the loop cancels the stream. */
export async function* readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void, undefined> {
  const splitter = createLineSplitter();
  const reader = stream.pipeThrough(new TextDecoderStream("utf-8", { ignoreBOM: true }))
    .getReader();
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* splitter.push(value);
    }
    yield* splitter.end();
  } finally {
    await reader.cancel();
  }
}

export interface LineSplitter {
  /** The lines that end in this piece of text. Throws RangeError on a line beyond {@link LINE_LENGTH_MAX}. */
  push(text: string): readonly string[];
  /** The line that had no end, if there is one. */
  end(): readonly string[];
}

export function createLineSplitter(): LineSplitter {
  let pieces: string[] = [];
  let length = 0;
  /** A CR ended the last line: an LF that follows belongs to it. */
  let isAfterReturn = false;

  const keep = (piece: string): void => {
    if (piece === "") return;
    pieces.push(piece);
    length += piece.length;
    if (length > LINE_LENGTH_MAX) {
      throw new RangeError(`Cannot read a line: longer than ${LINE_LENGTH_MAX} characters`);
    }
  };
  const take = (): string => {
    const line = pieces.length === 1 ? pieces[0] ?? "" : pieces.join("");
    pieces = [];
    length = 0;
    return line;
  };
  return {
    push: (text) => {
      const lines: string[] = [];
      let from = isAfterReturn && text.startsWith("\n") ? 1 : 0;
      if (text !== "") isAfterReturn = false;
      for (const { index, 0: end } of text.matchAll(/\r\n|\n|\r/g)) {
        if (index < from) continue;
        keep(text.slice(from, index));
        lines.push(take());
        from = index + end.length;
        isAfterReturn = end === "\r" && from === text.length;
      }
      keep(text.slice(from));
      return lines;
    },
    end: () => (length === 0 ? [] : [take()]),
  };
}
