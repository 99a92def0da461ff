/**
 * Who has which socket now, from /proc: for sockets from before the programs came, to which the kernel's note of the
 * owner is missing. A connection is found by both ends; a listener, and a socket for datagrams, by its local port.
 *
 * Invariant: a socket that several processes share belongs to the oldest of them (the lowest pid). Only the agent's
 * own network namespace is seen, and at most {@link SOCKETS_MAX} sockets of each kind.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { listKernelFolder, readKernelLink, readKernelText } from "../../kernel-files.ts";
import type { LookedUpActor } from "../../process-lookup.ts";
import { ipv4Text, ipv6Text } from "./ip-text.ts";
import type { Endpoints } from "./network-sentence.ts";

/** Processes looked at between two turns of the event loop. */
const PROCESSES_PER_TURN = 32;
export const SOCKETS_MAX = 65_536;
const LISTEN_STATE = "0A";
/** Of a socket for datagrams of anybody. */
const UNCONNECTED_STATE = "07";

type Protocol = Endpoints["protocol"];

/** Who has a socket since before the programs were attached, as far as is known. */
export type OlderActor = (ends: Endpoints) => LookedUpActor | undefined;

/** Process ids by what {@link socketKeys} gives. */
export type OlderSockets = ReadonlyMap<string, number>;

export async function readOlderSockets(protocol: Protocol): Promise<OlderSockets> {
  const keys = new Map(
    [`/proc/net/${protocol}`, `/proc/net/${protocol}6`].flatMap((path) =>
      socketKeys(readKernelText(path) ?? "", protocol)
    ),
  );
  const owners = new Map<string, number>();
  if (keys.size === 0) return owners;
  const pids = (listKernelFolder("/proc") ?? []).filter((name) => /^[1-9][0-9]*$/.test(name)).map(
    Number,
  );
  for (const [place, pid] of pids.sort((left, right) => left - right).entries()) {
    if (place % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    for (const inode of socketsOf(pid)) {
      const key = keys.get(inode);
      if (key !== undefined && !owners.has(key)) owners.set(key, pid);
    }
  }
  return owners;
}

/** The process that had a socket with these ends, or listened on its port. */
export function ownerOf(sockets: OlderSockets, ends: Endpoints): number | undefined {
  return sockets.get(endsKey(ends)) ?? sockets.get(String(ends.localPort));
}

/** Socket inode, and ends or local port, of lines of /proc/net/tcp, tcp6, udp or udp6 (proc(5)). */
export function socketKeys(text: string, protocol: Protocol): [inode: string, key: string][] {
  return text.split("\n", SOCKETS_MAX + 1).slice(1).flatMap((line): [string, string][] => {
    const [, local = "", remote = "", state, , , , , , inode] = line.trim().split(/\s+/);
    const [localIp, localPort] = endOf(local);
    const [remoteIp, remotePort] = endOf(remote);
    // Inode 0: the connection has no socket any more.
    if (inode === undefined || inode === "0" || localIp === undefined || !(localPort > 0)) {
      return [];
    }
    if (protocol === "udp" || state === LISTEN_STATE) return [[inode, String(localPort)]];
    if (remoteIp === undefined) return [];
    return [[inode, endsKey({ localIp, localPort, remoteIp, remotePort })]];
  });
}

/** What lines of these files say of sockets that wait for whoever comes: where, and of which user. */
export function listeningEnds(
  text: string,
  protocol: Protocol,
): readonly { readonly ip: string; readonly port: number; readonly uid: string }[] {
  const wanted = protocol === "tcp" ? LISTEN_STATE : UNCONNECTED_STATE;
  return text.split("\n", SOCKETS_MAX + 1).slice(1).flatMap((line) => {
    const [, local = "", , state, , , , uid = ""] = line.trim().split(/\s+/);
    const [ip, port] = endOf(local);
    const isWhole = ip !== undefined && port > 0 && /^[0-9]+$/.test(uid);
    return isWhole && state === wanted ? [{ ip, port, uid }] : [];
  });
}

function endsKey(ends: Omit<Endpoints, "protocol">): string {
  return `${ends.localIp} ${ends.localPort} ${ends.remoteIp} ${ends.remotePort}`;
}

/** `0100007F:1F90`: an address in words of the host's order, and a port. */
function endOf(text: string): [ip: string | undefined, port: number] {
  const [address = "", port = ""] = text.split(":");
  const words = address.match(/[0-9A-F]{8}/g) ?? [];
  const bytes = Uint8Array.from(
    words.flatMap((word) => [6, 4, 2, 0].map((at) => Number.parseInt(word.slice(at, at + 2), 16))),
  );
  const ip = bytes.length === 4
    ? ipv4Text(bytes, 0)
    : bytes.length === 16
    ? ipv6Text(bytes, 0)
    : undefined;
  return [ip, Number.parseInt(port, 16)];
}

function socketsOf(pid: number): string[] {
  return (listKernelFolder(`/proc/${pid}/fd`) ?? []).flatMap((fd) => {
    const inode = /^socket:\[([0-9]+)\]$/.exec(readKernelLink(`/proc/${pid}/fd/${fd}`) ?? "")?.[1];
    return inode === undefined ? [] : [inode];
  });
}
