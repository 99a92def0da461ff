/**
 * The C library's calls for a process without capabilities: tried as they are, and asked of the privileged process where
 * the kernel forbids them. What is about the whole host (fanotify) is always asked.
 *
 * Invariant: what comes back is what the call itself would have given: descriptors of this process, or a negative errno.
 */
import {
  AT_EMPTY_PATH,
  ERRNO,
  type Libc,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_PATH,
  type PathBytes,
} from "../libc.ts";
import type { PrivilegedConnection } from "./connection.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;
const HANDLE_HEADER_BYTES = 8;

export function createRemoteLibc(direct: Libc, connection: PrivilegedConnection): Libc {
  const open = (path: PathBytes, flags: number): number => {
    const opened = direct.open(path, flags);
    if (!isForbidden(opened) || !isAbsolute(path)) return opened;
    const text = textOf(path);
    const asked = flags & ~O_CLOEXEC;
    // What this process has open is nothing to the other one but by its descriptor.
    const own = /^\/proc\/self\/fd\/([0-9]+)\/?(.*)$/s.exec(text);
    if (own === null) return connection.askDescriptor("open", { path: text, flags: asked });
    const [, fd, below = ""] = own;
    return connection.askDescriptor("open_at", { path: below, flags: asked }, [Number(fd)]);
  };
  /** Of a path that cannot be reached from here: `act` on a descriptor of it. */
  const through = (path: PathBytes, flags: number, act: (fd: number) => number): number => {
    const fd = connection.askDescriptor("open", { path: textOf(path), flags: O_PATH | flags });
    if (fd < 0) return fd;
    const status = act(fd);
    direct.close(fd);
    return status;
  };
  const onPin = (
    status: number,
    operation: "mkdir" | "rmdir" | "unlink",
    path: PathBytes,
  ): number => {
    if (!isForbidden(status) || !isAbsolute(path)) return status;
    return connection.ask(operation, { path: textOf(path) }).status;
  };
  return {
    ...direct,
    open,
    readlink(path, buffer) {
      const length = direct.readlink(path, buffer);
      if (!isForbidden(length) || !isAbsolute(path)) return length;
      const text = textOf(path);
      if (!/^\/proc\/[0-9]/.test(text)) {
        return through(path, O_NOFOLLOW, (fd) => direct.readlinkat(fd, "", buffer));
      }
      const answer = connection.ask("readlink", { path: text });
      return answer.status < 0 ? answer.status : Buffer.from(answer.text, "latin1").copy(buffer);
    },
    mkdir: (path, mode) => onPin(direct.mkdir(path, mode), "mkdir", path),
    rmdir: (path) => onPin(direct.rmdir(path), "rmdir", path),
    unlink: (path) => onPin(direct.unlink(path), "unlink", path),
    rename(from, to) {
      const status = direct.rename(from, to);
      if (!isForbidden(status) || !isAbsolute(from) || !isAbsolute(to)) return status;
      return connection.ask("rename", { path: textOf(from), to: textOf(to) }).status;
    },
    statx(fd, path, options) {
      const status = direct.statx(fd, path, options);
      if (!isForbidden(status) || !isAbsolute(path)) return status;
      const noFollow = (options.flags & AT_SYMLINK_NOFOLLOW) === 0 ? 0 : O_NOFOLLOW;
      const flags = AT_EMPTY_PATH;
      return through(path, noFollow, (opened) => direct.statx(opened, "", { ...options, flags }));
    },
    fanotify_init: (flags, eventFlags) =>
      connection.askDescriptor("fanotify_init", { flags, eventFlags }),
    fanotify_mark: (fd, { flags, mask, markedFd }) =>
      connection.ask("fanotify_mark", { flags, mask }, [fd, markedFd]).status,
    name_to_handle_at(fd, path, handle, flags = 0) {
      const status = direct.name_to_handle_at(fd, path, handle, flags);
      if (!isForbidden(status)) return status;
      const sizeBytes = handle.length - HANDLE_HEADER_BYTES;
      const fields = { name: textOf(path), sizeBytes, flags };
      const answer = connection.ask("handle_of", fields, [fd]);
      if (answer.status >= 0) Buffer.from(answer.text, "latin1").copy(handle);
      return answer.status;
    },
    open_by_handles_at(mountFd, handles, flags) {
      const fields = { handles: handles.map(textOf), flags: flags & ~O_CLOEXEC };
      const { status, text, descriptors } = connection.ask("open_by_handles", fields, [mountFd]);
      const opened = descriptors.values();
      const given = text.split(" ").map(Number);
      return handles.map((_handle, place) => {
        const each = status < 0 ? status : given[place] ?? -ERRNO.EINVAL;
        return each < 0 ? each : opened.next().value ?? -ERRNO.EBADF;
      });
    },
  };
}

function isForbidden(status: number): boolean {
  return status === -ERRNO.EACCES || status === -ERRNO.EPERM;
}

/** One character for each byte. */
function textOf(path: PathBytes): string {
  return Buffer.from(path).toString("latin1");
}

function isAbsolute(path: PathBytes): boolean {
  return path[0] === "/" || path[0] === 0x2f;
}
