/**
 * What happened to a connection or flow, as the rest of a sentence that begins with a process.
 */
import { KIND } from "../../record-layout.ts";
import { errorName } from "./error-names.ts";

/** Both ends, as text and numbers; local is this host's. */
export interface Endpoints {
  readonly protocol: "tcp" | "udp";
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

/** What a record says. */
export interface NetworkFacts {
  /** As in `KIND`. */
  readonly kind: number;
  /** How it began: `KIND.connect`, `accept` or `listen`; 0 when that was before the programs came. */
  readonly role: number;
  readonly ends: Endpoints;
  /** Of the other end, as JSON writes them; the first is the latest. */
  readonly names: readonly string[];
  readonly isFailure: boolean;
  /** Error number; 0 when none is known. */
  readonly error: number;
  /** Milliseconds; undefined when they are not known. */
  readonly durationMs: number | undefined;
  /** The sums are of several peers. */
  readonly isAggregate: boolean;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The sentence after the process' name, as the inside of a JSON string. */
export function sentenceOf(facts: NetworkFacts): string {
  const { kind, ends: { protocol, localIp, localPort } } = facts;
  const peer = peerText(facts);
  switch (kind) {
    case KIND.connect:
      if (protocol === "udp") return ` sent to ${peer}`;
      return facts.isFailure
        ? ` failed to connect to ${peer}${reasonText(facts)}`
        : ` connected to ${peer}`;
    case KIND.accept:
      return protocol === "udp"
        ? ` received from ${peer} on port ${localPort}`
        : ` accepted a connection from ${peer} on port ${localPort}`;
    case KIND.listen:
      return ` listens on ${endText(localIp, localPort)}`;
    default:
      return closeText(facts, peer);
  }
}

function closeText(facts: NetworkFacts, peer: string): string {
  const { role, isAggregate, isFailure, durationMs, bytesIn, bytesOut } = facts;
  const { protocol, localIp, localPort } = facts.ends;
  if (role === KIND.listen) return ` no longer listens on ${endText(localIp, localPort)}`;
  const sums = `${bytesIn} bytes in, ${bytesOut} bytes out`;
  if (isAggregate) return ` exchanged datagrams with more peers, the latest ${peer}: ${sums}`;
  const what = protocol === "tcp" ? "connection" : "exchange";
  const whom = role === KIND.accept
    ? `with ${peer} on port ${localPort}`
    : `${protocol === "tcp" && role !== 0 ? "to" : "with"} ${peer}`;
  const when = durationMs === undefined ? "" : ` after ${Math.round(durationMs)} ms`;
  const how = isFailure ? ` broke${when}${reasonText(facts)}; ` : ` ended${when}: `;
  return `'s ${what} ${whom}${how}${sums}`;
}

function reasonText({ error }: NetworkFacts): string {
  return error === 0 ? "" : `: ${errorName(error)}`;
}

function peerText({ ends, names: [name] }: NetworkFacts): string {
  const end = endText(ends.remoteIp, ends.remotePort);
  return name === undefined ? end : `${end} (${name})`;
}

function endText(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}
