/**
 * The C library's calls that change or start a process, and messages with descriptors between two processes.
 *
 * Invariants: one method per function; nothing is decided here. A failure is the negative errno. A message that did not
 * fit is a failure, and the descriptors that came with it are closed: none is ever left without an owner.
 */
import koffi from "koffi";
import { ERRNO } from "./libc.ts";

/** Largest message in either direction, in bytes. */
export const MESSAGE_BYTES_MAX = 64 * 1024;
/** Most descriptors with one message. */
export const MESSAGE_DESCRIPTORS_MAX = 32;

/** Capabilities by name (include/uapi/linux/capability.h). */
export const CAPABILITY = {
  CAP_DAC_READ_SEARCH: 2,
  CAP_SETPCAP: 8,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_AUDIT_READ: 37,
} as const;

/** Sets of capabilities, one bit for each. */
export interface CapabilitySets {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

export interface ProcessCalls {
  /** Two connected sockets that keep messages apart and end with the program (close on exec). */
  socketpair(): readonly [number, number] | number;
  /** Whether a descriptor stays open over exec. */
  setInherited(fd: number, inherited: "inherited" | "closed on exec"): number;
  /** Makes `to` another name of `from`. */
  dup2(from: number, to: number): number;
  /** Of the calling thread. */
  capget(): CapabilitySets;
  capset(sets: CapabilitySets): number;
  /** Of the calling thread: makes an inheritable capability survive exec without being root. */
  raiseAmbient(capability: number): number;
  clearAmbient(): number;
  /** Of the calling thread: a capability that exec can never bring back. EINVAL: the kernel knows no such one. */
  dropBounding(capability: number): number;
  keepCapabilities(): number;
  setNoNewPrivileges(): number;
  /** Whether other processes of the same user may look into this one (and it leaves core files). */
  setDumpable(dumpable: "dumpable" | "closed"): number;
  setgroups(groups: readonly number[]): number;
  setresgid(gid: number): number;
  setresuid(uid: number): number;
  ignoreSignal(signal: number): number;
  /** To a process, or to a group of them by its negative number. */
  kill(target: number, signal: number): number;
  /** A file in memory without a name among files, closed on exec, that can be sealed: its descriptor. */
  memfd(name: string): number;
  /** From now on nobody can change such a file, nor take that back. */
  seal(fd: number): number;
  /** Starts a program with the calling thread's rights and descriptors: its pid. */
  posix_spawn(path: string, words: readonly string[], environment: readonly string[]): number;
  /** Does not return when it works: the program takes the place of this one. */
  execve(path: string, words: readonly string[], environment: readonly string[]): number;
  /** Messages over a connected socket; one per process and socket. */
  messages(fd: number): MessageSocket;
}

export interface Message {
  /** Valid until the next call. */
  readonly bytes: Uint8Array;
  /** The receiver closes them. */
  readonly descriptors: readonly number[];
}

export interface MessageSocket {
  /** Waits until it is taken. */
  send(bytes: Uint8Array, descriptors: readonly number[]): number;
  /** Waits for a message; an empty one: the other side is gone. */
  receive(): Message | number;
}

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2000000;
const F_SETFD = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE (include/uapi/linux/fcntl.h). */
const ALL_SEALS = 0xf;
/** MFD_CLOEXEC and MFD_ALLOW_SEALING (include/uapi/linux/memfd.h). */
const SEALABLE = 3;
const FD_CLOEXEC = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAPABILITY_VERSION_3 = 0x20080522;
const SIG_IGN = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 8;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Loads the C library. Throws when there is none that this process can call (not Linux with glibc). */
export function loadProcessCalls(): ProcessCalls {
  const library = koffi.load("libc.so.6");
  const prctl = library.func(
    "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
  );
  const control = (option: number, a = 0, b = 0): number => result(prctl(option, a, b, 0, 0));
  return {
    ...bindCredentials(library),
    ...bindPrograms(library),
    raiseAmbient: (capability) => control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability),
    clearAmbient: () => control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL),
    dropBounding: (capability) => control(PR_CAPBSET_DROP, capability),
    keepCapabilities: () => control(PR_SET_KEEPCAPS, 1),
    setNoNewPrivileges: () => control(PR_SET_NO_NEW_PRIVS, 1),
    setDumpable: (dumpable) => control(PR_SET_DUMPABLE, dumpable === "dumpable" ? 1 : 0),
    messages: (fd) => openMessages(library, fd),
  };
}

