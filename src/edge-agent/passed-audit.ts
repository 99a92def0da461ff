/**
 * The audit socket that whoever started the agent has opened for it (sd_listen_fds(3), `ListenNetlink=audit 1`): then the
 * agent needs neither CAP_AUDIT_READ nor netlink of its own.
 *
 * Invariants: what is passed is used only when it is what it should be, else the agent does not start; no program that
 * this one starts inherits it; nothing is read that came before the filter was on.
 */
import {
  AF_NETLINK,
  AUDIT_FILTER,
  lockAuditFilter,
  NETLINK_AUDIT,
  READLOG,
  receiveAudit,
} from "./audit-socket.ts";
import { ERRNO, errnoText, type Libc, SOL_SOCKET } from "./libc.ts";
import type { ProcessCalls } from "./process-calls.ts";

/** The first descriptor that is passed; there is one. */
const PASSED_FD = 3;
/** `FileDescriptorName=` of the socket's unit. */
const NAME = "audit";
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const SOL_NETLINK = 270;
const NETLINK_LIST_MEMBERSHIPS = 9;
/** More than any buffer holds. */
const WAITING_MAX = 1_000_000;

export interface PassedOptions {
  readonly calls: Pick<ProcessCalls, "setInherited">;
  /** Of this process, to be changed. */
  readonly environment: Record<string, string | undefined>;
  readonly pid: number;
}

/** Variables that pass it on to the program that takes the place of this one. */
export function variablesOfPassed(pid: number): Readonly<Record<string, string>> {
  return { LISTEN_PID: String(pid), LISTEN_FDS: "1", LISTEN_FDNAMES: NAME };
}

/**
 * The descriptor that was passed to the process `pid`, from now on closed on exec; undefined when there is none. The
 * variables are taken away. Throws when something else was passed.
 */
export function takePassedAudit(libc: Libc, options: PassedOptions): number | undefined {
  const { calls, environment, pid } = options;
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = environment;
  for (const name of Object.keys(variablesOfPassed(pid))) delete environment[name];
  if (LISTEN_PID !== String(pid)) return undefined;
  const count = /^[0-9]{1,4}$/.test(LISTEN_FDS ?? "") ? Number(LISTEN_FDS) : 0;
  for (let each = 0; each < count; each += 1) {
    calls.setInherited(PASSED_FD + each, "closed on exec");
  }
  if (count === 0) return undefined;
  const names = LISTEN_FDNAMES ?? Array.from({ length: count }, () => NAME).join(":");
  if (count > 1 || names !== NAME) {
    throw new Error(
      `Cannot use the sockets "${names}" that were passed: the agent takes one, "${NAME}"`,
    );
  }
  const fault = faultOf(libc);
  if (fault !== undefined) throw new Error(`Cannot use the socket "${NAME}" passed: ${fault}`);
  return PASSED_FD;
}

function faultOf(libc: Libc): string | undefined {
  const [family, protocol, groups] = [
    optionOf(libc, SOL_SOCKET, SO_DOMAIN),
    optionOf(libc, SOL_SOCKET, SO_PROTOCOL),
    optionOf(libc, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS),
  ];
  if (family !== AF_NETLINK || protocol !== NETLINK_AUDIT) {
    return "it is no netlink socket of the kernel's audit (ListenNetlink=audit 1)";
  }
  if (groups !== READLOG) return "it is not in group 1 alone (ListenNetlink=audit 1)";
  const status = lockAuditFilter(libc, PASSED_FD);
  if (status >= 0) {
    forgetWaiting(libc);
    return undefined;
  }
  // An earlier agent's: it stays with the socket, and so does what has come through it since.
  if (status !== -ERRNO.EPERM) return `it takes no filter (${errnoText(status)})`;
  if (hasFilter(libc)) return undefined;
  return "it has a filter of another version; stop the agent and its socket, and start the agent";
}

function optionOf(libc: Libc, level: number, name: number): number | undefined {
  const value = new Uint32Array(1);
  const bytes = new Uint8Array(value.buffer);
  return libc.getsockopt(PASSED_FD, { level, name, value: bytes }) < 0 ? undefined : value[0];
}

function hasFilter(libc: Libc): boolean {
  const found = new Uint8Array(AUDIT_FILTER.length);
  return libc.getsockopt_filter(PASSED_FD, found) >= 0 && Buffer.compare(found, AUDIT_FILTER) === 0;
}

/** Whatever came through no filter. */
function forgetWaiting(libc: Libc): void {
  const buffer = new Uint8Array(1);
  for (let each = 0; each < WAITING_MAX; each += 1) {
    const length = receiveAudit(libc, PASSED_FD, buffer);
    if (length < 0 && length !== -ERRNO.ENOBUFS && length !== -ERRNO.EINTR) return;
  }
}
