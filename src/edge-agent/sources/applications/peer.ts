/**
 * Who is at the other end of a connection, as the kernel says it.
 *
 * Invariants: over TCP nothing is known but the address, loopback or not; of a Unix socket's peer the kernel keeps pid
 * and effective user from the moment of connecting, and what /proc says of that pid counts only while both agree.
 */
import type { Socket } from "node:net";
import { jsonInner } from "../../decode-text.ts";
import type { Libc } from "../../libc.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import type { Sender } from "./message-lines.ts";

export interface Peer extends Pick<Sender, "columns" | "isKnown"> {
  /** Names it in logs. */
  readonly from: string;
  /** Effective user, where the kernel says it. */
  readonly uid?: number;
}

/** SO_PEERCRED of SOL_SOCKET (include/uapi/asm-generic/socket.h), as on x86-64 and arm64. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** `struct ucred`: pid, uid, gid. */
const UCRED_BYTES = 12;

export type PeerCalls = Pick<Libc, "getsockopt">;

export function addressPeer(socket: Socket): Peer {
  const { remoteAddress = "", remotePort = 0 } = socket;
  const address = remoteAddress.replace(/^::ffff:(?=[0-9.]+$)/, "");
  const columns = address === ""
    ? ""
    : `"src_ip":"${jsonInner(address)}","src_port":${remotePort},"protocol":"tcp",`;
  return { columns, isKnown: false, from: `${address}:${remotePort}` };
}

export interface UnixPeerOptions {
  readonly calls: PeerCalls | undefined;
  readonly processes: ProcessLookup;
  readonly nameOf: (uid: number) => string | undefined;
}

export function unixPeer(socket: Socket, options: UnixPeerOptions): Peer {
  const { calls, processes, nameOf } = options;
  const credentials = calls === undefined ? undefined : credentialsOf(socket, calls);
  if (credentials === undefined) return { columns: "", isKnown: false, from: "a Unix socket" };
  const { pid, uid } = credentials;
  const from = `process ${pid} of user ${uid}`;
  if (pid > 0) {
    processes.catchUp();
    const { columns } = processes.actorOf(pid);
    if (columns.includes(`"euid":${uid},`)) return { columns, isKnown: true, from, uid };
  }
  const user = nameOf(uid);
  const columns = (user === undefined ? "" : `"user":"${jsonInner(user)}",`) + `"euid":${uid},` +
    (pid > 0 ? `"pid":${pid},` : "");
  return { columns, isKnown: true, from, uid };
}

/** What the kernel keeps of the peer; undefined when this runtime does not tell the descriptor of a socket. */
export function credentialsOf(
  socket: Socket,
  calls: PeerCalls,
): { readonly pid: number; readonly uid: number } | undefined {
  const fd = descriptorOf(socket);
  if (fd === undefined) return undefined;
  const bytes = new Uint8Array(UCRED_BYTES);
  if (calls.getsockopt(fd, { level: SOL_SOCKET, name: SO_PEERCRED, value: bytes }) < 0) {
    return undefined;
  }
  const view = new DataView(bytes.buffer);
  return { pid: view.getInt32(0, true), uid: view.getUint32(4, true) };
}

/** Node and Deno both keep the descriptor at the socket's handle; no API tells it. */
export function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null) return undefined;
  const fd: unknown = Reflect.get(handle, "fd");
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}
