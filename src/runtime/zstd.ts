/**
 * Zstandard frames (RFC 8878) as they travel: exactly one frame that declares the size of its content.
 *
 * Invariant: nothing is decompressed without a limit, and nothing is taken for whole that is cut short: a truncated
 * frame is an error here, while some readers take it for an empty one.
 */
import { promisify } from "node:util";
import { constants, zstdCompress, zstdCompressSync, zstdDecompress } from "node:zlib";

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const LEVEL = 3;
const MAGIC = 0xfd2fb528;
const CHECKSUM_BYTES = 4;

/** What a frame says of itself. */
export interface FrameShape {
  /** Bytes it decompresses to; undefined when it does not say. */
  readonly contentBytes: number | undefined;
  /** Bytes of the frame itself. */
  readonly frameBytes: number;
  /** How many blocks it has; none holds more than {@link BLOCK_BYTES_MAX}, whatever the frame declares. */
  readonly blocks: number;
}

/** Largest content of one block. */
export const BLOCK_BYTES_MAX = 128 * 1024;

/** Up to this many bytes are compressed at once: handing them to another thread takes longer than the work (Node 24). */
const SYNC_BYTES_MAX = 512 * 1024;
/** Output grows in steps of a part of the content's size, and of this many bytes at least. */
const CHUNK_PART = 4;
const CHUNK_BYTES_LEAST = 1024;

/** One frame of level 3 that declares its content size; more than 512 KiB are compressed off the main thread. */
export async function compressFrame(content: Uint8Array): Promise<Uint8Array> {
  const options = {
    // Without the pledge Deno (2.9) and the streaming API of Node leave the size out.
    pledgedSrcSize: content.length,
    chunkSize: Math.max(CHUNK_BYTES_LEAST, Math.ceil(content.length / CHUNK_PART)),
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
  };
  const frame = content.length <= SYNC_BYTES_MAX
    ? zstdCompressSync(content, options)
    : await compress(content, options);
  return firstFrameOf(frame);
}

/**
 * The frame alone. A frame that ends where a chunk of output does is followed by an empty one: both runtimes (Node 24,
 * Deno 2.9) then ask for more once the frame is done, and Deno does so with any that needs a second chunk.
 */
function firstFrameOf(bytes: Uint8Array): Uint8Array {
  const shape = frameShapeOf(bytes);
  if (shape === undefined) throw new Error(`Cannot compress: ${bytes.length} bytes are no frame`);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, shape.frameBytes);
}

/** The content of exactly one whole frame. Throws RangeError for any other shape, or one above `contentBytesMax`. */
export async function decompressFrame(
  frame: Uint8Array,
  contentBytesMax: number,
): Promise<Uint8Array> {
  const shape = frameShapeOf(frame);
  if (shape === undefined || shape.frameBytes !== frame.length) {
    throw new RangeError(`Cannot decompress ${frame.length} bytes: not exactly one zstd frame`);
  }
  if (shape.contentBytes !== undefined && shape.contentBytes > contentBytesMax) {
    throw new RangeError(
      `Cannot decompress a zstd frame: its ${shape.contentBytes} bytes are more than ${contentBytesMax}`,
    );
  }
  try {
    const content = await decompress(frame, { maxOutputLength: Math.max(1, contentBytesMax) });
    return new Uint8Array(content.buffer, content.byteOffset, content.length);
  } catch (cause) {
    throw new RangeError("Cannot decompress a zstd frame: it is damaged or too large", { cause });
  }
}

/** The shape of the frame that `bytes` begin with, read from its headers; undefined when there is no whole one. */
export function frameShapeOf(bytes: Uint8Array): FrameShape | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 6 || view.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const windowBytes = isSingleSegment ? 0 : 1;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const sizeAt = 5 + windowBytes + dictionaryBytes;
  if (bytes.length < sizeAt + sizeBytes) return undefined;
  const contentBytes = contentSizeAt(view, { at: sizeAt, sizeBytes });
  const found = walkBlocks(view, sizeAt + sizeBytes);
  if (found === undefined) return undefined;
  const { end, blocks } = found;
  const frameBytes = end + ((descriptor & 4) === 0 ? 0 : CHECKSUM_BYTES);
  return frameBytes > bytes.length ? undefined : { contentBytes, frameBytes, blocks };
}

function contentSizeAt(
  view: DataView,
  { at, sizeBytes }: { readonly at: number; readonly sizeBytes: number },
): number | undefined {
  switch (sizeBytes) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    case 8:
      return Number(view.getBigUint64(at, true));
    default:
      return undefined;
  }
}

/** Where the last block ends and how many there are; undefined when the bytes end first. */
function walkBlocks(
  view: DataView,
  from: number,
): { readonly end: number; readonly blocks: number } | undefined {
  let at = from;
  for (let blocks = 1;; blocks++) {
    if (at + 3 > view.byteLength) return undefined;
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const isRepeatedByte = ((header >> 1) & 3) === 1;
    at += 3 + (isRepeatedByte ? 1 : header >> 3);
    if (at > view.byteLength) return undefined;
    if ((header & 1) === 1) return { end: at, blocks };
  }
}
