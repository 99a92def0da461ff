/**
 * Listening to the kernel's audit: what was told since the last look, and what was lost meanwhile.
 *
 * Invariants: it is read as soon as it comes, so that the kernel's buffer is a reserve; what waits for the next look is
 * bounded; what the kernel had no room for, or did not fit here, is counted. Nothing of audit is changed: whether it is
 * on, and by which rules, is the host's choice.
 */
import { AUDIT_TYPE, openAuditSocket, receiveAudit, stirAudit } from "../../../audit-socket.ts";
import { type Libbpf, loadLibbpf } from "../../../libbpf.ts";
import {
  ERRNO,
  errnoText,
  type Libc,
  loadLibc,
  POLLFD_BYTES,
  POLLIN,
  SOL_SOCKET,
} from "../../../libc.ts";
import {
  AUDIT_RECORD_BYTES_MAX,
  type AuditRecord,
  isTurnedOff,
  parseAuditRecord,
} from "./audit-record.ts";

export interface AuditTap extends AsyncDisposable {
  /** What came since the last call. */
  take(): AuditTaken;
  /** Makes the kernel tell something, if it tells anything: the next but one {@link AuditTap.take} knows. */
  stir(): void;
}

/** Where audit is listened to. */
export interface AuditPlace {
  /** Whether something comes when something is told; never throws for what is missing. */
  probe(): Promise<AuditState>;
  /** Undefined where nobody may listen. */
  open(): AuditTap | undefined;
}

/** The reason ends with what would help. */
export type AuditState =
  | { readonly state: "on" }
  | { readonly state: "off"; readonly reason: string };

export interface AuditTaken {
  readonly records: readonly AuditRecord[];
  /** Those that could not be read, and those for which there was no room. */
  readonly unreadable: number;
  readonly lost: number;
  /** Whether audit was turned off: what is told from then on does not come. */
  readonly isTurnedOff: boolean;
  /** What the latest that came says; undefined while nothing came. */
  readonly state: AuditState | undefined;
}

/** Records between two looks, fewer than the events that one collection may have. */
export const AUDIT_RECORDS_MAX = 5_000;
const WAIT_MS = 250;
/** How long the kernel may take to tell of a listener. */
const PROOF_LIMIT_MS = 1_000;
/** Of `SO_MEMINFO`, the last (include/uapi/linux/sock_diag.h): messages that found no room. */
const SO_MEMINFO = 55;
const MEMINFO_WORDS = 9;
const NO_CAPABILITY = "the agent has no CAP_AUDIT_READ; give it that with the others";
/** Also of a unit that forbids what its socket unit is to do. */
const NO_NETLINK = "the agent may open no netlink socket; install probity-agent-audit.socket " +
  "beside its service, which passes it one";
const OFF: AuditState = {
  state: "off",
  reason: "the kernel's audit is off; turn it on: auditctl -e 1, or install auditd",
};

/** The audit of this host's kernel. */
export const HOST_AUDIT: AuditPlace = { probe: probeAudit, open: openAuditTap };

function openAuditTap(): AuditTap | undefined {
  const libc = loadLibc();
  const fd = openAuditSocket(libc);
  if (fd < 0) return undefined;
  const buffer = new Uint8Array(AUDIT_RECORD_BYTES_MAX + 1);
  const closing = new AbortController();
  let records: AuditRecord[] = [];
  let [unreadable, unkept] = [0, 0];
  // A socket that was passed may have lost some before: no agent was there, which is told already.
  let dropsTold = dropsOf(libc, fd);
  let isOff = false;
  let state: AuditState | undefined;
  const drain = (): void => {
    for (let reads = 0; reads < AUDIT_RECORDS_MAX; reads += 1) {
      const length = receiveAudit(libc, fd, buffer);
      // What found no room is known by its count.
      if (length === 0 || length === -ERRNO.ENOBUFS || length === -ERRNO.EINTR) continue;
      if (length < 0) return;
      const type = typeOf(buffer);
      const message = buffer.subarray(0, length);
      const isLast = type === AUDIT_TYPE.CONFIG_CHANGE && isTurnedOff(message);
      isOff ||= isLast;
      state = isLast ? OFF : { state: "on" };
      if (type === AUDIT_TYPE.EVENT_LISTENER || type === AUDIT_TYPE.BPF) continue;
      if (type === AUDIT_TYPE.CONFIG_CHANGE) continue;
      const record = parseAuditRecord(message);
      if (record === "unreadable") unreadable += 1;
      else if (records.length >= AUDIT_RECORDS_MAX) unkept += 1;
      else records.push(record);
    }
  };
  const pumping = (async () => {
    while (!closing.signal.aborted) {
      drain();
      await readable(libc, fd, WAIT_MS);
    }
  })();
  return {
    take() {
      drain();
      const drops = dropsOf(libc, fd);
      const lost = unkept + Math.max(0, drops - dropsTold);
      const taken = { records, unreadable, lost, isTurnedOff: isOff, state };
      [records, unreadable, unkept, dropsTold, isOff] = [[], 0, 0, drops, false];
      return taken;
    },
    stir: () => stirAudit(libc, libbpfIfThere),
    async [Symbol.asyncDispose]() {
      if (closing.signal.aborted) return;
      closing.abort();
      await pumping;
      libc.close(fd);
    },
  };
}

/** Nothing is read: of a socket that was passed it would be missing afterwards. */
async function probeAudit(): Promise<AuditState> {
  const libc = loadLibc();
  const fd = openAuditSocket(libc);
  if (fd < 0) return { state: "off", reason: reasonOf(fd) };
  try {
    stirAudit(libc, libbpfIfThere);
    return await readable(libc, fd, PROOF_LIMIT_MS) ? { state: "on" } : OFF;
  } finally {
    libc.close(fd);
  }
}

/** Without it nothing can be loaded; its absence is told by the sources that need it. */
function libbpfIfThere(): Libbpf | undefined {
  try {
    return loadLibbpf();
  } catch {
    return undefined;
  }
}

function reasonOf(negative: number): string {
  switch (-negative) {
    case ERRNO.EPERM:
    case ERRNO.EACCES:
      return NO_CAPABILITY;
    case ERRNO.EAFNOSUPPORT:
      return NO_NETLINK;
    case ERRNO.EPROTONOSUPPORT:
      return "this kernel has no audit; boot it with audit=1, or use one that has";
    default:
      return `Cannot listen to the kernel's audit: ${errnoText(negative)}; use another kernel`;
  }
}

async function readable(libc: Libc, fd: number, limitMs: number): Promise<boolean> {
  const asked = new DataView(new ArrayBuffer(POLLFD_BYTES));
  asked.setInt32(0, fd, true);
  asked.setInt16(4, POLLIN, true);
  return await libc.pollAsync(new Uint8Array(asked.buffer), limitMs) > 0;
}

function dropsOf(libc: Libc, fd: number): number {
  const words = new Uint32Array(MEMINFO_WORDS);
  const value = new Uint8Array(words.buffer);
  const status = libc.getsockopt(fd, { level: SOL_SOCKET, name: SO_MEMINFO, value });
  return status < 0 ? 0 : words.at(-1) ?? 0;
}

function typeOf(message: Uint8Array): number {
  return new DataView(message.buffer).getUint16(4, true);
}
