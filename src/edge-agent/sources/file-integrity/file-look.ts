/**
 * One look at a file: what it is, its identity and attributes, and its content as far as a limit. The only place that
 * opens watched files.
 *
 * Invariants: a look never waits for another process: nothing is opened but a regular file, found to be one through a
 * descriptor that opens nothing, so a FIFO, a device or a link in its place is told as what it is. Identity, attributes
 * and content are of one and the same inode, whatever happens to the name meanwhile.
 */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import {
  AT_EMPTY_PATH,
  ERRNO,
  errnoText,
  type Libc,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  STATX_BASIC_STATS,
  STATX_BYTES,
} from "../../libc.ts";
import { type FileHandle, fsidOf, inodeOf } from "../filesystem/file-handle.ts";
import { type FilesystemByFsid, handleOfOpen } from "../filesystem/handle-reader.ts";

/** Most bytes of a file that are digested; a larger one is told by its attributes. */
export const DIGEST_BYTES_MAX = 1024 * 1024 * 1024;
/** Most bytes of a file that are handed out for a diff. */
export const CONTENT_BYTES_MAX = 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
/** Looks at a file that changes while it is read. */
const ATTEMPTS_MAX = 3;
/** A path as one system call takes it, without what /proc/self/fd/N adds. */
const PATH_PART_BYTES = 4000;
const S_IFMT = 0o170000;

export type FileType =
  | "regular"
  | "directory"
  | "symlink"
  | "fifo"
  | "socket"
  | "character_device"
  | "block_device";

const TYPES: Readonly<Record<number, FileType>> = {
  0o010000: "fifo",
  0o020000: "character_device",
  0o040000: "directory",
  0o060000: "block_device",
  0o100000: "regular",
  0o120000: "symlink",
  0o140000: "socket",
};

export interface FileFacts {
  /** "" on a filesystem that gives none. */
  readonly handle: FileHandle;
  /** `major:minor` of the superblock. */
  readonly device: string;
  readonly inode: number;
  /** Undefined where the handle does not tell it. */
  readonly generation: number | undefined;
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly sizeBytes: number;
  /** Times of the last change of content and of the inode, ns since the Unix epoch: equal or not is all they say. */
  readonly times: string;
  /** When the inode last changed, µs since the Unix epoch. */
  readonly changedAtUs: number;
}

export interface LookOptions {
  /** Told what was read. */
  readonly onBytes?: (count: number) => void;
  /** Digests besides SHA-256, for manifests of packages that have no better ones. */
  readonly further?: readonly ("md5" | "sha1")[];
}

export interface FileContent {
  readonly md5?: string;
  readonly sha1?: string;
  /** SHA-256, hexadecimal; undefined when the file is larger than {@link DIGEST_BYTES_MAX}. */
  readonly sha256: string | undefined;
  /** Undefined when there are more than {@link CONTENT_BYTES_MAX}. */
  readonly bytes: Uint8Array | undefined;
}

export type Look =
  | { readonly state: "missing" }
  | { readonly state: "unreadable"; readonly reason: string }
  | { readonly state: "found"; readonly facts: FileFacts; readonly content: FileContent };

export interface FileLooker {
  /** Attributes alone; undefined when there is nothing by that name. Paths are binary. */
  facts(path: string): FileFacts | "missing" | { readonly reason: string };
  /** Attributes and content. */
  look(path: string, options?: LookOptions): Promise<Look>;
}

