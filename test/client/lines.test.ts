import fc from "fast-check";
import { expect, it } from "vitest";
import { createLineSplitter, LINE_LENGTH_MAX, readLines } from "../../src/client/lines.ts";
import { chunkedStream, cutAnywhere } from "./chunks.ts";

const text = fc.array(fc.constantFrom("a", "é", "🙂", "\n", "\r", "\r\n", ":", " ")).map((parts) =>
  parts.join("")
);

async function linesOf(chunks: readonly Uint8Array<ArrayBuffer>[]): Promise<string[]> {
  return await Array.fromAsync(readLines(chunkedStream(chunks)));
}

it("ends lines at LF, CR and CR LF", async () => {
  const bytes = new TextEncoder().encode("a\nb\r\nc\rd\n\ne");
  expect(await linesOf([bytes])).toEqual(["a", "b", "c", "d", "", "e"]);
});

it("reads the same lines however the bytes are cut", async () => {
  await fc.assert(fc.asyncProperty(cutAnywhere(text), async ({ whole, chunks }) => {
    const lines = whole.split(/\r\n|\n|\r/);
    if (lines.at(-1) === "") lines.pop();
    expect(await linesOf(chunks)).toEqual(lines);
  }));
});

it("takes an LF for part of a CR that ended the chunk before, also over an empty chunk", () => {
  const splitter = createLineSplitter();
  expect(splitter.push("a\r")).toEqual(["a"]);
  expect(splitter.push("")).toEqual([]);
  expect(splitter.push("\nb\n")).toEqual(["b"]);
  expect(splitter.push("c\r\r\n")).toEqual(["c", ""]);
  expect(splitter.end()).toEqual([]);
});

it("refuses a line beyond the limit", () => {
  const splitter = createLineSplitter();
  const half = "x".repeat(LINE_LENGTH_MAX / 2);
  splitter.push(half);
  splitter.push(half);
  expect(() => splitter.push("x")).toThrow(RangeError);
});

it("cancels the stream when its reader leaves", async () => {
  let isCancelled = false;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("line\n")),
    cancel: () => {
      isCancelled = true;
    },
  });
  for await (const line of readLines(stream)) {
    expect(line).toBe("line");
    break;
  }
  expect(isCancelled).toBe(true);
});
