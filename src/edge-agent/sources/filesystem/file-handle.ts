/**
 * File handles: the kernel's names of inodes that outlive renames. A handle is opaque but for the few filesystems whose
 * layout is known here, from which inode and generation are read without opening anything. Pure.
 */

export interface FileHandle {
  /** Filesystem and handle as one binary string: equal for the same inode of the same filesystem, and only then. */
  readonly key: string;
  /** Filesystem id as statfs(2) gives it, 16 hex characters. */
  readonly fsid: string;
  /** `struct file_handle`: size (u32), type (s32), bytes. */
  readonly bytes: Uint8Array;
}

export interface InodeName {
  readonly inode: number;
  readonly generation: number;
}

/** Types of handles: include/linux/exportfs.h; `0x81` is XFS's with 64 bits (fs/xfs/xfs_export.h). */
const INO32_GEN = 1;
const XFS_INO64_GEN = 0x81;
const BTRFS = 0x4d;

const SHMEM_TYPES: ReadonlySet<string> = new Set(["tmpfs", "devtmpfs", "ramfs"]);

/** Inode number and generation in a handle; undefined when the filesystem's layout is not known. */
export function inodeOf(handle: FileHandle, filesystemType: string): InodeName | undefined {
  const { bytes } = handle;
  if (bytes.byteLength < 16) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sizeBytes = view.getUint32(0, true);
  const type = view.getInt32(4, true);
  const word = (place: number): number => view.getUint32(8 + 4 * place, true);
  const long = (place: number): number => word(place) + word(place + 1) * 2 ** 32;
  if (type === INO32_GEN && sizeBytes === 8) return { inode: word(0), generation: word(1) };
  if (type === INO32_GEN && sizeBytes === 12 && SHMEM_TYPES.has(filesystemType)) {
    return { inode: long(1), generation: word(0) };
  }
  if (type === XFS_INO64_GEN && sizeBytes >= 12) return { inode: long(0), generation: word(2) };
  if (type === BTRFS && sizeBytes >= 20) return { inode: long(0), generation: word(4) };
  return undefined;
}
