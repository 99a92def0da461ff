/** Kernel records as bytes, made field by field, for tests of decoders. Numbers that are not given are 0. */
import {
  ANCESTOR,
  ANCESTOR_BYTES,
  CALL_EXEC,
  CLOSE,
  CLOSE_BYTES,
  CREDENTIALS,
  CREDENTIALS_BYTES,
  DNS,
  EXEC,
  EXIT,
  EXIT_BYTES,
  FILE,
  FORK_BYTES,
  GROUPS_MAX,
  HEADER,
  IDS,
  KIND,
  NETWORK,
  NETWORK_BYTES,
  PTRACE,
  PTRACE_BYTES,
  RECORD_VERSION,
  SIGNAL,
  SIGNAL_BYTES,
  SNAPSHOT,
} from "../../src/edge-agent/record-layout.ts";
import type { LocatedRecord } from "../../src/edge-agent/line-decoder.ts";
import { recordMemory } from "../../src/edge-agent/ring-buffer.ts";

export const UNSET = 4294967295;

export interface HeaderFields {
  readonly flags?: number;
  readonly timeNs?: bigint;
  readonly execId?: number;
  readonly pid?: number;
  readonly ppid?: number;
  readonly startNs?: bigint;
  readonly parentStartNs?: bigint;
  readonly uid?: number;
  readonly euid?: number;
  readonly gid?: number;
  readonly auid?: number;
  readonly session?: number;
  readonly cgroupId?: bigint;
  readonly comm?: string | Uint8Array;
}

type Text = string | Uint8Array;

const bytesOf = (text: Text): Uint8Array =>
  typeof text === "string" ? new TextEncoder().encode(text) : text;

function startRecord(kind: number, sizeBytes: number, header: HeaderFields): DataView {
  const view = new DataView(new ArrayBuffer(sizeBytes));
  view.setUint8(HEADER.version, RECORD_VERSION);
  view.setUint8(HEADER.kind, kind);
  view.setUint16(HEADER.flags, header.flags ?? 0, true);
  view.setUint32(HEADER.length, sizeBytes, true);
  view.setBigUint64(HEADER.time_ns, header.timeNs ?? 0n, true);
  view.setUint16(HEADER.exec_id, header.execId ?? 0, true);
  view.setUint32(HEADER.tid, header.pid ?? 0, true);
  view.setUint32(HEADER.pid, header.pid ?? 0, true);
  view.setUint32(HEADER.ppid, header.ppid ?? 0, true);
  view.setBigUint64(HEADER.start_ns, header.startNs ?? 0n, true);
  view.setBigUint64(HEADER.parent_start_ns, header.parentStartNs ?? 0n, true);
  view.setUint32(HEADER.uid, header.uid ?? 0, true);
  view.setUint32(HEADER.euid, header.euid ?? 0, true);
  view.setUint32(HEADER.gid, header.gid ?? 0, true);
  view.setUint32(HEADER.auid, header.auid ?? UNSET, true);
  view.setUint32(HEADER.session, header.session ?? UNSET, true);
  view.setBigUint64(HEADER.cgroup_id, header.cgroupId ?? 1n, true);
  new Uint8Array(view.buffer).set(bytesOf(header.comm ?? "comm"), HEADER.comm);
  return view;
}

export interface AncestorFields {
  readonly pid: number;
  readonly startNs: bigint;
  readonly comm?: Text;
  readonly exe?: Text;
}

/** Fields of `struct probity_ids`. */
export type IdsFields = Readonly<Partial<Record<keyof typeof IDS, number | bigint>>>;

const WIDE_IDS: readonly string[] = ["permitted", "effective", "inheritable", "ambient"];

function writeIds(view: DataView, at: number, fields: IdsFields): void {
  for (const [name, offset] of Object.entries(IDS)) {
    const value = new Map<string, number | bigint>(Object.entries(fields)).get(name) ?? 0;
    if (WIDE_IDS.includes(name)) view.setBigUint64(at + offset, BigInt(value), true);
    else view.setUint32(at + offset, Number(value), true);
  }
}

