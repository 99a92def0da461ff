/**
 * Ports that are listened on, TCP, and bound for datagrams, UDP (proc(5), /proc/net/tcp and its like), and events of those
 * that differ. Only the agent's own network namespace is seen.
 *
 * Invariant: ports that the kernel gives to whoever asks for any are left out where they are UDP's: those are answers that
 * somebody waits for.
 */
import { join } from "node:path";
import type { AuditEvent } from "../../../../event/event.ts";
import { readKernelText } from "../../../kernel-files.ts";
import { listeningEnds } from "../../network/listeners.ts";
import type { Difference } from "../differential.ts";

const PROTOCOLS = ["tcp", "udp"] as const;
const FIRST_ANY_PORT = 32_768;

/** Users by `tcp 0.0.0.0 22`; undefined where nothing can be read. `root` stands for `/`. */
export function readListening(root: string): ReadonlyMap<string, string> | undefined {
  const anyPorts = readKernelText(join(root, "proc/sys/net/ipv4/ip_local_port_range"));
  const firstAny = Number(/^[0-9]+/.exec(anyPorts ?? "")?.[0] ?? FIRST_ANY_PORT);
  const found = new Map<string, string>();
  for (const protocol of PROTOCOLS) {
    const texts = [protocol, `${protocol}6`].map((name) =>
      readKernelText(join(root, "proc/net", name))
    );
    // Half of it would tell what is not so.
    if (texts[0] === undefined) return undefined;
    for (const { ip, port, uid } of texts.flatMap((text) => listeningEnds(text ?? "", protocol))) {
      if (protocol === "tcp" || port < firstAny) found.set(`${protocol} ${ip} ${port}`, uid);
    }
  }
  return found;
}

/** Somebody else who listens from now on is told as if it had begun. */
export function listeningEvents(
  { key, before, now }: Difference,
  timeUs: number,
): readonly AuditEvent[] {
  const [protocol = "", ip = "", port = ""] = key.split(" ");
  const place = `${ip.includes(":") ? `[${ip}]` : ip}:${port}`;
  return [{
    timeUs,
    topic: now === undefined ? "network/close" : "network/listen",
    severity: "info",
    outcome: "success",
    uid: Number(now ?? before),
    src_ip: ip,
    src_port: Number(port),
    protocol,
    message: now === undefined
      ? `Nobody listens on ${place} (${protocol}) any more`
      : `Somebody listens on ${place} (${protocol})`,
    detail: { family: ip.includes(":") ? "inet6" : "inet", noticed: true },
  }];
}
