/**
 * A fanotify group: one for names and one for contents, each marked once on every filesystem worth watching, mounts
 * that come later included. Two groups because their queues are bounded: a storm of writes must not push names out.
 *
 * Invariants: reading never blocks; every mounted filesystem is either watched or named with the reason why not.
 * No mount is held open.
 */
import {
  ERRNO,
  errnoText,
  type Libc,
  O_RDONLY,
  POLLERR,
  POLLFD_BYTES,
  POLLIN,
  POLLPRI,
} from "../../libc.ts";
import {
  FAN_ATTRIB,
  FAN_CLOSE_WRITE,
  FAN_CREATE,
  FAN_DELETE,
  FAN_ONDIR,
  FAN_RENAME,
  type FanotifyEvent,
  parseFanotifyEvents,
} from "./fanotify-event.ts";
import { openFilesystem } from "./handle-reader.ts";
import {
  type Filesystem,
  isRemoteType,
  type Mount,
  parseMountinfo,
  watchableFilesystems,
} from "./mounts.ts";

export interface Unwatched {
  readonly point: string;
  readonly type: string;
  readonly reason: string;
  /** `left`: by our own rule, or because nothing can be reached there; `refused`: the kernel would not watch it. */
  readonly kind: "left" | "refused";
}

export interface FanotifyGroup extends Disposable {
  /** What the kernel has queued, at most about a thousand events; empty when nothing waits. */
  read(): readonly FanotifyEvent[];
  /** The same as bytes, valid until the next read; empty when nothing waits. */
  readBytes(): Buffer;
  /** Whether nothing waits to be read, and nothing was mounted; cheap. */
  isQuiet(): boolean;
  /** Marks what was mounted since the last call; undefined when nothing was mounted, moved or unmounted. */
  refresh(): MountChange | undefined;
  /** Where a filesystem id is mounted. */
  filesystemOf(fsid: string): Filesystem | undefined;
  readonly watched: readonly Filesystem[];
  readonly unwatched: readonly Unwatched[];
}

export interface MountChange {
  /** What is mounted now and was refused, and was not before. */
  readonly refused: readonly Unwatched[];
}

/** Why there is no group, for people. */
export interface GroupRefusal {
  readonly reason: string;
  readonly remedy: string;
}

const FAN_CLOEXEC = 0x1;
const FAN_NONBLOCK = 0x2;
/** Names, directory handles and the object's own handle: `FAN_REPORT_DFID_NAME_TARGET` (Linux 5.17). */
const FAN_REPORT_DFID_NAME_TARGET = 0x1e00;
/** The object's handle alone (Linux 5.1): a report of fixed size, as short as can be. */
const FAN_REPORT_FID = 0x200;
const FAN_MARK_ADD = 0x1;
const FAN_MARK_FILESYSTEM = 0x100;
const READ_BYTES = 128 * 1024;
const MOUNTINFO = "/proc/self/mountinfo";

/** What a group is told: names made, renamed and removed; or files closed after writing and attributes changed. */
export type FanotifyReports = "names" | "contents";

const REPORTS: Readonly<
  Record<FanotifyReports, { readonly flags: number; readonly mask: number }>
> = {
  names: {
    flags: FAN_REPORT_DFID_NAME_TARGET,
    mask: FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_ONDIR,
  },
  contents: { flags: FAN_REPORT_FID, mask: FAN_CLOSE_WRITE | FAN_ATTRIB },
};

