/**
 * The C library's calls that Node has no API for: fanotify, file handles, poll, raw descriptors.
 *
 * Invariants: one method per function, named after it; nothing is decided here. A failure is the negative errno, never
 * an exception, because most callers expect some failures (ESTALE, EAGAIN) in bulk.
 */
import koffi from "koffi";

/** Error numbers that callers tell apart; Linux on x86-64 and arm64. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EINVAL: 22,
  ENOSPC: 28,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  EOVERFLOW: 75,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  ENOBUFS: 105,
  ESTALE: 116,
} as const;

/** Flags of open(2), poll(2), statx(2); Linux on x86-64 (O_DIRECTORY differs on arm64, so it is not used). */
export const O_RDONLY = 0;
export const O_NONBLOCK = 0o4000;
export const O_NOFOLLOW = 0o400000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const AT_EMPTY_PATH = 0x1000;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const POLLIN = 1;
export const POLLPRI = 2;
export const POLLERR = 8;
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;
/** Sizes of kernel structures, in bytes. */
export const STATX_BYTES = 256;
export const STATFS_BYTES = 120;
export const POLLFD_BYTES = 8;

export const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOCK_FILTER_BYTES = 8;
const MSG_DONTWAIT = 0x40;
const F_DUPFD_CLOEXEC = 1030;

/** A path as bytes without its terminating NUL, or as text. */
export type PathBytes = Uint8Array | string;

export interface Libc {
  open(path: PathBytes, flags: number): number;
  close(fd: number): number;
  /** Another number of what a descriptor is on, closed on exec. */
  dup(fd: number): number;
  /** Bytes read; 0 at the end. */
  read(fd: number, buffer: Uint8Array): number;
  /** The same at a place of the file, whatever its position is, which stays. */
  pread(fd: number, buffer: Uint8Array, offset: number): number;
  /** The same as `read` in another thread; which error it was is not known there: EIO stands for all. */
  readAsync(fd: number, buffer: Uint8Array): Promise<number>;
  readlink(path: PathBytes, buffer: Uint8Array): number;
  /** Bytes of `struct linux_dirent64` records read; 0 at the end. */
  getdents64(fd: number, buffer: Uint8Array): number;
  mkdir(path: PathBytes, mode: number): number;
  rename(from: PathBytes, to: PathBytes): number;
  unlink(path: PathBytes): number;
  rmdir(path: PathBytes): number;
  /** The path is below the folder `fd`. */
  openat(fd: number, path: PathBytes, flags: number): number;
  /** Of a path below `fd`; with an empty path and {@link AT_EMPTY_PATH}: of what `fd` (be it O_PATH) is open on. */
  fchownat(fd: number, path: PathBytes, options: ChownOptions): number;
  /** With an empty path: the text of the symbolic link that `fd` (O_PATH) is open on. */
  readlinkat(fd: number, path: PathBytes, buffer: Uint8Array): number;
  /** `pollfds` holds `struct pollfd` records of {@link POLLFD_BYTES}; 0 ms never blocks. */
  poll(pollfds: Uint8Array, timeoutMs: number): number;
  /** Gives the kernel back what was freed, but for `padBytes` at the heap's end: 1 when there was something. */
  malloc_trim(padBytes: number): number;
  /** The same in another thread, which it occupies until then; the number of ready descriptors, or -1. */
  pollAsync(pollfds: Uint8Array, timeoutMs: number): Promise<number>;
  /** `struct statx` of a descriptor (or of a path below it, when given) into `buffer`. */
  statx(fd: number, path: PathBytes, options: StatxOptions): number;
  fstatfs(fd: number, buffer: Uint8Array): number;
  /** A lock that ends with the open file, whatever ends that. */
  flock(fd: number, operation: number): number;
  ioctl(fd: number, request: bigint, argument: Uint8Array): number;
  /** Closed on exec, and none of its calls waits. */
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): number;
  /** As `read`, but never waits, and who sent it into `from`, which is as long as addresses of the family are. */
  recvfrom(fd: number, buffer: Uint8Array, from: Uint8Array): number;
  /** What a socket is set to, or what the kernel knows of it, into `value`. */
  getsockopt(fd: number, options: SocketOption): number;
  setsockopt(fd: number, options: SocketOption): number;
  /** Lets in what the classic BPF program, `struct sock_filter` after `struct sock_filter`, does not give 0 for. */
  setsockopt_filter(fd: number, program: Uint8Array): number;
  /** Such a program that a socket has into `program`; EINVAL when it is longer. */
  getsockopt_filter(fd: number, program: Uint8Array): number;
  fanotify_init(flags: number, eventFlags: number): number;
  /** Marks what `markedFd` is open on. */
  fanotify_mark(fd: number, options: FanotifyMarkOptions): number;
  /** Fills `handle` (`struct file_handle`, its size field set) for a path below `fd`; AT_ flags, none by default. */
  name_to_handle_at(fd: number, path: PathBytes, handle: Uint8Array, flags?: number): number;
  /**
   * Each handle is a whole `struct file_handle`; what each call gives, in their order. At most {@link HANDLES_MAX}.
   */
  open_by_handles_at(
    mountFd: number,
    handles: readonly Uint8Array[],
    flags: number,
  ): readonly number[];
}

