/**
 * What the software under simulation gets for the parts of `node:crypto`, `node:zlib` and `node:timers/promises` that
 * would make two runs of one seed differ: names by chance come from the seed, compression is done at once, and time is
 * simulated.
 */
import { zstdCompressSync as actualCompress, type ZstdOptions } from "node:zlib";
import { openFrame, storeFrame } from "./opened-frames.ts";
import { stage } from "./stage.ts";

export function randomBytes(size: number): Buffer {
  const { softwareRandom } = stage();
  return Buffer.from(Array.from({ length: size }, () => softwareRandom.between(0, 255)));
}

export function randomUUID(): string {
  const hex = randomBytes(16).toString("hex");
  const variant = (8 + stage().softwareRandom.between(0, 3)).toString(16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20),
  ].join("-");
}

type Done = (error: unknown, result?: Buffer) => void;

function atOnce(work: () => Buffer, done: Done): void {
  let result: Buffer;
  try {
    result = work();
  } catch (error) {
    return done(error);
  }
  done(null, result);
}

/** One frame in so many is really compressed: making the machinery ready takes longer than all that a seed does with it. */
const COMPRESSED_SHARE = 0.02;

export function zstdCompressSync(content: Uint8Array, options: ZstdOptions): Buffer {
  const isCompressed = stage().softwareRandom.chance(COMPRESSED_SHARE);
  return isCompressed ? actualCompress(content, options) : storeFrame(content);
}

export function zstdCompress(content: Uint8Array, options: ZstdOptions, done: Done): void {
  atOnce(() => zstdCompressSync(content, options), done);
}

export function zstdDecompress(frame: Uint8Array, options: ZstdOptions, done: Done): void {
  atOnce(() => {
    const content = Buffer.from(openFrame(frame));
    if (content.length > (options.maxOutputLength ?? Infinity)) {
      throw new RangeError("as simulated");
    }
    return content;
  }, done);
}

/** `setTimeout` of `node:timers/promises`. */
export async function setTimeout(
  ms: number,
  value?: unknown,
  options: { readonly signal?: AbortSignal } = {},
): Promise<unknown> {
  await stage().time.sleep(ms, options.signal);
  return value;
}
