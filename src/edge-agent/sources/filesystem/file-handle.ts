/**
 * File handles: the kernel's names of inodes that outlive renames. A handle is opaque but for the few filesystems whose
 * layout is known here, from which inode and generation are read without opening anything. Pure.
 */

/**
 * Filesystem id (8 bytes, as statfs(2) gives it), then `struct file_handle`: size (u32), type (s32), bytes. A binary
 * string, one character per byte: equal for the same inode of the same filesystem, and only then.
 */
export type FileHandle = string;

const FSID_BYTES = 8;

/** The id of a handle's filesystem, binary. */
export function fsidOf(handle: FileHandle): string {
  return handle.slice(0, FSID_BYTES);
}

/** `struct file_handle` of a handle. */
export function handleBytes(handle: FileHandle): Buffer {
  return Buffer.from(handle.slice(FSID_BYTES), "latin1");
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
  const bytes = handleBytes(handle);
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
