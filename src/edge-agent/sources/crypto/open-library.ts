/**
 * An open file as probes ask of it: what identifies it, and its content by place.
 */
import {
  AT_EMPTY_PATH,
  type Libc,
  STATFS_BYTES,
  STATX_BASIC_STATS,
  STATX_BYTES,
} from "../../libc.ts";
import type { FileBytes } from "./elf-file.ts";

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const OVERLAY_MAGIC = 0x794c_7630;
/** Longest single read, in bytes. */
const READ_BYTES_MAX = 1024 * 1024;

export interface LibraryFile extends FileBytes {
  /** Device, inode, time of change and size: another text after every change of the file. */
  readonly identity: string;
  readonly device: string;
  readonly inode: string;
  /** Its filesystem shows files of others, so that one file may have several inodes. */
  readonly isOverlay: boolean;
}

/** Undefined when it is no regular file, or cannot be asked. */
export function libraryFile(
  libc: Pick<Libc, "statx" | "fstatfs" | "pread">,
  fd: number,
): LibraryFile | undefined {
  const statx = Buffer.alloc(STATX_BYTES);
  const asked = { flags: AT_EMPTY_PATH, mask: STATX_BASIC_STATS, buffer: statx };
  if (libc.statx(fd, "", asked) < 0) return undefined;
  if ((statx.readUInt16LE(28) & S_IFMT) !== S_IFREG) return undefined;
  const statfs = Buffer.alloc(STATFS_BYTES);
  const isOverlay = libc.fstatfs(fd, statfs) >= 0 && statfs.readUInt32LE(0) === OVERLAY_MAGIC;
  const device = `${statx.readUInt32LE(136)}:${statx.readUInt32LE(140)}`;
  const inode = String(statx.readBigUInt64LE(32));
  const sizeBytes = Number(statx.readBigUInt64LE(40));
  const changed = `${statx.readBigInt64LE(96)}.${statx.readUInt32LE(104)}`;
  return {
    identity: `${device} ${inode} ${changed} ${sizeBytes}`,
    device,
    inode,
    isOverlay,
    sizeBytes,
    read(offset, length) {
      const buffer = new Uint8Array(Math.min(length, READ_BYTES_MAX));
      const read = libc.pread(fd, buffer, offset);
      return buffer.subarray(0, Math.max(0, read));
    },
  };
}
