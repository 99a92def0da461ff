import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BLOCK_BYTES_MAX,
  compressFrame,
  decompressFrame,
  frameShapeOf,
} from "../../src/runtime/zstd.ts";

const LIMIT = 1 << 20;

describe("a frame", () => {
  it.each([0, 1, 255, 256, 65_791, 65_792, 300_000])(
    "of %i bytes declares its content size and reads back",
    async (sizeBytes) => {
      const content = new Uint8Array(sizeBytes).map((_, place) => (place * 7919) >> 4);
      const frame = await compressFrame(content);
      expect(frameShapeOf(frame)).toMatchObject({
        contentBytes: sizeBytes,
        frameBytes: frame.length,
      });
      expect(await decompressFrame(frame, LIMIT)).toEqual(content);
    },
  );

  it("is one also when it fills what is set aside for it to the last byte", async () => {
    // Each size around the steps in which output grows: of what does not shrink, and of what is compressed off the thread.
    const small = Array.from({ length: 16 }, (_, place) => randomBytes(1008 + place));
    const steps = [2038, 3062, 4086].map((sizeBytes) => randomBytes(sizeBytes));
    const start = randomBytes(149_945);
    const large = Array.from({ length: 60 }, (_, place) => {
      const content = new Uint8Array(599_900 + 4 * place);
      content.set(start);
      return content;
    });
    const full = new Set<number>();
    for (const content of [...small, ...steps, ...large]) {
      const frame = await compressFrame(content);
      expect(frameShapeOf(frame)).toMatchObject({
        contentBytes: content.length,
        frameBytes: frame.length,
      });
      const stepBytes = Math.max(1024, content.length / 4);
      if (frame.length % stepBytes === 0) full.add(content.length);
    }
    expect([...full].filter((sizeBytes) => sizeBytes < 5000)).toEqual([1014, 2038, 3062, 4086]);
    expect(Math.max(...full)).toBeGreaterThan(599_000);
  });

  it("is known by its blocks to hold no more than they can", async () => {
    const small = frameShapeOf(await compressFrame(new Uint8Array(10)));
    expect(small?.blocks).toBe(1);
    const large = frameShapeOf(await compressFrame(new Uint8Array(10 * BLOCK_BYTES_MAX)));
    expect(large?.blocks).toBeGreaterThanOrEqual(10);
  });

  it("is refused when it is cut anywhere, doubled or followed by anything", async () => {
    const frame = await compressFrame(new TextEncoder().encode("what happened ".repeat(50)));
    for (let length = 0; length < frame.length; length++) {
      await expect(decompressFrame(frame.subarray(0, length), LIMIT)).rejects.toThrow(RangeError);
    }
    await expect(decompressFrame(new Uint8Array([...frame, 0]), LIMIT)).rejects.toThrow("exactly");
    await expect(decompressFrame(new Uint8Array([...frame, ...frame]), LIMIT)).rejects
      .toThrow("exactly");
  });

  it("is refused when its content is larger than the limit, said or not", async () => {
    const content = new Uint8Array(100_000);
    await expect(decompressFrame(await compressFrame(content), 99_999)).rejects
      .toThrow("more than 99999");
    const silent = zstdCompressSync(content, { params: { 200: 0 } });
    expect(frameShapeOf(silent)?.contentBytes).toBeUndefined();
    await expect(decompressFrame(silent, 99_999)).rejects.toThrow("damaged or too large");
    expect((await decompressFrame(silent, 100_000)).length).toBe(100_000);
  });

  it("of whatever bytes never makes the reader crash or believe more than there is", () => {
    const bytes = fc.uint8Array({ maxLength: 64 }).map((tail) =>
      Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...tail)
    );
    fc.assert(
      fc.property(bytes, (frame) => {
        const shape = frameShapeOf(frame);
        if (shape !== undefined) expect(shape.frameBytes).toBeLessThanOrEqual(frame.length);
      }),
      { verbose: true },
    );
  });

  it("is one, and declares its size, under Deno as well", () => {
    const source = fileURLToPath(new URL("../../src/runtime/zstd.ts", import.meta.url));
    const script = `import { compressFrame, frameShapeOf } from ${JSON.stringify(source)};
      const random = crypto.getRandomValues(new Uint8Array(60_000));
      for (const content of [new Uint8Array(300_000), random.subarray(0, 1014), random]) {
        const frame = await compressFrame(content);
        console.log(JSON.stringify([content.length, frame.length, frameShapeOf(frame)]));
      }`;
    const answer = execFileSync("deno", ["run", "--quiet", "--ext=ts", "-"], { input: script });
    const told = String(answer).trim().split("\n").map((line) => JSON.parse(line));
    expect(told).toHaveLength(3);
    for (const [contentBytes, frameBytes, shape] of told) {
      expect(shape).toMatchObject({ contentBytes, frameBytes });
    }
  });
});