export function createFileLooker(libc: Libc, filesystemOf: FilesystemByFsid): FileLooker {
  const statx = new Uint8Array(STATX_BYTES);
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const withOpen = <T>(path: string, use: (fd: number) => T): T | Negative => {
    const fd = openWithout(libc, path);
    if (fd < 0) return { errno: -fd };
    try {
      return use(fd);
    } finally {
      libc.close(fd);
    }
  };
  const factsOf = (fd: number): FileFacts | undefined => {
    const handle = handleOfOpen(libc, fd) ?? "";
    const filesystem = handle === "" ? undefined : filesystemOf(fsidOf(handle));
    const options = { flags: AT_EMPTY_PATH, mask: STATX_BASIC_STATS, buffer: statx };
    if (libc.statx(fd, "", options) < 0) return undefined;
    return parseFacts(statx, { handle, device: filesystem?.device, type: filesystem?.type ?? "" });
  };
  const linkText = (fd: number): Buffer => {
    const length = libc.readlinkat(fd, "", chunk);
    return Buffer.from(chunk.subarray(0, Math.max(0, length)));
  };
  /** Reads through its own descriptor, so that the one of the look may be closed. */
  const read = async (
    fd: number,
    facts: FileFacts,
    { onBytes, further = [] }: LookOptions,
  ): Promise<FileContent | Negative> => {
    const hash = createHash("sha256");
    const others = further.map((name) => [name, createHash(name)] as const);
    const parts: Buffer[] = [];
    let sizeBytes = 0;
    if (facts.sizeBytes > DIGEST_BYTES_MAX) return { sha256: undefined, bytes: undefined };
    for (;;) {
      const length = libc.read(fd, chunk);
      if (length < 0) return { errno: -length };
      if (length === 0) break;
      sizeBytes += length;
      onBytes?.(length);
      const part = chunk.subarray(0, length);
      hash.update(part);
      for (const [, other] of others) other.update(part);
      if (sizeBytes <= CONTENT_BYTES_MAX) parts.push(Buffer.from(part));
      if (sizeBytes > DIGEST_BYTES_MAX) return { sha256: undefined, bytes: undefined };
      if (length === CHUNK_BYTES) await turn();
    }
    const bytes = sizeBytes <= CONTENT_BYTES_MAX ? Buffer.concat(parts) : undefined;
    const digests = others.map(([name, other]) => [name, other.digest("hex")]);
    return { sha256: hash.digest("hex"), bytes, ...Object.fromEntries(digests) };
  };
  const lookOnce = async (
    path: string,
    options: LookOptions,
  ): Promise<Look | "again"> => {
    const fd = openWithout(libc, path);
    if (fd < 0) return missingOr(fd);
    try {
      const facts = factsOf(fd);
      if (facts === undefined) return { state: "unreadable", reason: "its attributes are refused" };
      if (facts.type === "symlink") {
        return { state: "found", facts, content: contentOf(linkText(fd)) };
      }
      if (facts.type !== "regular") return { state: "found", facts, content: NO_CONTENT };
      const readFd = libc.open(`/proc/self/fd/${fd}`, O_RDONLY | O_NONBLOCK);
      if (readFd < 0) return { state: "unreadable", reason: errnoText(readFd) };
      try {
        const content = await read(readFd, facts, options);
        if ("errno" in content) return { state: "unreadable", reason: errnoText(-content.errno) };
        const after = factsOf(fd);
        if (after === undefined) {
          return { state: "unreadable", reason: "it went while it was read" };
        }
        const isSteady = after.times === facts.times && after.sizeBytes === facts.sizeBytes;
        return isSteady ? { state: "found", facts: after, content } : "again";
      } finally {
        libc.close(readFd);
      }
    } finally {
      libc.close(fd);
    }
  };

  return {
    facts(path) {
      const found = withOpen(path, (fd) => factsOf(fd) ?? { errno: ERRNO.EACCES });
      if (!("errno" in found)) return found;
      return isAbsence(found.errno) ? "missing" : { reason: errnoText(-found.errno) };
    },
    async look(path, options = {}) {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        const seen = await lookOnce(path, options);
        if (seen !== "again") return seen;
      }
      return { state: "unreadable", reason: "it changes faster than it can be read" };
    },
  };
}

interface Negative {
  readonly errno: number;
}

const NO_CONTENT: FileContent = { sha256: undefined, bytes: undefined };

/** A descriptor that opens nothing, also for a path that is longer than a system call takes. */
function openWithout(libc: Libc, path: string): number {
  const bytes = Buffer.from(path, "latin1");
  let at = 0;
  let folder = -1;
  while (bytes.byteLength - at > PATH_PART_BYTES) {
    const end = bytes.lastIndexOf(0x2f, at + PATH_PART_BYTES);
    if (end <= at) break;
    const next = libc.open(partOf(folder, bytes.subarray(at, end)), O_PATH);
    if (folder >= 0) libc.close(folder);
    if (next < 0) return next;
    folder = next;
    at = end + 1;
  }
  const fd = libc.open(partOf(folder, bytes.subarray(at)), O_PATH | O_NOFOLLOW);
  if (folder >= 0) libc.close(folder);
  return fd;
}

function partOf(folder: number, rest: Uint8Array): Uint8Array {
  return folder < 0 ? rest : Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), rest]);
}

function missingOr(negative: number): Look {
  return isAbsence(-negative)
    ? { state: "missing" }
    : { state: "unreadable", reason: errnoText(negative) };
}

/** A parent that is no directory any more, or a circle of links: nothing is there by that name. */
function isAbsence(errno: number): boolean {
  return errno === ERRNO.ENOENT || errno === ERRNO.ENOTDIR || errno === ERRNO.ELOOP;
}

function contentOf(bytes: Buffer): FileContent {
  return { sha256: createHash("sha256").update(bytes).digest("hex"), bytes };
}

/** `struct statx` (include/uapi/linux/stat.h). */
function parseFacts(
  statx: Uint8Array,
  of: { readonly handle: FileHandle; readonly device: string | undefined; readonly type: string },
): FileFacts {
  const view = new DataView(statx.buffer, statx.byteOffset, statx.byteLength);
  const nsAt = (at: number): bigint =>
    view.getBigInt64(at, true) * 1_000_000_000n + BigInt(view.getUint32(at + 8, true));
  const mode = view.getUint16(28, true);
  const named = of.handle === "" ? undefined : inodeOf(of.handle, of.type);
  const changedNs = nsAt(96);
  return {
    handle: of.handle,
    device: of.device ?? `${view.getUint32(136, true)}:${view.getUint32(140, true)}`,
    inode: named?.inode ?? Number(view.getBigUint64(32, true)),
    generation: named?.generation,
    type: TYPES[mode & S_IFMT] ?? "regular",
    mode,
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    links: view.getUint32(16, true),
    sizeBytes: Number(view.getBigUint64(40, true)),
    times: `${nsAt(112)} ${changedNs}`,
    changedAtUs: Number(changedNs / 1000n),
  };
}