/** Opens a group and marks every filesystem; a refusal when the kernel does not allow it. */
export function openFanotifyGroup(
  libc: Libc,
  reports: FanotifyReports = "names",
): FanotifyGroup | GroupRefusal {
  const { flags, mask } = REPORTS[reports];
  const fd = libc.fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK | flags, 0);
  if (fd < 0) return refusalOf(fd);
  const mountinfoFd = libc.open(MOUNTINFO, 0);
  const pollfds = new DataView(new ArrayBuffer(POLLFD_BYTES));
  pollfds.setInt32(0, mountinfoFd, true);
  pollfds.setInt16(4, POLLPRI, true);
  const mountsAsked = new Uint8Array(pollfds.buffer);
  const both = new DataView(new ArrayBuffer(2 * POLLFD_BYTES));
  both.setInt32(0, mountinfoFd, true);
  both.setInt16(4, POLLPRI, true);
  both.setInt32(POLLFD_BYTES, fd, true);
  both.setInt16(POLLFD_BYTES + 4, POLLIN, true);
  const bothAsked = new Uint8Array(both.buffer);
  /** To look at mounts takes the kernel's word of them: what a question found is still to be answered by refresh. */
  let areMountsChanged = false;
  const buffer = Buffer.alloc(READ_BYTES);
  let watched: readonly Filesystem[] = [];
  let unwatched: readonly Unwatched[] = [];
  let filesystems: ReadonlyMap<string, Filesystem> = new Map();
  /** Those of before the last change: their events may still be queued. */
  let formerFilesystems = filesystems;
  let refusedWith = 0;

  const markAll = (): void => {
    const mounts = parseMountinfo(readText(libc, MOUNTINFO));
    const found = new Map<string, Filesystem>();
    const left: Unwatched[] = mounts.filter(({ type }) => isRemoteType(type)).map(remoteOf);
    watched = watchableFilesystems(mounts).filter((filesystem) => {
      const opened = openFilesystem(libc, filesystem);
      const status = opened.fd < 0 ? opened.fd : libc.fanotify_mark(fd, {
        flags: FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
        mask,
        markedFd: opened.fd,
      });
      if (opened.fd >= 0) libc.close(opened.fd);
      if (status >= 0) found.set(opened.fsid, filesystem);
      else {
        const point = filesystem.mounts[0]?.point ?? "";
        const isCovered = opened.fd === -ERRNO.EXDEV;
        const reason = isCovered ? "another mount covers it" : errnoText(status);
        left.push({ point, type: filesystem.type, reason, kind: isCovered ? "left" : "refused" });
        refusedWith = status;
      }
      return status >= 0;
    });
    unwatched = left;
    formerFilesystems = filesystems;
    filesystems = found;
  };

  const close = (): void => {
    libc.close(fd);
    if (mountinfoFd >= 0) libc.close(mountinfoFd);
  };
  const readBytes = (): Buffer => {
    const length = libc.read(fd, buffer);
    if (length >= 0) return buffer.subarray(0, length);
    if (length === -ERRNO.EAGAIN || length === -ERRNO.EINTR) return buffer.subarray(0, 0);
    throw new Error(`Cannot read fanotify events: ${errnoText(length)}`);
  };
  markAll();
  if (watched.length === 0) {
    close();
    return refusalOf(refusedWith);
  }
  return {
    read() {
      const bytes = readBytes();
      return parseFanotifyEvents(bytes, bytes.byteLength);
    },
    readBytes,
    isQuiet() {
      if (libc.poll(bothAsked, 0) === 0) return !areMountsChanged;
      areMountsChanged ||= (both.getInt16(6, true) & (POLLPRI | POLLERR)) !== 0;
      return false;
    },
    refresh() {
      const isChanged = libc.poll(mountsAsked, 0) > 0 &&
        (pollfds.getInt16(6, true) & (POLLPRI | POLLERR)) !== 0;
      if (!isChanged && !areMountsChanged) return undefined;
      areMountsChanged = false;
      const before = new Set(unwatched.map(({ point }) => point));
      markAll();
      return {
        refused: unwatched.filter(({ point, kind }) => kind === "refused" && !before.has(point)),
      };
    },
    filesystemOf: (fsid) => filesystems.get(fsid) ?? formerFilesystems.get(fsid),
    get watched() {
      return watched;
    },
    get unwatched() {
      return unwatched;
    },
    [Symbol.dispose]: close,
  };
}

function remoteOf({ point, type }: Mount): Unwatched {
  return { point, type, reason: "another machine or process serves it", kind: "left" };
}

function refusalOf(negative: number): GroupRefusal {
  if (negative === -ERRNO.EPERM || negative === -ERRNO.EACCES) {
    return {
      reason: "fanotify refuses filesystem marks without CAP_SYS_ADMIN",
      remedy: "run the agent as root, or with CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH",
    };
  }
  if (negative === -ERRNO.EINVAL || negative === -ERRNO.ENOSYS) {
    return {
      reason: "this kernel's fanotify does not report names and renames",
      remedy: "use Linux 5.17 or newer, with CONFIG_FANOTIFY",
    };
  }
  return {
    reason: negative === 0
      ? "no filesystem is mounted that fanotify can watch"
      : `fanotify answers ${errnoText(negative)}`,
    remedy: "run the agent where the host's own filesystems are mounted",
  };
}

/** The whole of a file below /proc, as binary; "" when it cannot be read. */
function readText(libc: Libc, path: string): string {
  const fd = libc.open(path, O_RDONLY);
  if (fd < 0) return "";
  const parts: string[] = [];
  const chunk = Buffer.alloc(READ_BYTES);
  for (;;) {
    const length = libc.read(fd, chunk);
    if (length <= 0) break;
    parts.push(chunk.toString("latin1", 0, length));
  }
  libc.close(fd);
  return parts.join("");
}
