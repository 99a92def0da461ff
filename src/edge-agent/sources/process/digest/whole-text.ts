/** Files below /proc, whole: their length is known only when they are read. */
import { type Libc, O_RDONLY } from "../../../libc.ts";

const CHUNK_BYTES = 64 * 1024;
/** More is not read; a file of mounts has a few hundred bytes for each. */
const TEXT_BYTES_MAX = 16 * 1024 * 1024;

/** A file as binary text, one character per byte; "" when it cannot be read. */
export function readWholeText(libc: Libc, path: string): string {
  const fd = libc.open(path, O_RDONLY);
  if (fd < 0) return "";
  const parts: string[] = [];
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let sizeBytes = 0; sizeBytes < TEXT_BYTES_MAX;) {
    const length = libc.read(fd, chunk);
    if (length <= 0) break;
    parts.push(chunk.toString("latin1", 0, length));
    sizeBytes += length;
  }
  libc.close(fd);
  return parts.join("");
}
