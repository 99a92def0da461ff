/**
 * Sets modes and owners of what lies in a folder in which another user may make, rename and link files.
 *
 * Invariant: only the file or folder itself is changed, never what another user's link leads to or what has a second
 * name: everything goes by a descriptor, so that what is looked at is what is changed. A link of root's, or our own, is
 * whoever made it's decision: it is left alone with what it leads to.
 */
import { closeSync, constants, fchmodSync, fchownSync, fstatSync, lstatSync } from "node:fs";
import { openSync } from "node:fs";
import process from "node:process";
import type { Account } from "./account.ts";

export interface FolderRights {
  readonly mode: number;
  /** Of which the folder becomes, then root's; undefined: stays whose it is. */
  readonly group: number | undefined;
}

/** Throws when the folder is a link that another user made. */
export function setFolderRights(path: string, { mode, group }: FolderRights): void {
  if (isOwnLink(path)) return;
  withDescriptor(path, constants.O_DIRECTORY, (fd) => {
    fchmodSync(fd, mode);
    if (group !== undefined) fchownSync(fd, 0, group);
  });
}

/** Throws when the file is a link that another user made, no file, or one with another name elsewhere. */
export function giveFile(path: string, { uid, gid }: Account): void {
  if (isOwnLink(path)) return;
  // A pipe would let the open wait.
  withDescriptor(path, constants.O_NONBLOCK, (fd) => {
    const found = fstatSync(fd);
    if (!found.isFile()) throw new Error(`"${path}" is no file`);
    if (found.nlink !== 1) throw new Error(`"${path}" has another name elsewhere`);
    fchownSync(fd, uid, gid);
  });
}

/** Whether it is a link that we or root made. Throws when another user made it. */
export function isOwnLink(path: string): boolean {
  const found = lstatSync(path);
  if (!found.isSymbolicLink()) return false;
  if (found.uid === 0 || found.uid === process.getuid?.()) return true;
  throw new Error(`"${path}" is a link that user ${found.uid} made`);
}

function withDescriptor(path: string, flags: number, act: (fd: number) => void): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | flags);
  try {
    act(fd);
  } finally {
    closeSync(fd);
  }
}