type Library = ReturnType<typeof koffi.load>;

function bindCredentials(library: Library) {
  const capget = library.func("int capget(void *header, void *data)");
  const capset = library.func("int capset(void *header, void *data)");
  const setgroups = library.func("int setgroups(size_t count, void *groups)");
  const setresgid = library.func("int setresgid(uint32_t r, uint32_t e, uint32_t s)");
  const setresuid = library.func("int setresuid(uint32_t r, uint32_t e, uint32_t s)");
  const header = () => Uint32Array.of(CAPABILITY_VERSION_3, 0);
  return {
    capget: (): CapabilitySets => {
      const data = new Uint32Array(6);
      capget(header(), data);
      const set = (place: number): bigint =>
        BigInt(data[place] ?? 0) | (BigInt(data[place + 3] ?? 0) << 32n);
      return { effective: set(0), permitted: set(1), inheritable: set(2) };
    },
    capset: ({ effective, permitted, inheritable }: CapabilitySets): number => {
      const sets = [effective, permitted, inheritable];
      const words = [...sets.map((set) => set & 0xffffffffn), ...sets.map((set) => set >> 32n)];
      return result(capset(header(), Uint32Array.from(words, Number)));
    },
    setgroups: (groups: readonly number[]): number =>
      result(setgroups(groups.length, Uint32Array.from([...groups, 0]))),
    setresgid: (gid: number): number => result(setresgid(gid, gid, gid)),
    setresuid: (uid: number): number => result(setresuid(uid, uid, uid)),
  };
}

function bindPrograms(library: Library) {
  const socketpair = library.func("int socketpair(int family, int type, int protocol, void *fds)");
  const fcntl = library.func("int fcntl(int fd, int command, long argument)");
  const memfd = library.func("int memfd_create(const char *name, unsigned int flags)");
  const dup2 = library.func("int dup2(int from, int to)");
  const kill = library.func("int kill(int target, int signal)");
  const signal = library.func("void *signal(int signal, intptr_t handler)");
  const spawn = library.func(
    "int posix_spawn(void *pid, const char *path, void *actions, void *attributes, const char **argv, const char **envp)",
  );
  const execve = library.func("int execve(const char *path, const char **argv, const char **envp)");
  return {
    socketpair: (): readonly [number, number] | number => {
      const fds = new Int32Array(2);
      const status = result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
      return status < 0 ? status : [fds[0] ?? -1, fds[1] ?? -1];
    },
    setInherited: (fd: number, inherited: "inherited" | "closed on exec"): number =>
      result(fcntl(fd, F_SETFD, inherited === "inherited" ? 0 : FD_CLOEXEC)),
    dup2: (from: number, to: number): number => result(dup2(from, to)),
    kill: (target: number, signal: number): number => result(kill(target, signal)),
    memfd: (name: string): number => result(memfd(name, SEALABLE)),
    seal: (fd: number): number => result(fcntl(fd, F_ADD_SEALS, ALL_SEALS)),
    ignoreSignal: (number: number): number => {
      signal(number, SIG_IGN);
      return 0;
    },
    posix_spawn(path: string, words: readonly string[], environment: readonly string[]): number {
      const pid = new Int32Array(1);
      const status = spawn(pid, path, null, null, [...words, null], [...environment, null]);
      return status === 0 ? pid[0] ?? 0 : -status;
    },
    execve: (path: string, words: readonly string[], environment: readonly string[]): number =>
      result(execve(path, [...words, null], [...environment, null])),
  };
}

