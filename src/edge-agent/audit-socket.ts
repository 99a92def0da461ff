/**
 * The kernel's audit as anyone with CAP_AUDIT_READ may listen to it: the multicast group of netlink(7) beside auditd, which
 * keeps what is its own.
 *
 * Invariant: what programs say of logins comes through, and how audit itself is set, and nothing else (no keystrokes, no
 * calls): the kernel itself keeps back the rest, and who has the socket cannot change that.
 */
import type { Libbpf } from "./libbpf.ts";
import { type Libc, SOL_SOCKET } from "./libc.ts";

/** Types of records (libaudit's names, `AUDIT_…`). */
export const AUDIT_TYPE = {
  USER_AUTH: 1100,
  USER_ACCT: 1101,
  USER_START: 1105,
  USER_END: 1106,
  USER_LOGIN: 1112,
  USER_LOGOUT: 1113,
  USER_CMD: 1123,
  /** Of the kernel: audit was turned off, or is set otherwise than before. */
  CONFIG_CHANGE: 1305,
  /** Of the kernel: a program of BPF was loaded or ended. */
  BPF: 1334,
  /** Of the kernel: somebody joined or left this group. */
  EVENT_LISTENER: 1335,
} as const;

export const AF_NETLINK = 16;
export const NETLINK_AUDIT = 9;
const SOCK_RAW = 3;
/** `struct sockaddr_nl`; the kernel has port 0. */
const ADDRESS_BYTES = 12;
const PORT_AT = 4;
const GROUPS_AT = 8;
/** As a set of groups: the one that is for reading. */
export const READLOG = 1;
const SO_RCVBUF = 8;
const SO_LOCK_FILTER = 44;
/** Asked for; the kernel gives as much as `net.core.rmem_max` allows. */
const BUFFER_BYTES = 4 * 1024 * 1024;

/** Who opens the sockets, and stirs the kernel. */
export interface AuditCalls {
  /** A descriptor, or a negative errno. */
  readonly open: (libc: Libc) => number;
  readonly stir: (libc: Libc, loadLibbpf: () => Libbpf | undefined) => void;
}
let calls: AuditCalls = { open: openHere, stir: stirHere };

/** To be called at most once, at the start: who does it from then on. */
export function chooseAudit(chosen: Partial<AuditCalls>): void {
  calls = { ...calls, ...chosen };
}

/** A socket that is in the group, or a negative errno; whoever opens it closes it. */
export function openAuditSocket(libc: Libc): number {
  return calls.open(libc);
}

/**
 * Does something harmless of which the kernel tells every listener while its audit is on: joins the group and leaves it,
 * or, where that is forbidden, loads a program that does nothing.
 */
export function stirAudit(libc: Libc, loadLibbpf: () => Libbpf | undefined): void {
  calls.stir(libc, loadLibbpf);
}

/**
 * Bytes of the next message of the kernel, 0 where another sent it, or a negative errno: who has CAP_NET_ADMIN may send to
 * the group, too, and claim any process.
 */
export function receiveAudit(libc: Libc, fd: number, buffer: Uint8Array): number {
  const from = new Uint8Array(ADDRESS_BYTES);
  const length = libc.recvfrom(fd, buffer, from);
  return length > 0 && new DataView(from.buffer).getUint32(PORT_AT, true) !== 0 ? 0 : length;
}

/** Lets the types of {@link AUDIT_TYPE} in and no others, for good: 0 or a negative errno. */
export function lockAuditFilter(libc: Libc, fd: number): number {
  const attached = libc.setsockopt_filter(fd, AUDIT_FILTER);
  if (attached < 0) return attached;
  return libc.setsockopt(fd, { level: SOL_SOCKET, name: SO_LOCK_FILTER, value: wordOf(1) });
}

function openHere(libc: Libc): number {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
  if (fd < 0) return fd;
  const address = new DataView(new ArrayBuffer(ADDRESS_BYTES));
  address.setUint16(0, AF_NETLINK, true);
  address.setUint32(GROUPS_AT, READLOG, true);
  const steps = [
    () => libc.setsockopt(fd, { level: SOL_SOCKET, name: SO_RCVBUF, value: wordOf(BUFFER_BYTES) }),
    () => lockAuditFilter(libc, fd),
    () => libc.bind(fd, new Uint8Array(address.buffer)),
  ];
  for (const step of steps) {
    const status = step();
    if (status >= 0) continue;
    libc.close(fd);
    return status;
  }
  return fd;
}

function stirHere(libc: Libc, loadLibbpf: () => Libbpf | undefined): void {
  const joined = openHere(libc);
  if (joined >= 0) {
    libc.close(joined);
    return;
  }
  const libbpf = loadLibbpf();
  const program = libbpf?.bpf_prog_load_syscall(NOTHING) ?? -1;
  if (program >= 0) libbpf?.close(program);
}

function wordOf(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

/** `return 0`, as instructions of BPF (include/uapi/linux/bpf.h). */
const NOTHING = BigUint64Array.of(0xb7n, 0x95n);

/** Loads half a word in the order of the network, compares, returns (include/uapi/linux/bpf_common.h). */
const [LDH, JEQ, RET] = [0x28, 0x15, 0x06];
/** Of `struct nlmsghdr`. */
const TYPE_AT = 4;

function filterOf(types: readonly number[]): Uint8Array {
  // The kernel's records have the order of the host.
  const swapped = types.map((type) => (type & 0xff) << 8 | type >> 8);
  const program = [
    [LDH, 0, 0, TYPE_AT],
    ...swapped.map((type, at) => [JEQ, types.length - at, 0, type]),
    [RET, 0, 0, 0],
    [RET, 0, 0, 0xffff_ffff],
  ];
  const bytes = new DataView(new ArrayBuffer(program.length * 8));
  for (const [place, [code = 0, isSo = 0, isNot = 0, value = 0]] of program.entries()) {
    bytes.setUint16(place * 8, code, true);
    bytes.setUint8(place * 8 + 2, isSo);
    bytes.setUint8(place * 8 + 3, isNot);
    bytes.setUint32(place * 8 + 4, value, true);
  }
  return new Uint8Array(bytes.buffer);
}

/** What {@link lockAuditFilter} attaches. */
export const AUDIT_FILTER = filterOf(Object.values(AUDIT_TYPE));