export interface ExecFields extends HeaderFields {
  readonly exe?: Text;
  readonly cwd?: Text;
  readonly script?: Text;
  /** With the NUL after each variable. */
  readonly env?: Text;
  /** With the NUL after each argument. */
  readonly argv?: Text;
  readonly argvBytes?: number;
  readonly tty?: string;
  readonly ancestors?: readonly AncestorFields[];
  /** Ids that are not given are those of the header. */
  readonly ids?: IdsFields;
  readonly capsGained?: bigint;
  readonly marks?: number;
  /** What is executed. */
  readonly file?: { readonly inode: number; readonly device: number };
  /** Bytes after the last argument. */
  readonly paddingBytes?: number;
}

export function execRecord(fields: ExecFields): Uint8Array {
  const ancestors = fields.ancestors ?? [];
  const nameOf = ({ exe, comm }: AncestorFields) => bytesOf(exe ?? comm ?? "");
  const ancestorNames = Buffer.concat(ancestors.map(nameOf));
  const parts = [fields.exe ?? "/bin/x", fields.cwd ?? "/", fields.script ?? "", ancestorNames]
    .concat(fields.env ?? "", fields.argv ?? "").map(bytesOf);
  const textsAt = EXEC.tail + ancestors.length * ANCESTOR_BYTES;
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, textsAt) +
    (fields.paddingBytes ?? 0);
  const view = startRecord(KIND.exec, sizeBytes, fields);
  const bytes = new Uint8Array(view.buffer);
  let at: number = textsAt;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const [exe, cwd, script, , env, argv] = parts.map(({ length }) => length);
  view.setBigUint64(EXEC.inode, BigInt(fields.file?.inode ?? 0), true);
  view.setUint32(EXEC.device, fields.file?.device ?? 0, true);
  view.setUint16(EXEC.exe_length, exe ?? 0, true);
  view.setUint16(EXEC.cwd_length, cwd ?? 0, true);
  view.setUint16(EXEC.script_length, script ?? 0, true);
  view.setUint32(EXEC.env_length, env ?? 0, true);
  view.setUint32(EXEC.argv_length, argv ?? 0, true);
  view.setUint32(EXEC.argv_bytes, fields.argvBytes ?? argv ?? 0, true);
  view.setUint32(EXEC.marks, fields.marks ?? 0, true);
  view.setBigUint64(EXEC.caps_gained, fields.capsGained ?? 0n, true);
  const { uid = 0, euid = 0, gid = 0 } = fields;
  const usual = { uid, euid, suid: euid, fsuid: euid, gid, egid: gid, sgid: gid, fsgid: gid };
  writeIds(view, EXEC.ids, { ...usual, ...fields.ids });
  bytes.set(bytesOf(fields.tty ?? ""), EXEC.tty);
  view.setUint32(EXEC.ancestor_count, ancestors.length, true);
  for (const [place, ancestor] of ancestors.entries()) {
    const ancestorAt = EXEC.tail + place * ANCESTOR_BYTES;
    view.setBigUint64(ancestorAt + ANCESTOR.start_ns, ancestor.startNs, true);
    view.setUint32(ancestorAt + ANCESTOR.pid, ancestor.pid, true);
    view.setUint16(ancestorAt + ANCESTOR.name_length, nameOf(ancestor).length, true);
    view.setUint16(ancestorAt + ANCESTOR.is_exe, ancestor.exe === undefined ? 0 : 1, true);
  }
  return bytes;
}

export interface CredentialsFields extends HeaderFields {
  readonly kind?: "credentials" | "callCredentials";
  /** Number of a system call; by default an exec's. */
  readonly call?: number;
  readonly error?: number;
  readonly before?: IdsFields;
  readonly after?: IdsFields;
  readonly groupsBefore?: readonly number[];
  readonly groupsAfter?: readonly number[];
}