/** `struct msghdr`, `struct iovec` and `struct cmsghdr` on 64-bit Linux, in one block of the C library's memory. */
const VECTOR_AT = 64;
const CONTROL_AT = 80;
const CONTROL_HEADER_BYTES = 16;
const CONTROL_BYTES = CONTROL_HEADER_BYTES + 4 * MESSAGE_DESCRIPTORS_MAX;
const DATA_AT = 256;

function openMessages(library: Library, fd: number): MessageSocket {
  const sendmsg = library.func("int64_t sendmsg(int fd, uintptr_t message, int flags)");
  const recvmsg = library.func("int64_t recvmsg(int fd, uintptr_t message, int flags)");
  const close = library.func("int close(int fd)");
  const address = BigInt(
    library.func("uintptr_t malloc(size_t size)")(DATA_AT + MESSAGE_BYTES_MAX),
  );
  const memory: ArrayBuffer = koffi.view(address, DATA_AT + MESSAGE_BYTES_MAX);
  const view = new DataView(memory);
  const data = new Uint8Array(memory, DATA_AT);
  const prepare = (dataBytes: number, controlBytes: number): void => {
    new Uint8Array(memory, 0, DATA_AT).fill(0);
    view.setBigUint64(16, address + BigInt(VECTOR_AT), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(VECTOR_AT, address + BigInt(DATA_AT), true);
    view.setBigUint64(VECTOR_AT + 8, BigInt(dataBytes), true);
    if (controlBytes === 0) return;
    view.setBigUint64(32, address + BigInt(CONTROL_AT), true);
    view.setBigUint64(40, BigInt(controlBytes), true);
  };
  const again = (call: () => number): number => {
    for (;;) {
      const status = result(call());
      if (status !== -ERRNO.EINTR) return status;
    }
  };
  return {
    send(bytes, descriptors) {
      if (bytes.length > MESSAGE_BYTES_MAX || descriptors.length > MESSAGE_DESCRIPTORS_MAX) {
        return -ERRNO.EINVAL;
      }
      // The kernel wants the whole of the last word.
      const used = CONTROL_HEADER_BYTES + 4 * descriptors.length;
      prepare(bytes.length, descriptors.length === 0 ? 0 : (used + 7) & ~7);
      data.set(bytes);
      if (descriptors.length > 0) {
        view.setBigUint64(CONTROL_AT, BigInt(used), true);
        view.setInt32(CONTROL_AT + 8, SOL_SOCKET, true);
        view.setInt32(CONTROL_AT + 12, SCM_RIGHTS, true);
        for (const [place, each] of descriptors.entries()) {
          view.setInt32(CONTROL_AT + CONTROL_HEADER_BYTES + 4 * place, each, true);
        }
      }
      return again(() => Number(sendmsg(fd, address, MSG_NOSIGNAL)));
    },
    receive() {
      prepare(MESSAGE_BYTES_MAX, CONTROL_BYTES);
      const length = again(() => Number(recvmsg(fd, address, MSG_CMSG_CLOEXEC)));
      if (length < 0) return length;
      const descriptors: number[] = [];
      if (Number(view.getBigUint64(40, true)) >= CONTROL_HEADER_BYTES) {
        const used = Number(view.getBigUint64(CONTROL_AT, true));
        for (let at = CONTROL_HEADER_BYTES; at + 4 <= used; at += 4) {
          descriptors.push(view.getInt32(CONTROL_AT + at, true));
        }
      }
      if ((view.getInt32(48, true) & (MSG_TRUNC | MSG_CTRUNC)) !== 0) {
        for (const each of descriptors) close(each);
        return -ERRNO.EINVAL;
      }
      return { bytes: data.subarray(0, length), descriptors };
    },
  };
}

function result(value: number): number {
  return value < 0 ? -koffi.errno() : value;
}
