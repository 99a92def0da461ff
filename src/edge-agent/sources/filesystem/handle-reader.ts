/**
 * What the kernel says of a file handle now: its path, its parent, its attributes. The only place that opens handles.
 *
 * Invariant: no descriptor stays open for longer than from one {@link HandleReader.release} to the next: it would keep an
 * administrator from unmounting.
 */
import {
  AT_EMPTY_PATH,
  ERRNO,
  HANDLES_MAX,
  type Libc,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  STATFS_BYTES,
  STATX_BASIC_STATS,
  STATX_BTIME,
  STATX_BYTES,
} from "../../libc.ts";
import type { Whereabouts } from "./directory-tree.ts";
import { type FileHandle, fsidOf, handleBytes } from "./file-handle.ts";
import type { Filesystem } from "./mounts.ts";

/** Attributes of an inode. */
export interface Attributes {
  readonly mode: number;
  readonly inode: number;
  readonly links: number;
  readonly sizeBytes: number;
  /** `major:minor` as stat tells it. */
  readonly device: string;
  /** When it came to be, µs since the Unix epoch; undefined where the filesystem keeps no such time. */
  readonly bornAtUs: number | undefined;
  /** Whether it is the character device 0:0 by which an overlay marks a removed name. */
  readonly isWhiteout: boolean;
}

export interface HandleReader {
  /** Where a directory is now; undefined when it is gone (ESTALE) or its filesystem cannot be reached. */
  directory(handle: FileHandle): Whereabouts | undefined;
  /** An object's attributes and, of a symbolic link, its text; undefined when it is gone. */
  object(handle: FileHandle): { attributes: Attributes; linkText: string | undefined } | undefined;
  /**
   * Opens objects that are about to be looked at, {@link HANDLES_MAX} of a filesystem at most, by one call: where another
   * process opens them, asking it takes longer than the work. Each is as it was then.
   */
  openAhead(handles: readonly FileHandle[]): void;
  /** The handle by which events name a directory that is there now. */
  handleOf(path: string): FileHandle | undefined;
  /** Closes the filesystems' descriptors, and those that were opened ahead in vain. */
  release(): void;
}

/** Where a filesystem is found, by the id that its events carry. */
export type FilesystemByFsid = (fsid: string) => Filesystem | undefined;

const PATH_BYTES = 4096;
/** `MAX_HANDLE_SZ`, and the two fields before it. */
const HANDLE_BYTES = 128 + 8;
const S_IFMT = 0o170000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const DELETED_MARK = " (deleted)";

export function createHandleReader(libc: Libc, filesystemOf: FilesystemByFsid): HandleReader {
  const mountFds = new Map<string, number>();
  const pathBuffer = Buffer.alloc(PATH_BYTES);
  const statxBuffer = new Uint8Array(STATX_BYTES);

  const mountFd = (fsid: string): number | undefined => {
    const open = mountFds.get(fsid);
    if (open !== undefined) return open;
    const filesystem = filesystemOf(fsid);
    const fd = filesystem === undefined ? -1 : openFilesystem(libc, filesystem).fd;
    if (fd < 0) return undefined;
    mountFds.set(fsid, fd);
    return fd;
  };
  /** Descriptors, or negative, by handle. */
  const ahead = new Map<FileHandle, number>();
  const openAll = (handles: readonly FileHandle[]): readonly number[] => {
    const onto = handles[0] === undefined ? undefined : mountFd(fsidOf(handles[0]));
    if (onto === undefined) return [];
    return libc.open_by_handles_at(onto, handles.map(handleBytes), O_PATH);
  };
  const withOpen = <T>(handle: FileHandle, look: (fd: number) => T): T | undefined => {
    const known = ahead.get(handle);
    ahead.delete(handle);
    const fd = known ?? openAll([handle])[0] ?? -1;
    if (fd < 0) return undefined;
    try {
      return look(fd);
    } finally {
      libc.close(fd);
    }
  };
  const linkText = (path: string): string | undefined => {
    const length = libc.readlink(path, pathBuffer);
    return length < 0 ? undefined : pathBuffer.toString("latin1", 0, length);
  };

  return {
    directory: (handle) =>
      withOpen(handle, (fd) => {
        const linked = linkText(`/proc/self/fd/${fd}`);
        const parent = handleOf(libc, fd, { name: "..", fsid: fsidOf(handle) });
        const attributes = attributesOf(libc, fd, statxBuffer);
        if (linked === undefined || attributes === undefined) return undefined;
        const isRemoved = attributes.links === 0 && linked.endsWith(DELETED_MARK);
        const path = isRemoved ? linked.slice(0, -DELETED_MARK.length) : linked;
        const isMountPoint = filesystemOf(fsidOf(handle))?.mounts.some(({ point }) =>
          point === path
        );
        // A filesystem's own root is its own parent.
        const isRoot = isMountPoint === true || parent === undefined || parent === handle;
        if (isRoot) return { root: path };
        return { directory: parent, name: path.slice(path.lastIndexOf("/") + 1) };
      }),
    openAhead(handles) {
      const wanted = [...new Set(handles)].filter((each) => !ahead.has(each));
      for (const ofOne of Map.groupBy(wanted, fsidOf).values()) {
        const asked = ofOne.slice(0, HANDLES_MAX);
        for (const [place, fd] of openAll(asked).entries()) ahead.set(asked[place] ?? "", fd);
      }
    },
    handleOf(path) {
      const fd = libc.open(path, O_RDONLY | O_NONBLOCK);
      if (fd < 0) return undefined;
      try {
        const fsid = readFsid(libc, fd);
        return fsid === undefined ? undefined : handleOf(libc, fd, { name: ".", fsid });
      } finally {
        libc.close(fd);
      }
    },
    object: (handle) =>
      withOpen(handle, (fd) => {
        const attributes = attributesOf(libc, fd, statxBuffer);
        if (attributes === undefined) return undefined;
        if ((attributes.mode & S_IFMT) !== S_IFLNK) return { attributes, linkText: undefined };
        const length = libc.readlinkat(fd, "", pathBuffer);
        return {
          attributes,
          linkText: length < 0 ? undefined : pathBuffer.toString("latin1", 0, length),
        };
      }),
    release() {
      for (const fd of [...mountFds.values(), ...ahead.values()]) if (fd >= 0) libc.close(fd);
      mountFds.clear();
      ahead.clear();
    },
  };
}

