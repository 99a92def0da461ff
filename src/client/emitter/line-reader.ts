/** Lines out of chunks of bytes, however they are split. */

/** Gives each line to `take`; what it returns is false once a line is longer than it may be. */
export function createLineReader(
  bytesMax: number,
  take: (line: string) => void,
): (chunk: Uint8Array | string) => boolean {
  let rest = "";
  return (chunk) => {
    const text = rest +
      (typeof chunk === "string" ? chunk : new TextDecoder("latin1").decode(chunk));
    const lines = text.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
    return rest.length <= bytesMax;
  };
}
