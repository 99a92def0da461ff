/**
 * Files as they are executed: a fanotify group of its own (FAN_OPEN_EXEC, fanotify(7)), marked on every filesystem worth
 * watching. Each report brings a descriptor of exactly the file that is executed: image, script, interpreter, loader.
 *
 * Invariants: nothing is ever held up: there are no permission events. Reading never blocks. Descriptors belong to
 * whoever read them. A report keeps its filesystem from being unmounted until it is read, so it is read at once.
 */
import process from "node:process";
import {
  ERRNO,
  errnoText,
  type Libc,
  O_CLOEXEC,
  O_RDONLY,
  POLLERR,
  POLLFD_BYTES,
  POLLIN,
  POLLPRI,
} from "../../../libc.ts";
import { openFilesystem } from "../../filesystem/handle-reader.ts";
import { parseMountinfo, watchableFilesystems } from "../../filesystem/mounts.ts";
import { readWholeText } from "./whole-text.ts";

/** One open for execution. */
export interface ExecOpen {
  /** To be closed by whoever has it. */
  readonly fd: number;
  /** Thread group that executes. */
  readonly pid: number;
}

export interface ExecWatch extends Disposable {
  /** What the kernel has queued, at most {@link READ_EVENTS_MAX}; empty when nothing waits. */
  read(): readonly ExecOpen[];
  /** Resolves when something waits, or after {@link WAIT_MS}. To be awaited before the watch is closed. */
  wait(): Promise<void>;
  /** Times that the kernel's queue was full, or a report could not be opened, since the last call. */
  takeLost(): number;
  /** Marks what was mounted since the last call. */
  refresh(): void;
  /** Type of the filesystem with a device number (`major:minor`), as far as it is mounted here. */
  typeOf(device: string): string | undefined;
}

/** Reports in one read: so many descriptors are open at once at most, beside those that wait to be hashed. */
export const READ_EVENTS_MAX = 128;

/** Longest wait: so long may closing take. */
export const WAIT_MS = 200;

const FAN_CLOEXEC = 0x1;
const FAN_NONBLOCK = 0x2;
const FAN_MARK_ADD = 0x1;
const FAN_MARK_FILESYSTEM = 0x100;
const FAN_OPEN_EXEC = 0x1000;
const METADATA_BYTES = 24;
const METADATA_VERSION = 3;
/** Reading leaves no trace in access times; files beyond 2 GiB are opened too. */
const O_NOATIME = 0o1000000;
const O_LARGEFILE = process.arch === "arm64" ? 0o400000 : 0o100000;
const MOUNTINFO = "/proc/self/mountinfo";
/** Reports in a row that cannot be opened before a read gives up. */
const UNREADABLE_MAX = 64;

/** Opens a group and marks every filesystem; the reason when the kernel does not allow it. */
export function openExecWatch(libc: Libc): ExecWatch | { readonly reason: string } {
  const fd = libc.fanotify_init(
    FAN_CLOEXEC | FAN_NONBLOCK,
    O_RDONLY | O_CLOEXEC | O_NOATIME | O_LARGEFILE,
  );
  if (fd < 0) return { reason: `fanotify answers ${errnoText(fd)}` };
  const mountinfoFd = libc.open(MOUNTINFO, O_RDONLY);
  const pollfds = new DataView(new ArrayBuffer(POLLFD_BYTES));
  pollfds.setInt32(0, mountinfoFd, true);
  pollfds.setInt16(4, POLLPRI, true);
  const buffer = Buffer.alloc(METADATA_BYTES * READ_EVENTS_MAX);
  let types: ReadonlyMap<string, string> = new Map();
  let lost = 0;
  const mark = (): number => {
    const mounts = parseMountinfo(readWholeText(libc, MOUNTINFO));
    types = new Map(mounts.map(({ device, type }) => [device, type]));
    return watchableFilesystems(mounts).filter((filesystem) => {
      const { fd: markedFd } = openFilesystem(libc, filesystem);
      if (markedFd < 0) return false;
      const flags = FAN_MARK_ADD | FAN_MARK_FILESYSTEM;
      const status = libc.fanotify_mark(fd, { flags, mask: FAN_OPEN_EXEC, markedFd });
      libc.close(markedFd);
      return status >= 0;
    }).length;
  };
  const close = (): void => {
    libc.close(fd);
    if (mountinfoFd >= 0) libc.close(mountinfoFd);
  };
  if (mark() === 0) {
    close();
    return { reason: "fanotify can watch no filesystem here" };
  }
  return {
    read() {
      for (let tries = 0; tries < UNREADABLE_MAX; tries += 1) {
        const length = libc.read(fd, buffer);
        if (length === -ERRNO.EAGAIN || length === 0) return [];
        if (length === -ERRNO.EINTR) continue;
        if (length > 0) {
          const { opens, lost: unopened } = parseExecOpens(buffer, length);
          lost += unopened;
          return opens;
        }
        // The kernel drops a report whose file it cannot open for us: too many open files, above all.
        lost += 1;
      }
      return [];
    },
    async wait() {
      const asked = new DataView(new ArrayBuffer(POLLFD_BYTES));
      asked.setInt32(0, fd, true);
      asked.setInt16(4, POLLIN, true);
      await libc.pollAsync(new Uint8Array(asked.buffer), WAIT_MS);
    },
    takeLost() {
      const count = lost;
      lost = 0;
      return count;
    },
    refresh() {
      const isChanged = libc.poll(new Uint8Array(pollfds.buffer), 0) > 0 &&
        (pollfds.getInt16(6, true) & (POLLPRI | POLLERR)) !== 0;
      if (isChanged) mark();
    },
    typeOf: (device) => types.get(device),
    [Symbol.dispose]: close,
  };
}

/**
 * `struct fanotify_event_metadata` (include/uapi/linux/fanotify.h); one without a descriptor tells an overflow. Throws
 * on a layout that is not the known one.
 */
export function parseExecOpens(
  buffer: Buffer,
  length: number,
): { readonly opens: readonly ExecOpen[]; readonly lost: number } {
  const opens: ExecOpen[] = [];
  let lost = 0;
  for (let at = 0; at + METADATA_BYTES <= length;) {
    const sizeBytes = buffer.readUInt32LE(at);
    const version = buffer[at + 4] ?? 0;
    if (version !== METADATA_VERSION || sizeBytes < METADATA_BYTES || at + sizeBytes > length) {
      throw new RangeError(
        `Cannot read a fanotify event: version ${version} with ${sizeBytes} bytes is not known`,
      );
    }
    const fd = buffer.readInt32LE(at + 16);
    if (fd >= 0) opens.push({ fd, pid: buffer.readInt32LE(at + 20) });
    else lost += 1;
    at += sizeBytes;
  }
  return { opens, lost };
}
