/**
 * Records of wtmp and btmp (utmp(5)), read natively. Pure.
 *
 * Invariant: what is no record throws {@link UtmpError} and nothing else; text is given as it stands up to its first NUL,
 * bytes that are no UTF-8 escaped.
 */
import { isIP } from "node:net";
import { textOfBytes } from "../../../byte-text.ts";

/** What a record is about; others are of no use here. */
export type UtmpKind =
  | "empty"
  | "run_level"
  | "boot"
  | "new_time"
  | "old_time"
  | "init"
  | "login_process"
  | "user"
  | "dead"
  | "accounting";

export interface UtmpRecord {
  readonly kind: UtmpKind;
  readonly pid: number;
  /** Without `/dev/`. */
  readonly tty: string;
  readonly user: string;
  readonly host: string;
  /** Undefined when there is none. */
  readonly address: string | undefined;
  readonly timeUs: number;
  /** Which of `tty`, `user` and `remote` have bytes that are no UTF-8. */
  readonly escaped: readonly string[];
}

export class UtmpError extends Error {
  override readonly name = "UtmpError";
}

export interface UtmpLayout {
  readonly recordBytes: number;
  readonly timeAt: number;
  readonly isTime64: boolean;
  readonly addressAt: number;
}

/** x86-64 and others that kept the form of their 32-bit programs. Seconds are without a sign: until 2106. */
export const UTMP_32: UtmpLayout = {
  ...{ recordBytes: 384, timeAt: 340, isTime64: false, addressAt: 348 },
};
/** arm64, riscv64 and loongarch64. */
export const UTMP_64: UtmpLayout = {
  ...{ recordBytes: 400, timeAt: 344, isTime64: true, addressAt: 360 },
};

/** The form of this host. */
export function utmpLayoutOf(arch: string): UtmpLayout {
  return ["arm64", "riscv64", "loong64"].includes(arch) ? UTMP_64 : UTMP_32;
}

const KINDS: readonly UtmpKind[] = [
  ...["empty", "run_level", "boot", "new_time", "old_time"] as const,
  ...["init", "login_process", "user", "dead", "accounting"] as const,
];
const MICROSECONDS = 1_000_000;

export function parseUtmp(bytes: Uint8Array, layout: UtmpLayout): UtmpRecord {
  if (bytes.length !== layout.recordBytes) {
    throw fault(`it has ${bytes.length} bytes, not ${layout.recordBytes}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kind = KINDS[view.getInt16(0, true)];
  if (kind === undefined) throw fault(`there is no type ${view.getInt16(0, true)}`);
  const pid = view.getInt32(4, true);
  if (pid < 0) throw fault(`its process is ${pid}`);
  const escaped: string[] = [];
  const text = (name: string, at: number, size: number): string => {
    const field = bytes.subarray(at, at + size);
    const end = field.indexOf(0);
    const { text, isEscaped } = textOfBytes(end === -1 ? field : field.subarray(0, end));
    if (isEscaped) escaped.push(name);
    return text;
  };
  const [tty, user, host] = [text("tty", 8, 32), text("user", 44, 32), text("remote", 76, 256)];
  const timeUs = timeOf(view, layout);
  return { kind, pid, tty, user, host, address: addressOf(view, layout), timeUs, escaped };
}

function timeOf(view: DataView, { timeAt, isTime64 }: UtmpLayout): number {
  const seconds = isTime64 ? Number(view.getBigInt64(timeAt, true)) : view.getUint32(timeAt, true);
  const microseconds = isTime64
    ? Number(view.getBigInt64(timeAt + 8, true))
    : view.getInt32(timeAt + 4, true);
  const timeUs = seconds * MICROSECONDS + microseconds;
  if (microseconds < 0 || microseconds >= MICROSECONDS) {
    throw fault(`its time has ${microseconds} microseconds`);
  }
  if (seconds < 0 || !Number.isSafeInteger(timeUs)) throw fault(`its time is ${seconds}`);
  return timeUs;
}

/** Four words in the order of the network; an IPv4 address is the first, with nothing after it. */
function addressOf(view: DataView, { addressAt }: UtmpLayout): string | undefined {
  const words = [0, 4, 8, 12].map((at) => view.getUint32(addressAt + at));
  if (words.every((word) => word === 0)) return undefined;
  const isV4 = words.slice(1).every((word) => word === 0);
  if (isV4) return [0, 1, 2, 3].map((at) => view.getUint8(addressAt + at)).join(".");
  const groups = Array.from(
    { length: 8 },
    (_, at) => view.getUint16(addressAt + at * 2).toString(16),
  );
  const mapped = /^0:0:0:0:0:ffff:/.test(groups.join(":"));
  if (mapped) return [12, 13, 14, 15].map((at) => view.getUint8(addressAt + at)).join(".");
  return shortV6(groups.join(":"));
}

/** As RFC 5952 has it. */
function shortV6(address: string): string {
  const host = isIP(address) === 6 ? new URL(`http://[${address}]/`).hostname : `[${address}]`;
  return host.slice(1, -1);
}

function fault(state: string): UtmpError {
  return new UtmpError(`Cannot read a record of a login: ${state}`);
}
