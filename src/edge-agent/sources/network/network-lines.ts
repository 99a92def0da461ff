/**
 * Lines of TCP connections: `network/connect`, `network/accept` and `network/listen`.
 */
import { flagsOf, kindOf, u16, u32, u64 } from "../../decode-record.ts";
import {
  type DecoderContext,
  escapedMember,
  type LineDecoder,
  type LocatedRecord,
} from "../../line-decoder.ts";
import type { LookedUpActor } from "../../process-lookup.ts";
import { FLAG, HEADER, KIND, NETWORK, NETWORK_BYTES } from "../../record-layout.ts";
import type { RecordMemory } from "../../ring-buffer.ts";
import { errorName } from "./error-names.ts";
import { ipv4Text, ipv6Text } from "./ip-text.ts";

const AF_INET = 2;
const AF_INET6 = 10;

interface Endpoints {
  readonly localIp: string;
  readonly localPort: number;
  readonly remoteIp: string;
  readonly remotePort: number;
}

/** Who listens on a port since before the programs were attached, as far as is known. */
export type ListenerActor = (port: number) => LookedUpActor | undefined;

export function createNetworkDecoder(
  context: DecoderContext,
  listenerActor: ListenerActor,
): LineDecoder {
  return {
    learn: () => undefined,
    line: (record) => networkLine(context, record, listenerActor),
  };
}

function networkLine(
  context: DecoderContext,
  record: LocatedRecord,
  listenerActor: ListenerActor,
): string | undefined {
  const { memory, offset, length, timeUs } = record;
  const kind = kindOf(memory, offset, length);
  const family = u16(memory.words, offset + NETWORK.family);
  if (length !== NETWORK_BYTES || (family !== AF_INET && family !== AF_INET6)) return undefined;
  const ends = endpointsOf(memory, offset, family);
  const isUnknown = (flagsOf(memory, offset) & FLAG.noProcess) !== 0;
  const actor = isUnknown
    ? (kind === KIND.accept ? listenerActor(ends.localPort) : undefined) ?? UNKNOWN_ACTOR
    : context.actors.of(memory, offset);
  const time = `"time":"${context.timeText(timeUs)}",`;
  const who = `"severity":"info",${actor.columns}`;
  const last = `"detail":{"family":"${family === AF_INET ? "inet" : "inet6"}"` +
    `${durationMember(memory, offset, kind)}${escapedMember(actor.escaped)}}}`;
  switch (kind) {
    case KIND.connect:
      return `${time}"topic":"network/connect",${outcomeOf(memory, offset)}${who}` +
        addresses(ends.localIp, ends.localPort, ends.remoteIp, ends.remotePort) +
        `"message":"${actor.name} ${connectText(memory, offset, ends)}",${last}`;
    case KIND.accept:
      return `${time}"topic":"network/accept","outcome":"success",${who}` +
        addresses(ends.remoteIp, ends.remotePort, ends.localIp, ends.localPort) +
        `"message":"${actor.name} accepted a connection from ` +
        `${endText(ends.remoteIp, ends.remotePort)} on port ${ends.localPort}",${last}`;
    case KIND.listen:
      return `${time}"topic":"network/listen","outcome":"success",${who}` +
        `"src_ip":"${ends.localIp}","src_port":${ends.localPort},"protocol":"tcp",` +
        `"message":"${actor.name} listens on ${endText(ends.localIp, ends.localPort)}",${last}`;
    default:
      return undefined;
  }
}

const UNKNOWN_ACTOR = { columns: "", name: "An unknown process", escaped: [] } as const;

function endpointsOf(memory: RecordMemory, offset: number, family: number): Endpoints {
  const { words, bytes } = memory;
  const ipText = family === AF_INET ? ipv4Text : ipv6Text;
  return {
    localIp: ipText(bytes, offset + NETWORK.local_address),
    localPort: u16(words, offset + NETWORK.local_port),
    remoteIp: ipText(bytes, offset + NETWORK.remote_address),
    remotePort: u16(words, offset + NETWORK.remote_port),
  };
}

function addresses(fromIp: string, fromPort: number, toIp: string, toPort: number): string {
  return `"src_ip":"${fromIp}","src_port":${fromPort},"dst_ip":"${toIp}","dst_port":${toPort},` +
    '"protocol":"tcp",';
}

/** A connect that ended without being established failed; why is not always known. */
function outcomeOf({ words }: RecordMemory, offset: number): string {
  const error = u32(words, offset + NETWORK.error);
  if (!isFailure(words, offset)) return '"outcome":"success",';
  return `"outcome":"failure",${error === 0 ? "" : `"errno":${error},`}`;
}

function isFailure(words: Uint32Array, offset: number): boolean {
  return u32(words, offset + NETWORK.is_failure) !== 0;
}

function connectText({ words }: RecordMemory, offset: number, ends: Endpoints): string {
  const to = endText(ends.remoteIp, ends.remotePort);
  if (!isFailure(words, offset)) return `connected to ${to}`;
  const error = u32(words, offset + NETWORK.error);
  return `failed to connect to ${to}${error === 0 ? "" : `: ${errorName(error)}`}`;
}

/** How long a connect took until its outcome was known. */
function durationMember({ words }: RecordMemory, offset: number, kind: number): string {
  const begunNs = u64(words, offset + NETWORK.begun_ns);
  if (kind !== KIND.connect || begunNs === 0) return "";
  const milliseconds = (u64(words, offset + HEADER.time_ns) - begunNs) / 1e6;
  return `,"duration_ms":${milliseconds.toFixed(3)}`;
}

function endText(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}
