/** Frames are opened again and again in a simulation, by the software and by those who watch it: each once is enough. */
import { zstdDecompressSync } from "node:zlib";

/** Frames that are remembered; all are forgotten then. */
const FRAMES_MAX = 2_000;

const opened = new Map<string, Uint8Array>();

/** The content of a frame; throws where it is none. */
export function openFrame(frame: Uint8Array): Uint8Array {
  const key = Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString("latin1");
  const known = opened.get(key);
  if (known !== undefined) return known;
  const content = zstdDecompressSync(frame);
  if (opened.size >= FRAMES_MAX) opened.clear();
  opened.set(key, content);
  return content;
}

export function linesOfFrame(frame: Uint8Array): readonly string[] {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(openFrame(frame));
  return text.split("\n").filter((line) => line !== "");
}
