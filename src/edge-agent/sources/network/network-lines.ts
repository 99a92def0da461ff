/**
 * Lines of connections and of flows of datagrams: `network/connect`, `network/accept`, `network/listen` and
 * `network/close`.
 *
 * Invariant: source and destination of a close are those of the event that began what ends.
 */
import { flagsOf, kindOf, timeNsOf, u16, u32, u64 } from "../../decode-record.ts";
import {
  type DecoderContext,
  escapedMember,
  type LineDecoder,
  type LocatedRecord,
} from "../../line-decoder.ts";
import { CLOSE, CLOSE_BYTES, FLAG, KIND, NETWORK, NETWORK_BYTES } from "../../record-layout.ts";
import type { RecordMemory } from "../../ring-buffer.ts";
import { durationMember, sumMembers } from "./close-sums.ts";
import { ipv4Text, ipv6Text } from "./ip-text.ts";
import type { OlderActor } from "./listeners.ts";
import { type Endpoints, type NetworkFacts, sentenceOf } from "./network-sentence.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;

export function createNetworkDecoder(
  context: DecoderContext,
  olderActor: OlderActor,
): LineDecoder {
  return {
    learn: () => undefined,
    line: (record) => networkLine(context, record, olderActor),
  };
}

/** The line of a record; undefined when it is none of a connection or flow. */
export function networkLine(
  context: DecoderContext,
  record: LocatedRecord,
  olderActor: OlderActor,
): string | undefined {
  const { memory, offset, timeUs } = record;
  const facts = factsOf(context, record);
  const topic = facts === undefined ? undefined : TOPICS[facts.kind];
  if (facts === undefined || topic === undefined) return undefined;
  const { kind, ends, names } = facts;
  const isUnknown = (flagsOf(memory, offset) & FLAG.noProcess) !== 0;
  const actor = isUnknown ? olderActor(ends) ?? UNKNOWN_ACTOR : context.actors.of(memory, offset);
  const isInet = u16(memory.words, offset + NETWORK.family) === AF_INET;
  return `"time":"${context.timeText(timeUs)}","topic":"${topic}",${outcomeMember(facts)}` +
    `"severity":"info",${actor.columns}${addressMembers(facts)}` +
    `"message":"${actor.name}${sentenceOf(facts)}",` +
    `"detail":{"family":"${isInet ? "inet" : "inet6"}"` +
    (names.length === 0 ? "" : `,"names":[${names.map((name) => `"${name}"`).join(",")}]`) +
    durationMember(facts) + (kind === KIND.close ? sumMembers(facts, memory.words, offset) : "") +
    `${escapedMember(actor.escaped)}}}`;
}

const TOPICS: Readonly<Record<number, string>> = {
  [KIND.connect]: "network/connect",
  [KIND.accept]: "network/accept",
  [KIND.listen]: "network/listen",
  [KIND.close]: "network/close",
};

const UNKNOWN_ACTOR = { columns: "", name: "An unknown process", escaped: [] } as const;

function factsOf(
  context: DecoderContext,
  { memory, offset, length }: LocatedRecord,
): NetworkFacts | undefined {
  const { words } = memory;
  const kind = kindOf(memory, offset, length);
  const isClose = kind === KIND.close;
  if (length !== (isClose ? CLOSE_BYTES : NETWORK_BYTES)) return undefined;
  const ends = endpointsOf(memory, offset);
  if (ends === undefined) return undefined;
  const timeNs = timeNsOf(words, offset);
  const begunNs = u64(words, offset + NETWORK.begun_ns);
  const isTimed = begunNs !== 0 && (isClose || kind === KIND.connect && ends.protocol === "tcp");
  const role = isClose ? u32(words, offset + CLOSE.role) : kind;
  return {
    kind,
    role,
    ends,
    names: role === KIND.listen
      ? []
      : context.peerNames.namesOf(u64(words, offset + NETWORK.net_cookie), ends.remoteIp, timeNs),
    isFailure: u32(words, offset + NETWORK.is_failure) !== 0,
    error: u32(words, offset + NETWORK.error),
    durationMs: isTimed ? Math.max(0, (timeNs - begunNs) / 1e6) : undefined,
    isAggregate: isClose && u32(words, offset + CLOSE.is_aggregate) !== 0,
    bytesIn: isClose ? u64(words, offset + CLOSE.bytes_in) : 0,
    bytesOut: isClose ? u64(words, offset + CLOSE.bytes_out) : 0,
  };
}

function endpointsOf({ words, bytes }: RecordMemory, offset: number): Endpoints | undefined {
  const family = u16(words, offset + NETWORK.family);
  const protocol = u16(words, offset + NETWORK.protocol);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  if (protocol !== IPPROTO_TCP && protocol !== IPPROTO_UDP) return undefined;
  const ipText = family === AF_INET ? ipv4Text : ipv6Text;
  return {
    protocol: protocol === IPPROTO_TCP ? "tcp" : "udp",
    localIp: ipText(bytes, offset + NETWORK.local_address),
    localPort: u16(words, offset + NETWORK.local_port),
    remoteIp: ipText(bytes, offset + NETWORK.remote_address),
    remotePort: u16(words, offset + NETWORK.remote_port),
  };
}

/** A listener has no other end; of what was accepted the other end is the source. */
function addressMembers({ role, ends }: NetworkFacts): string {
  const { localIp, localPort, remoteIp, remotePort, protocol } = ends;
  const last = `"protocol":"${protocol}",`;
  if (role === KIND.listen) return `"src_ip":"${localIp}","src_port":${localPort},${last}`;
  return role === KIND.accept
    ? `"src_ip":"${remoteIp}","src_port":${remotePort},"dst_ip":"${localIp}",` +
      `"dst_port":${localPort},${last}`
    : `"src_ip":"${localIp}","src_port":${localPort},"dst_ip":"${remoteIp}",` +
      `"dst_port":${remotePort},${last}`;
}

/** A connect that ended without being established failed; why is not always known. */
function outcomeMember({ isFailure, error }: NetworkFacts): string {
  if (!isFailure) return '"outcome":"success",';
  return `"outcome":"failure",${error === 0 ? "" : `"errno":${error},`}`;
}
