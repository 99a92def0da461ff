/** Frames are opened again and again in a simulation, by the software and by those who watch it: each once is enough. */
import { zstdDecompressSync } from "node:zlib";

/** Frames that are remembered; all are forgotten then. */
const FRAMES_MAX = 2_000;

const opened = new Map<string, Uint8Array>();

/** The content of a frame; throws where it is none. */
export function openFrame(frame: Uint8Array): Uint8Array {
  const key = keyOf(frame);
  const known = opened.get(key);
  if (known !== undefined) return known;
  const content = zstdDecompressSync(frame);
  remember(key, content);
  return content;
}

const MAGIC = 0xfd2fb528;
const BLOCK_BYTES_MAX = 128 * 1024;
const HEADER_BYTES = 9;
const BLOCK_HEADER_BYTES = 3;

/** A frame that holds the content as it is, in raw blocks, and says how large it is (RFC 8878, 3.1.1). */
export function storeFrame(content: Uint8Array): Buffer {
  const blocks = Math.max(1, Math.ceil(content.length / BLOCK_BYTES_MAX));
  const frame = Buffer.alloc(HEADER_BYTES + blocks * BLOCK_HEADER_BYTES + content.length);
  frame.writeUInt32LE(MAGIC, 0);
  // A single segment, the content's size in four bytes, neither checksum nor dictionary.
  frame[4] = 0b1010_0000;
  frame.writeUInt32LE(content.length, 5);
  let at = HEADER_BYTES;
  for (let block = 0; block < blocks; block++) {
    const part = content.subarray(block * BLOCK_BYTES_MAX, (block + 1) * BLOCK_BYTES_MAX);
    frame.writeUIntLE((part.length << 3) | (block === blocks - 1 ? 1 : 0), at, BLOCK_HEADER_BYTES);
    frame.set(part, at + BLOCK_HEADER_BYTES);
    at += BLOCK_HEADER_BYTES + part.length;
  }
  remember(keyOf(frame), content.slice());
  return frame;
}

function keyOf(frame: Uint8Array): string {
  return Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString("latin1");
}

function remember(key: string, content: Uint8Array): void {
  if (opened.size >= FRAMES_MAX) opened.clear();
  opened.set(key, content);
}

export function linesOfFrame(frame: Uint8Array): readonly string[] {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(openFrame(frame));
  return text.split("\n").filter((line) => line !== "");
}
