/** Batches as an agent would send them, and ways to spoil them. */
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
import { type AuditEvent, formatTime, lineFields } from "../../src/event/event.ts";
import {
  type BatchHeader,
  batchIdOf,
  digestOf,
  encodeHeaders,
  HEADER,
  subjectOf,
} from "../../src/event/wire.ts";
import type { StreamMessage } from "../../src/runtime/stream-message.ts";
import { compressFrame } from "../../src/runtime/zstd.ts";

export interface SentMessage {
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
}

/** 2026-06-15 12:00 UTC. */
export const NOON_US = Date.UTC(2026, 5, 15, 12) * 1000;

export interface BatchAgent {
  readonly name: string;
  readonly epoch: string;
  /** The next batch of these events. */
  batch(events: readonly AuditEvent[]): Promise<SentMessage>;
  /** The next batch with this payload and these parts of its header; the digest is right unless given. */
  raw(payload: Uint8Array, header: Partial<BatchHeader>): SentMessage;
  /** The next batch with these lines, whatever they are. */
  lines(text: string, header: Partial<BatchHeader>): Promise<SentMessage>;
}

export function createBatchAgent(name: string, epoch = "e1", shard = "0"): BatchAgent {
  let number = 0;
  let previous: string | undefined;
  const raw = (payload: Uint8Array, more: Partial<BatchHeader>): SentMessage => {
    const header: BatchHeader = {
      host: `${name}.example`,
      agent: name,
      epoch,
      number: number + 1,
      count: 1,
      firstUs: NOON_US,
      lastUs: NOON_US,
      digest: digestOf(payload),
      previous,
      void: undefined,
      ...more,
    };
    if (header.number === number + 1) {
      number += 1;
      previous = header.digest;
    }
    const sent = new Map([...encodeHeaders(header), [HEADER.messageId, batchIdOf(header)]]);
    return { subject: subjectOf(shard, name), headers: sent, payload };
  };
  const lines = async (text: string, more: Partial<BatchHeader>) =>
    raw(await compressFrame(new TextEncoder().encode(text)), more);
  return {
    name,
    epoch,
    raw,
    lines,
    batch(events) {
      const times = events.map(({ timeUs }) => timeUs);
      const text = events.map((event, idx) => `{"idx":${idx},${lineFields(event)}\n`).join("");
      return lines(text, {
        count: events.length,
        firstUs: Math.min(...times),
        lastUs: Math.max(...times),
      });
    },
  };
}

/** An event that carries a number, so that sets of events can be compared. */
export function numberedEvent(number: number, timeUs = NOON_US): AuditEvent {
  return { timeUs, topic: "app/test", severity: "info", pid: number, message: `Event ${number}.` };
}

/** As the stream would hold them, from a sequence on. */
export function asStored(messages: readonly SentMessage[], from = 1): StreamMessage[] {
  return messages.map((each, place) => ({
    ...each,
    sequence: from + place,
    storedAtUs: NOON_US + 1_000_000 + place,
  }));
}

/** Publishes in order; resolves with the sequences they got. */
export async function publishAll(
  connection: NatsConnection,
  messages: readonly SentMessage[],
): Promise<number[]> {
  const client = jetstream(connection);
  const sequences: number[] = [];
  for (const message of messages) {
    const sent = headers();
    for (const [name, value] of message.headers) sent.set(name, value);
    const { seq } = await client.publish(message.subject, message.payload, { headers: sent });
    sequences.push(seq);
  }
  return sequences;
}

/** A line with a time. */
export function lineOf(idx: number, fields: Readonly<Record<string, unknown>> = {}): string {
  return `${JSON.stringify({ idx, time: formatTime(NOON_US), topic: "app/test", ...fields })}\n`;
}
