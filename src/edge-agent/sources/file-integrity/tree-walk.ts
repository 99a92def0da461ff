/**
 * Walks the directories that may hold watched files, and names what is in them.
 *
 * Invariants: links are not followed but at the root, so no walk is endless; what vanishes on the way is passed over; memory is bounded
 * by the depth and one directory's names at each level. Paths are binary.
 */
import { type Libc, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from "../../libc.ts";
import { joinPath } from "../filesystem/directory-tree.ts";

const BUFFER_BYTES = 64 * 1024;
/** Deeper directories than any path can name. */
const DEPTH_MAX = 2048;
/** `d_type` of a directory, and of what the filesystem does not say. */
const DT_UNKNOWN = 0;
const DT_DIR = 4;

export interface WalkOptions {
  readonly libc: Libc;
  readonly mayContain: (directory: string) => boolean;
  /** Whether a name of unknown type is a directory. */
  readonly isDirectory: (path: string) => boolean;
}

/** Paths of everything below a path that is no directory; the path itself when it is none. */
export function* walkTree(root: string, options: WalkOptions): Generator<string> {
  const { libc, mayContain, isDirectory } = options;
  // A link that stands at a root is followed: whoever names it means what is behind it.
  if (!isDirectory(`${root}/.`)) {
    yield root;
    return;
  }
  const waiting: string[] = [root];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    if (!mayContain(directory) || depthOf(directory) > DEPTH_MAX) continue;
    const opened = directory === root ? `${root}/.` : directory;
    for (const { name, type } of entriesOf(libc, opened)) {
      const path = joinPath(directory, name);
      if (type === DT_DIR || (type === DT_UNKNOWN && isDirectory(path))) waiting.push(path);
      else yield path;
    }
  }
}

interface Entry {
  readonly name: string;
  readonly type: number;
}

function* entriesOf(libc: Libc, directory: string): Generator<Entry> {
  // A name that is no directory any more gives no entries.
  const fd = libc.open(Buffer.from(directory, "latin1"), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return;
  const buffer = Buffer.alloc(BUFFER_BYTES);
  try {
    for (;;) {
      const length = libc.getdents64(fd, buffer);
      if (length <= 0) return;
      yield* parseEntries(buffer, length);
    }
  } finally {
    libc.close(fd);
  }
}

/** `struct linux_dirent64` (getdents64(2)), without `.` and `..`. */
export function parseEntries(buffer: Buffer, length: number): readonly Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at + 19 <= length;) {
    const sizeBytes = buffer.readUInt16LE(at + 16);
    if (sizeBytes < 19 || at + sizeBytes > length) break;
    const end = buffer.indexOf(0, at + 19);
    const name = buffer.toString("latin1", at + 19, end < 0 ? at + sizeBytes : end);
    if (name !== "." && name !== "..") entries.push({ name, type: buffer[at + 18] ?? DT_UNKNOWN });
    at += sizeBytes;
  }
  return entries;
}

function depthOf(path: string): number {
  let depth = 0;
  for (let at = path.indexOf("/"); at !== -1; at = path.indexOf("/", at + 1)) depth += 1;
  return depth;
}
