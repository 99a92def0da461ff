/**
 * Who listens on which TCP port, or has which UDP port, now, from /proc: for sockets from before the programs came, to
 * which the kernel's note of the owner is missing.
 *
 * Invariant: a socket that several processes share belongs to the oldest of them (the lowest pid). Only the agent's
 * own network namespace is seen.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { listKernelFolder, readKernelLink, readKernelText } from "../../kernel-files.ts";

/** Processes looked at between two turns of the event loop. */
const PROCESSES_PER_TURN = 32;
const LISTEN_STATE = "0A";

/** Process ids by local port. */
export async function readListeners(
  protocol: "tcp" | "udp",
): Promise<ReadonlyMap<number, number>> {
  const ports = new Map(
    [`/proc/net/${protocol}`, `/proc/net/${protocol}6`].flatMap((path) =>
      localPorts(readKernelText(path) ?? "", protocol === "tcp" ? LISTEN_STATE : undefined)
    ),
  );
  const owners = new Map<number, number>();
  if (ports.size === 0) return owners;
  const pids = (listKernelFolder("/proc") ?? []).filter((name) => /^[1-9][0-9]*$/.test(name)).map(
    Number,
  );
  for (const [place, pid] of pids.sort((left, right) => left - right).entries()) {
    if (place % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    for (const inode of socketsOf(pid)) {
      const port = ports.get(inode);
      if (port !== undefined && !owners.has(port)) owners.set(port, pid);
    }
  }
  return owners;
}

/** Socket inode and local port of each line of /proc/net/tcp, tcp6, udp or udp6 (proc(5)), or of those in one state. */
export function localPorts(
  text: string,
  onlyState: string | undefined,
): [inode: string, port: number][] {
  return text.split("\n").slice(1).flatMap((line): [string, number][] => {
    const [, local = "", , state, , , , , , inode] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.split(":")[1] ?? "", 16);
    return state === (onlyState ?? state) && inode !== undefined && port > 0 ? [[inode, port]] : [];
  });
}

function socketsOf(pid: number): string[] {
  return (listKernelFolder(`/proc/${pid}/fd`) ?? []).flatMap((fd) => {
    const inode = /^socket:\[([0-9]+)\]$/.exec(readKernelLink(`/proc/${pid}/fd/${fd}`) ?? "")?.[1];
    return inode === undefined ? [] : [inode];
  });
}
