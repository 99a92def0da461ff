/**
 * Records of flows of datagrams: lines as connections have them, and DNS answers, which make no line but name peers.
 */
import { kindOf, timeNsOf, u16, u64 } from "../../decode-record.ts";
import { jsonInner } from "../../decode-text.ts";
import type { DecoderContext, LineDecoder, LocatedRecord } from "../../line-decoder.ts";
import { DNS, KIND } from "../../record-layout.ts";
import { readDnsAnswer } from "./dns-answer.ts";
import type { OlderActor } from "./listeners.ts";
import { networkLine } from "./network-lines.ts";

export function createFlowDecoder(
  context: DecoderContext,
  olderActor: OlderActor,
): LineDecoder {
  return {
    learn: (record) => learnNames(context, record),
    line: (record) =>
      kindOf(record.memory, record.offset, record.length) === KIND.dns
        ? dnsLine(record)
        : networkLine(context, record, olderActor),
  };
}

/** No line; undefined when the record is not whole. */
function dnsLine(record: LocatedRecord): "" | undefined {
  return payloadOf(record) === undefined ? undefined : "";
}

function learnNames({ peerNames }: DecoderContext, record: LocatedRecord): void {
  const { memory, offset, length } = record;
  if (kindOf(memory, offset, length) !== KIND.dns) return;
  const payload = payloadOf(record);
  const answer = payload === undefined ? undefined : readDnsAnswer(payload);
  if (answer === undefined) return;
  const name = jsonInner(answer.name);
  const netCookie = u64(memory.words, offset + DNS.net_cookie);
  const timeNs = timeNsOf(memory.words, offset);
  for (const { address, ttlSeconds } of answer.addresses) {
    peerNames.learn({ netCookie, address, name, ttlSeconds, timeNs });
  }
}

function payloadOf({ memory, offset, length }: LocatedRecord): Uint8Array | undefined {
  if (length < DNS.payload) return undefined;
  const sizeBytes = u16(memory.words, offset + DNS.payload_length);
  if (DNS.payload + sizeBytes !== length) return undefined;
  return memory.bytes.subarray(offset + DNS.payload, offset + length);
}