export function credentialsRecord(fields: CredentialsFields): Uint8Array {
  const view = startRecord(KIND[fields.kind ?? "credentials"], CREDENTIALS_BYTES, fields);
  view.setUint32(CREDENTIALS.call, fields.call ?? CALL_EXEC, true);
  view.setUint32(CREDENTIALS.error, fields.error ?? 0, true);
  writeIds(view, CREDENTIALS.before, fields.before ?? {});
  writeIds(view, CREDENTIALS.after, fields.after ?? {});
  for (const side of ["before", "after"] as const) {
    const groups = (side === "before" ? fields.groupsBefore : fields.groupsAfter) ?? [];
    view.setUint32(CREDENTIALS[`groups_${side}_count`], groups.length, true);
    for (const [place, gid] of groups.slice(0, GROUPS_MAX).entries()) {
      view.setUint32(CREDENTIALS[`groups_${side}`] + 4 * place, gid, true);
    }
  }
  return new Uint8Array(view.buffer);
}

export interface SnapshotFields extends HeaderFields {
  readonly exe?: Text;
  readonly ids?: IdsFields;
}

export function snapshotRecord(fields: SnapshotFields): Uint8Array {
  const exe = bytesOf(fields.exe ?? "");
  const sizeBytes = Math.ceil((SNAPSHOT.exe + exe.length) / 8) * 8;
  const view = startRecord(KIND.snapshot, sizeBytes, fields);
  writeIds(view, SNAPSHOT.ids, fields.ids ?? {});
  view.setUint16(SNAPSHOT.exe_length, exe.length, true);
  new Uint8Array(view.buffer).set(exe, SNAPSHOT.exe);
  return new Uint8Array(view.buffer);
}

export interface PtraceFields extends HeaderFields {
  readonly request: number;
  readonly error?: number;
  readonly target?: { readonly pid: number; readonly startNs: bigint };
  readonly askedPid?: number;
  readonly isInitial?: boolean;
  readonly isOwn?: boolean;
}

export function ptraceRecord(fields: PtraceFields): Uint8Array {
  const view = startRecord(KIND.ptrace, PTRACE_BYTES, fields);
  view.setUint32(PTRACE.request, fields.request, true);
  view.setUint32(PTRACE.error, fields.error ?? 0, true);
  view.setUint32(PTRACE.target_pid, fields.target?.pid ?? 0, true);
  view.setBigUint64(PTRACE.target_start_ns, fields.target?.startNs ?? 0n, true);
  view.setUint32(PTRACE.asked_pid, fields.askedPid ?? 0, true);
  view.setUint32(PTRACE.is_initial, fields.isInitial === false ? 0 : 1, true);
  view.setUint32(PTRACE.is_own, fields.isOwn === true ? 1 : 0, true);
  return new Uint8Array(view.buffer);
}

export interface SignalFields extends HeaderFields {
  readonly signal: number;
  readonly code?: number;
  readonly target: { readonly pid: number; readonly startNs: bigint };
  readonly result?: number;
}

export function signalRecord(fields: SignalFields): Uint8Array {
  const view = startRecord(KIND.signal, SIGNAL_BYTES, fields);
  view.setUint32(SIGNAL.signal, fields.signal, true);
  view.setInt32(SIGNAL.code, fields.code ?? 0, true);
  view.setUint32(SIGNAL.target_pid, fields.target.pid, true);
  view.setBigUint64(SIGNAL.target_start_ns, fields.target.startNs, true);
  view.setUint32(SIGNAL.result, fields.result ?? 0, true);
  return new Uint8Array(view.buffer);
}

export function forkRecord(fields: HeaderFields): Uint8Array {
  return new Uint8Array(startRecord(KIND.fork, FORK_BYTES, fields).buffer);
}

export function exitRecord(fields: HeaderFields & { readonly status?: number }): Uint8Array {
  const view = startRecord(KIND.exit, EXIT_BYTES, fields);
  view.setUint32(EXIT.status, fields.status ?? 0, true);
  return new Uint8Array(view.buffer);
}

export interface FileFields extends HeaderFields {
  readonly path?: Text;
  readonly inode?: bigint;
  readonly size?: bigint;
  readonly device?: number;
  readonly generation?: number;
  readonly mode?: number;
  readonly links?: number;
  readonly openFlags?: number;
}

