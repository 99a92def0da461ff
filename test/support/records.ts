/** Kernel records as bytes, made field by field, for tests of decoders. Numbers that are not given are 0. */
import {
  ANCESTOR,
  ANCESTOR_BYTES,
  CLOSE,
  CLOSE_BYTES,
  EXEC,
  EXIT,
  EXIT_BYTES,
  FILE,
  FORK_BYTES,
  HEADER,
  KIND,
  NETWORK,
  NETWORK_BYTES,
  RECORD_VERSION,
} from "../../src/edge-agent/record-layout.ts";
import type { LocatedRecord } from "../../src/edge-agent/line-decoder.ts";
import { recordMemory } from "../../src/edge-agent/ring-buffer.ts";

export const UNSET = 4294967295;

export interface HeaderFields {
  readonly flags?: number;
  readonly timeNs?: bigint;
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

export interface ExecFields extends HeaderFields {
  readonly exe?: Text;
  readonly cwd?: Text;
  readonly script?: Text;
  /** With the NUL after each argument. */
  readonly argv?: Text;
  readonly argvBytes?: number;
  readonly tty?: string;
  readonly ancestors?: readonly { readonly pid: number; readonly startNs: bigint }[];
}

export function execRecord(fields: ExecFields): Uint8Array {
  const parts = [fields.exe ?? "/bin/x", fields.cwd ?? "/", fields.script ?? "", fields.argv ?? ""]
    .map(bytesOf);
  const sizeBytes = EXEC.tail + parts.reduce((sum, part) => sum + part.length, 0);
  const view = startRecord(KIND.exec, sizeBytes, fields);
  const bytes = new Uint8Array(view.buffer);
  const lengths = [EXEC.exe_length, EXEC.cwd_length, EXEC.script_length, EXEC.argv_length];
  let at: number = EXEC.tail;
  for (const [place, part] of parts.entries()) {
    view.setUint16(lengths[place] ?? 0, part.length, true);
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(EXEC.argv_bytes, fields.argvBytes ?? parts[3]?.length ?? 0, true);
  bytes.set(bytesOf(fields.tty ?? ""), EXEC.tty);
  view.setUint32(EXEC.ancestor_count, fields.ancestors?.length ?? 0, true);
  for (const [place, { pid, startNs }] of (fields.ancestors ?? []).entries()) {
    const ancestor = EXEC.ancestors + place * ANCESTOR_BYTES;
    view.setUint32(ancestor + ANCESTOR.pid, pid, true);
    view.setBigUint64(ancestor + ANCESTOR.start_ns, startNs, true);
  }
  return bytes;
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