/** Handles that are opened by one call. */
export const HANDLES_MAX = 32;

export interface StatxOptions {
  readonly flags: number;
  readonly mask: number;
  readonly buffer: Uint8Array;
}

export interface SocketOption {
  readonly level: number;
  readonly name: number;
  readonly value: Uint8Array;
}

export interface ChownOptions {
  readonly uid: number;
  readonly gid: number;
  readonly flags: number;
}

export interface FanotifyMarkOptions {
  readonly flags: number;
  readonly mask: number;
  readonly markedFd: number;
}

/** Makes another variant of the calls out of the plain ones. */
export type LibcVariant = (direct: Libc) => Libc;
let variant: LibcVariant = (direct) => direct;

/** To be called at most once, at the start: what {@link loadLibc} gives from then on. */
export function chooseLibc(chosen: LibcVariant): void {
  variant = chosen;
}

/** Loads the C library. Throws when there is none that this process can call (not Linux with glibc). */
export function loadLibc(): Libc {
  return variant(bindLibc());
}

function bindLibc(): Libc {
  const library = koffi.load("libc.so.6");
  const open = library.func("int open(const void *path, int flags)");
  const close = library.func("int close(int fd)");
  const fcntl = library.func("int fcntl(int fd, int command, long argument)");
  const read = library.func("long read(int fd, void *buffer, size_t size)");
  const pread = library.func("long pread(int fd, void *buffer, size_t size, int64_t offset)");
  const readlink = library.func("long readlink(const void *path, void *buffer, size_t size)");
  const readlinkat = library.func(
    "long readlinkat(int fd, const void *path, void *buffer, size_t size)",
  );
  const getdents64 = library.func("long getdents64(int fd, void *buffer, size_t size)");
  const mkdir = library.func("int mkdir(const void *path, unsigned int mode)");
  const rename = library.func("int rename(const void *from, const void *to)");
  const unlink = library.func("int unlink(const void *path)");
  const rmdir = library.func("int rmdir(const void *path)");
  const openat = library.func("int openat(int fd, const void *path, int flags)");
  const fchownat = library.func(
    "int fchownat(int fd, const void *path, uint32_t uid, uint32_t gid, int flags)",
  );
  const poll = library.func("int poll(void *fds, unsigned long count, int timeout)");
  const trim = library.func("int malloc_trim(size_t pad)");
  const statx = library.func(
    "int statx(int fd, const void *path, int flags, unsigned int mask, void *buffer)",
  );
  const fstatfs = library.func("int fstatfs(int fd, void *buffer)");
  const flock = library.func("int flock(int fd, int operation)");
  const ioctl = library.func("int ioctl(int fd, unsigned long request, void *argument)");
  const getsockopt = library.func(
    "int getsockopt(int fd, int level, int name, void *value, void *size)",
  );
  const socket = library.func("int socket(int family, int type, int protocol)");
  const bind = library.func("int bind(int fd, const void *address, uint32_t size)");
  const recvfrom = library.func(
    "long recvfrom(int fd, void *buffer, size_t size, int flags, void *from, void *fromSize)",
  );
  const setsockopt = library.func(
    "int setsockopt(int fd, int level, int name, const void *value, uint32_t size)",
  );
  const fanotifyInit = library.func(
    "int fanotify_init(unsigned int flags, unsigned int event_flags)",
  );
  const fanotifyMark = library.func(
    "int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int dirfd, const void *path)",
  );
  const nameToHandleAt = library.func(
    "int name_to_handle_at(int dirfd, const void *path, void *handle, void *mount_id, int flags)",
  );
  const openByHandleAt = library.func(
    "int open_by_handle_at(int mount_fd, const void *handle, int flags)",
  );
  const mountId = new Uint8Array(4);
  return {
    open: (path, flags) => result(open(terminated(path), flags | O_CLOEXEC)),
    close: (fd) => result(close(fd)),
    dup: (fd) => result(fcntl(fd, F_DUPFD_CLOEXEC, 0)),
    read: (fd, buffer) => result(read(fd, buffer, buffer.byteLength)),
    pread: (fd, buffer, offset) => result(pread(fd, buffer, buffer.byteLength, offset)),
    readAsync: (fd, buffer) =>
      new Promise((resolve, reject) => {
        read.async(fd, buffer, buffer.byteLength, (error: unknown, length: number) => {
          if (error) reject(error);
          else resolve(length < 0 ? -ERRNO.EIO : length);
        });
      }),
    readlink: (path, buffer) => result(readlink(terminated(path), buffer, buffer.byteLength)),
    readlinkat: (fd, path, buffer) =>
      result(readlinkat(fd, terminated(path), buffer, buffer.byteLength)),
    getdents64: (fd, buffer) => result(getdents64(fd, buffer, buffer.byteLength)),
    mkdir: (path, mode) => result(mkdir(terminated(path), mode)),
    rename: (from, to) => result(rename(terminated(from), terminated(to))),
    unlink: (path) => result(unlink(terminated(path))),
    rmdir: (path) => result(rmdir(terminated(path))),
    openat: (fd, path, flags) => result(openat(fd, terminated(path), flags | O_CLOEXEC)),
    fchownat: (fd, path, { uid, gid, flags }) =>
      result(fchownat(fd, terminated(path), uid, gid, flags)),
    poll: (pollfds, timeoutMs) =>
      result(poll(pollfds, pollfds.byteLength / POLLFD_BYTES, timeoutMs)),
    malloc_trim: (padBytes) => trim(padBytes),
    pollAsync: (pollfds, timeoutMs) =>
      new Promise((resolve, reject) => {
        const count = pollfds.byteLength / POLLFD_BYTES;
        poll.async(pollfds, count, timeoutMs, (error: unknown, ready: number) => {
          if (error) reject(error);
          else resolve(ready);
        });
      }),
    statx: (fd, path, { flags, mask, buffer }) =>
      result(statx(fd, terminated(path), flags, mask, buffer)),
    fstatfs: (fd, buffer) => result(fstatfs(fd, buffer)),
    flock: (fd, operation) => result(flock(fd, operation)),
    ioctl: (fd, request, argument) => result(ioctl(fd, request, argument)),
    getsockopt: (fd, { level, name, value }) =>
      result(getsockopt(fd, level, name, value, Uint32Array.of(value.byteLength))),
    socket: (family, type, protocol) =>
      result(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)),
    bind: (fd, address) => result(bind(fd, address, address.byteLength)),
    recvfrom(fd, buffer, from) {
      const fromSize = Uint32Array.of(from.byteLength);
      return result(recvfrom(fd, buffer, buffer.byteLength, MSG_DONTWAIT, from, fromSize));
    },
    setsockopt: (fd, { level, name, value }) =>
      result(setsockopt(fd, level, name, value, value.byteLength)),
    setsockopt_filter(fd, program) {
      // `struct sock_fprog`: the kernel copies the program before the call returns.
      const memory = koffi.alloc("uint8_t", program.byteLength);
      new Uint8Array(koffi.view(memory, program.byteLength)).set(program);
      const value = new DataView(new ArrayBuffer(16));
      value.setUint16(0, program.byteLength / SOCK_FILTER_BYTES, true);
      value.setBigUint64(8, koffi.address(memory), true);
      const bytes = new Uint8Array(value.buffer);
      const status = result(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, bytes, bytes.length));
      koffi.free(memory);
      return status;
    },
    // The kernel counts what there is room for in instructions.
    getsockopt_filter: (fd, program) =>
      result(
        getsockopt(
          fd,
          SOL_SOCKET,
          SO_ATTACH_FILTER,
          program,
          Uint32Array.of(program.byteLength / SOCK_FILTER_BYTES),
        ),
      ),
    fanotify_init: (flags, eventFlags) => result(fanotifyInit(flags, eventFlags)),
    fanotify_mark: (fd, { flags, mask, markedFd }) =>
      result(fanotifyMark(fd, flags, mask, markedFd, null)),
    name_to_handle_at: (fd, path, handle, flags = 0) =>
      result(nameToHandleAt(fd, terminated(path), handle, mountId, flags)),
    open_by_handles_at: (mountFd, handles, flags) =>
      handles.map((handle) => result(openByHandleAt(mountFd, handle, flags | O_CLOEXEC))),
  };
}

/** Name of a negative result, such as `EPERM`, for reasons shown to people. */
export function errnoText(negative: number): string {
  const found = Object.entries(ERRNO).find(([, number]) => number === -negative);
  return found === undefined ? `errno ${-negative}` : found[0];
}

function result(value: number): number {
  return value < 0 ? -koffi.errno() : value;
}

const EMPTY_PATH = new Uint8Array(1);
const encoder = new TextEncoder();

function terminated(path: PathBytes): Uint8Array {
  if (path === "") return EMPTY_PATH;
  const bytes = typeof path === "string" ? encoder.encode(path) : path;
  const text = new Uint8Array(bytes.byteLength + 1);
  text.set(bytes);
  return text;
}
