/**
 * Files that the kernel makes up: below /proc, /sys and the BPF filesystem. Read and changed through the C library:
 * Deno gives node:fs no access to them, short of all permissions at once.
 *
 * Invariant: reading what is not there (any more) is no error: processes come and go while they are looked at.
 */
import { dirname } from "node:path";
import {
  ERRNO,
  errnoText,
  type Libc,
  loadLibc,
  LOCK_EX,
  LOCK_NB,
  O_RDONLY,
  STATFS_BYTES,
} from "./libc.ts";

const CHUNK_BYTES = 64 * 1024;
const LINK_BYTES = 4096;
const AT_FDCWD = -100;
const STATX_INO = 0x100;
/** Size and offsets of `struct statx` (include/uapi/linux/stat.h). */
const STATX_BYTES = 256;
const STATX_INODE = 32;
const STATX_DEVICE = 136;

/** Undefined where there is no C library to call: then nothing is there. */
const libc = lazy(loadIfPossible);
const chunk = Buffer.alloc(CHUNK_BYTES);

/** A file as UTF-8 text; undefined when it cannot be read. */
export function readKernelText(path: string): string | undefined {
  return withOpen(path, ({ read }, fd) => {
    const parts: Buffer[] = [];
    for (;;) {
      const length = read(fd, chunk);
      if (length < 0) return undefined;
      if (length === 0) return Buffer.concat(parts).toString("utf8");
      parts.push(Buffer.from(chunk.subarray(0, length)));
    }
  });
}

/** A file as bytes, at most `bytesMax` of them; undefined when it cannot be read, or is longer. */
export function readKernelBytes(path: string, bytesMax: number): Buffer | undefined {
  return withOpen(path, ({ read }, fd) => {
    const parts: Buffer[] = [];
    for (let sum = 0; sum <= bytesMax;) {
      const length = read(fd, chunk);
      if (length < 0) return undefined;
      if (length === 0) return Buffer.concat(parts);
      parts.push(Buffer.from(chunk.subarray(0, length)));
      sum += length;
    }
    return undefined;
  });
}

/** What a symbolic link says, as UTF-8 text; undefined when it cannot be read. */
export function readKernelLink(path: string): string | undefined {
  const length = libc()?.readlink(path, chunk.subarray(0, LINK_BYTES)) ?? -1;
  return length < 0 ? undefined : chunk.toString("utf8", 0, length);
}

/** Names in a folder, in no order; undefined when it cannot be read. */
export function listKernelFolder(path: string): readonly string[] | undefined {
  return withOpen(path, listOpenFolder);
}

/** The same of a folder that is open to read. */
export function listOpenFolder(
  { getdents64 }: Pick<Libc, "getdents64">,
  fd: number,
): readonly string[] | undefined {
  const names: string[] = [];
  for (;;) {
    const length = getdents64(fd, chunk);
    if (length < 0) return undefined;
    if (length === 0) return names.filter((name) => name !== "." && name !== "..");
    names.push(...namesIn(chunk.subarray(0, length)));
  }
}

export function isKernelPath(path: string): boolean {
  return withOpen(path, () => true) ?? false;
}

/** Inode and device (major << 20 | minor) of what a path leads to; undefined when it cannot be asked. */
export function kernelFileIdentity(
  path: string,
): { readonly inode: bigint; readonly device: number } | undefined {
  const buffer = Buffer.alloc(STATX_BYTES);
  const asked = { flags: 0, mask: STATX_INO, buffer };
  if ((libc()?.statx(AT_FDCWD, path, asked) ?? -1) < 0) return undefined;
  const device = buffer.readUInt32LE(STATX_DEVICE) * 2 ** 20 +
    buffer.readUInt32LE(STATX_DEVICE + 4);
  return { inode: buffer.readBigUInt64LE(STATX_INODE), device };
}

/** Magic number of the filesystem that a path is on (statfs(2)); undefined when it cannot be opened. */
export function filesystemMagic(path: string): number | undefined {
  return withOpen(path, ({ fstatfs }, fd) => {
    const statfs = Buffer.alloc(STATFS_BYTES);
    return fstatfs(fd, statfs) < 0 ? undefined : statfs.readUInt32LE(0);
  });
}

/** Makes a folder, and those above it, for its owner alone. One that is there is fine. Throws when it cannot. */
export function makeKernelFolder(path: string): void {
  const made = libc()?.mkdir(path, 0o700) ?? -ERRNO.ENOSYS;
  if (made >= 0 || made === -ERRNO.EEXIST) return;
  if (made !== -ERRNO.ENOENT || dirname(path) === path) fail("make folder", path, made);
  makeKernelFolder(dirname(path));
  const again = libc()?.mkdir(path, 0o700) ?? -ERRNO.ENOSYS;
  if (again < 0 && again !== -ERRNO.EEXIST) fail("make folder", path, again);
}

export function renameKernelPath(from: string, to: string): void {
  const renamed = libc()?.rename(from, to) ?? -ERRNO.ENOSYS;
  if (renamed < 0) fail("rename", from, renamed);
}

export function removeKernelFile(path: string): void {
  const removed = libc()?.unlink(path) ?? -ERRNO.ENOSYS;
  if (removed < 0) fail("remove", path, removed);
}

/** Removes an empty folder. */
export function removeKernelFolder(path: string): void {
  const removed = libc()?.rmdir(path) ?? -ERRNO.ENOSYS;
  if (removed < 0) fail("remove folder", path, removed);
}

/** A descriptor of a folder, to be closed by the caller. Throws when it cannot be opened. */
export function openKernelFolder(path: string): number {
  const fd = libc()?.open(path, O_RDONLY) ?? -ERRNO.ENOSYS;
  if (fd < 0) fail("open folder", path, fd);
  return fd;
}

export interface KernelLock extends Disposable {
  readonly path: string;
}

/** Locks a file or folder for this process alone; undefined when another process has it. Throws when it is not there. */
export function lockKernelPath(path: string): KernelLock | undefined {
  const calls = libc();
  const fd = calls?.open(path, O_RDONLY) ?? -ERRNO.ENOSYS;
  if (calls === undefined || fd < 0) return fail("lock", path, fd);
  const { flock, close } = calls;
  const locked = flock(fd, LOCK_EX | LOCK_NB);
  let isHeld = locked >= 0;
  if (!isHeld) close(fd);
  if (locked === -ERRNO.EAGAIN) return undefined;
  if (locked < 0) return fail("lock", path, locked);
  return {
    path,
    [Symbol.dispose]() {
      if (isHeld) close(fd);
      isHeld = false;
    },
  };
}

function fail(verb: string, path: string, negative: number): never {
  throw new Error(`Cannot ${verb} "${path}": ${errnoText(negative)}`);
}

function withOpen<T>(path: string, look: (libc: Libc, fd: number) => T): T | undefined {
  const calls = libc();
  const fd = calls?.open(path, O_RDONLY) ?? -1;
  if (calls === undefined || fd < 0) return undefined;
  try {
    return look(calls, fd);
  } finally {
    calls.close(fd);
  }
}

/** Names of `struct linux_dirent64` records (getdents(2)). */
function namesIn(records: Buffer): string[] {
  const names: string[] = [];
  for (let at = 0; at < records.length; at += records.readUInt16LE(at + 16)) {
    names.push(records.toString("utf8", at + 19, records.indexOf(0, at + 19)));
  }
  return names;
}

/** Made at the first use: which variant of the calls it is has been chosen by then. */
function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

function loadIfPossible(): Libc | undefined {
  try {
    return loadLibc();
  } catch {
    return undefined; // Not Linux with glibc.
  }
}
