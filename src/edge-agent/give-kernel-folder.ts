/**
 * Gives a folder below the BPF filesystem to the account that the agent becomes.
 *
 * Invariants: whoever the account is, it gets nothing that it did not have: every step goes by a descriptor, no link is
 * followed, and what has a second name elsewhere, or is another user's, is left as it is. The account may have run here
 * before and may still run: what it puts into its folder, and when, changes nothing of that.
 */
import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import { listOpenFolder, renameKernelPath } from "./kernel-files.ts";
import {
  AT_EMPTY_PATH,
  ERRNO,
  errnoText,
  type Libc,
  loadLibc,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  STATX_BASIC_STATS,
  STATX_BYTES,
} from "./libc.ts";

/** Folders in folders that are given: those of sources, and one more. */
const DEPTH_MAX = 3;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const WRITABLE_BY_OTHERS = 0o022;
/** Offsets in `struct statx` (include/uapi/linux/stat.h). */
const STATX_NLINK = 16;
const STATX_UID = 20;
const STATX_MODE = 28;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

interface Standing {
  readonly isFolder: boolean;
  readonly uid: number;
  readonly mode: number;
  readonly names: number;
}

/**
 * Gives a folder, and what root made in it, to a user. Where others than root may make folders beside it, it has to be
 * root's or the user's. Throws when it is not, or cannot be given.
 */
export function giveKernelFolder(path: string, user: Owner): void {
  const libc = loadLibc();
  const fd = libc.open(path, O_PATH | O_NOFOLLOW);
  if (fd < 0) throw failure(path, errnoText(fd));
  try {
    const { isFolder, uid } = standingOf(libc, fd, path);
    if (!isFolder) throw failure(path, "it is no folder");
    if (!isTrusted(uid, user) && isOpenToOthers(libc, dirname(path))) {
      throw failure(path, `user ${uid} made it`);
    }
    give(libc, { fd, path, user });
    giveEntries(libc, { fd, path, user }, 1);
  } finally {
    libc.close(fd);
  }
}

/**
 * Where others than root may make folders, one that is neither root's nor the user's is put aside: the new name, or
 * undefined when there was nothing to do. Without it any user could keep an agent from its pins.
 */
export function putForeignFolderAside(path: string, user: Owner): string | undefined {
  const libc = loadLibc();
  const fd = libc.open(path, O_PATH | O_NOFOLLOW);
  if (fd === -ERRNO.ENOENT) return undefined;
  if (fd < 0) throw failure(path, errnoText(fd));
  try {
    const { isFolder, uid } = standingOf(libc, fd, path);
    const isFine = isFolder && (isTrusted(uid, user) || !isOpenToOthers(libc, dirname(path)));
    if (isFine) return undefined;
  } finally {
    libc.close(fd);
  }
  const aside = `${path}-foreign-${randomBytes(4).toString("hex")}`;
  renameKernelPath(path, aside);
  return aside;
}

interface Given {
  readonly fd: number;
  /** For errors alone. */
  readonly path: string;
  readonly user: Owner;
}

function give(libc: Libc, { fd, path, user }: Given): void {
  const given = libc.fchownat(fd, "", { ...user, flags: AT_EMPTY_PATH });
  if (given < 0) throw failure(path, errnoText(given));
}

function giveEntries(libc: Libc, folder: Given, depth: number): void {
  for (const name of namesIn(libc, folder.fd)) {
    const path = `${folder.path}/${name}`;
    const fd = libc.openat(folder.fd, name, O_PATH | O_NOFOLLOW);
    if (fd === -ERRNO.ENOENT) continue; // Removed meanwhile.
    if (fd < 0) throw failure(path, errnoText(fd));
    try {
      const { isFolder, uid, names } = standingOf(libc, fd, path);
      const entry = { ...folder, fd, path };
      if (uid === 0 && (isFolder || names === 1)) give(libc, entry);
      if (isFolder && depth < DEPTH_MAX) giveEntries(libc, entry, depth + 1);
    } finally {
      libc.close(fd);
    }
  }
}

function namesIn(libc: Libc, folderFd: number): readonly string[] {
  const fd = libc.openat(folderFd, ".", O_RDONLY);
  if (fd < 0) return [];
  try {
    return listOpenFolder(libc, fd) ?? [];
  } finally {
    libc.close(fd);
  }
}

function isTrusted(uid: number, user: Owner): boolean {
  return uid === 0 || uid === user.uid;
}

function isOpenToOthers(libc: Libc, path: string): boolean {
  const fd = libc.open(path, O_PATH);
  if (fd < 0) return true;
  try {
    const { uid, mode } = standingOf(libc, fd, path);
    return uid !== 0 || (mode & WRITABLE_BY_OTHERS) !== 0;
  } finally {
    libc.close(fd);
  }
}

function standingOf(libc: Libc, fd: number, path: string): Standing {
  const buffer = Buffer.alloc(STATX_BYTES);
  const asked = { flags: AT_EMPTY_PATH, mask: STATX_BASIC_STATS, buffer };
  const looked = libc.statx(fd, "", asked);
  if (looked < 0) throw failure(path, errnoText(looked));
  const mode = buffer.readUInt16LE(STATX_MODE);
  return {
    isFolder: (mode & S_IFMT) === S_IFDIR,
    uid: buffer.readUInt32LE(STATX_UID),
    mode,
    names: buffer.readUInt32LE(STATX_NLINK),
  };
}

function failure(path: string, state: string): Error {
  return new Error(`Cannot give away "${path}": ${state}`);
}