export function fileRecord(fields: FileFields): Uint8Array {
  const path = bytesOf(fields.path ?? "/file");
  const view = startRecord(KIND.fileOpen, FILE.path + path.length, fields);
  view.setBigUint64(FILE.inode, fields.inode ?? 0n, true);
  view.setBigUint64(FILE.size, fields.size ?? 0n, true);
  view.setUint32(FILE.device, fields.device ?? 0, true);
  view.setUint32(FILE.generation, fields.generation ?? 0, true);
  view.setUint32(FILE.mode, fields.mode ?? 0o100644, true);
  view.setUint32(FILE.links, fields.links ?? 1, true);
  view.setUint32(FILE.open_flags, fields.openFlags ?? 1, true);
  view.setUint16(FILE.path_length, path.length, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(path, FILE.path);
  return bytes;
}

export interface NetworkFields extends HeaderFields {
  readonly kind: "connect" | "accept" | "listen" | "close";
  readonly family?: number;
  readonly protocol?: number;
  readonly local?: readonly number[];
  readonly localPort?: number;
  readonly remote?: readonly number[];
  readonly remotePort?: number;
  readonly begunNs?: bigint;
  readonly error?: number;
  readonly isFailure?: boolean;
  readonly netCookie?: bigint;
  /** Of a close, as all that follows. */
  readonly role?: "connect" | "accept" | "listen";
  readonly bytesIn?: bigint;
  readonly bytesOut?: bigint;
  readonly packetsIn?: bigint;
  readonly packetsOut?: bigint;
  readonly isAggregate?: boolean;
}

export function networkRecord(fields: NetworkFields): Uint8Array {
  const isClose = fields.kind === "close";
  const view = startRecord(KIND[fields.kind], isClose ? CLOSE_BYTES : NETWORK_BYTES, fields);
  view.setUint16(NETWORK.family, fields.family ?? 2, true);
  view.setUint16(NETWORK.protocol, fields.protocol ?? 6, true);
  view.setUint16(NETWORK.local_port, fields.localPort ?? 0, true);
  view.setUint16(NETWORK.remote_port, fields.remotePort ?? 0, true);
  view.setBigUint64(NETWORK.begun_ns, fields.begunNs ?? 0n, true);
  view.setUint32(NETWORK.error, fields.error ?? 0, true);
  view.setUint32(NETWORK.is_failure, fields.isFailure === true ? 1 : 0, true);
  view.setBigUint64(NETWORK.net_cookie, fields.netCookie ?? 0n, true);
  if (isClose) {
    view.setBigUint64(CLOSE.bytes_in, fields.bytesIn ?? 0n, true);
    view.setBigUint64(CLOSE.bytes_out, fields.bytesOut ?? 0n, true);
    view.setBigUint64(CLOSE.packets_in, fields.packetsIn ?? 0n, true);
    view.setBigUint64(CLOSE.packets_out, fields.packetsOut ?? 0n, true);
    view.setUint32(CLOSE.role, fields.role === undefined ? 0 : KIND[fields.role], true);
    view.setUint32(CLOSE.is_aggregate, fields.isAggregate === true ? 1 : 0, true);
  }
  const bytes = new Uint8Array(view.buffer);
  bytes.set(fields.local ?? [], NETWORK.local_address);
  bytes.set(fields.remote ?? [], NETWORK.remote_address);
  return bytes;
}

export interface DnsFields extends HeaderFields {
  readonly payload: Uint8Array;
  /** When the record says another one. */
  readonly payloadLength?: number;
  readonly netCookie?: bigint;
}

export function dnsRecord(fields: DnsFields): Uint8Array {
  const { payload, payloadLength = payload.length, netCookie = 0n } = fields;
  const view = startRecord(KIND.dns, DNS.payload + payload.length, fields);
  view.setBigUint64(DNS.net_cookie, netCookie, true);
  view.setUint16(DNS.payload_length, payloadLength, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(payload, DNS.payload);
  return bytes;
}

/** A record as a reader finds it: somewhere in a larger memory, with foreign bytes around it. */
export function locate(record: Uint8Array, options: { timeUs?: number } = {}): LocatedRecord {
  const offset = 64;
  const buffer = new ArrayBuffer(Math.ceil((offset + record.length + 64) / 8) * 8);
  new Uint8Array(buffer).fill(0xee);
  new Uint8Array(buffer).set(record, offset);
  return {
    memory: recordMemory(buffer, 0),
    offset,
    length: record.length,
    timeUs: options.timeUs ?? 0,
  };
}