/**
 * A descriptor on a filesystem and its fsid; or, negative, the errno of the last mount tried: EXDEV when another mount
 * covers it.
 */
export function openFilesystem(
  libc: Libc,
  filesystem: Filesystem,
): { readonly fd: number; readonly fsid: string } {
  let failure: number = -ERRNO.ENOENT;
  const statx = new Uint8Array(STATX_BYTES);
  for (const { point } of filesystem.mounts) {
    const fd = libc.open(Buffer.from(point, "latin1"), O_RDONLY | O_NONBLOCK);
    if (fd < 0) {
      failure = fd;
      continue;
    }
    const attributes = attributesOf(libc, fd, statx);
    const isCovered = filesystem.type !== "btrfs" && attributes?.device !== filesystem.device;
    const fsid = isCovered ? undefined : readFsid(libc, fd);
    if (fsid !== undefined) return { fd, fsid };
    failure = -ERRNO.EXDEV;
    libc.close(fd);
  }
  return { fd: failure, fsid: "" };
}

/** The handle of what a descriptor is open on, be it by O_PATH; undefined where the filesystem gives none. */
export function handleOfOpen(libc: Libc, fd: number): FileHandle | undefined {
  const fsid = readFsid(libc, fd);
  return fsid === undefined ? undefined : handleOf(libc, fd, { name: "", fsid });
}

/** Where `struct statfs` has its id. */
const FSID_OFFSET = 56;

function readFsid(libc: Libc, fd: number): string | undefined {
  const statfs = Buffer.alloc(STATFS_BYTES);
  if (libc.fstatfs(fd, statfs) < 0) return undefined;
  return statfs.toString("latin1", FSID_OFFSET, FSID_OFFSET + 8);
}

/** `struct statx` (include/uapi/linux/stat.h). */
function attributesOf(libc: Libc, fd: number, buffer: Uint8Array): Attributes | undefined {
  const status = libc.statx(fd, "", {
    flags: AT_EMPTY_PATH,
    mask: STATX_BASIC_STATS | STATX_BTIME,
    buffer,
  });
  if (status < 0) return undefined;
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const hasBirth = (view.getUint32(0, true) & STATX_BTIME) !== 0;
  const bornAtUs = Number(view.getBigInt64(80, true)) * 1_000_000 +
    Math.floor(view.getUint32(88, true) / 1000);
  return {
    mode: view.getUint16(28, true),
    inode: Number(view.getBigUint64(32, true)),
    links: view.getUint32(16, true),
    sizeBytes: Number(view.getBigUint64(40, true)),
    device: `${view.getUint32(136, true)}:${view.getUint32(140, true)}`,
    bornAtUs: hasBirth ? bornAtUs : undefined,
    isWhiteout: (view.getUint16(28, true) & S_IFMT) === S_IFCHR &&
      view.getBigUint64(128, true) === 0n,
  };
}

/** Handle of what a name in an open directory says. */
function handleOf(
  libc: Libc,
  fd: number,
  { name, fsid }: { readonly name: string; readonly fsid: string },
): FileHandle | undefined {
  const handle = Buffer.alloc(HANDLE_BYTES);
  handle.writeUInt32LE(HANDLE_BYTES - 8, 0);
  const flags = name === "" ? AT_EMPTY_PATH : 0;
  if (libc.name_to_handle_at(fd, name, handle, flags) < 0) return undefined;
  return fsid + handle.toString("latin1", 0, 8 + handle.readUInt32LE(0));
}
