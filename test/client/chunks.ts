/** Byte streams that are cut in every possible place, also inside a character. */
import fc from "fast-check";

export function chunkedStream(
  chunks: readonly Uint8Array<ArrayBuffer>[],
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start: (controller) => {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

/** A text and its bytes in pieces. */
export function cutAnywhere(
  text: fc.Arbitrary<string>,
): fc.Arbitrary<{ whole: string; chunks: Uint8Array<ArrayBuffer>[] }> {
  return fc.tuple(text, fc.array(fc.nat(), { maxLength: 12 })).map(([whole, cuts]) => {
    const bytes = new TextEncoder().encode(whole);
    const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
    const starts = [0, ...places];
    return { whole, chunks: starts.map((start, at) => bytes.slice(start, starts[at + 1])) };
  });
}
