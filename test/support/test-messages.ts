/** Messages of one agent as a stream would store them: an unbroken chain of real batches. */
import { type AuditEvent, lineFields } from "../../src/event/event.ts";
import { type BatchHeader, digestOf, encodeHeaders, subjectOf } from "../../src/event/wire.ts";
import type { StreamMessage } from "../../src/runtime/stream-message.ts";
import { compressFrame } from "../../src/runtime/zstd.ts";

export interface MessageMaker {
  /** The next batch, at the next sequence. */
  next(events: readonly AuditEvent[], more?: MessageChanges): Promise<StreamMessage>;
}

export interface MessageChanges {
  readonly sequence?: number;
  readonly storedAtUs?: number;
  readonly header?: Partial<BatchHeader>;
  readonly payload?: Uint8Array;
}

export interface MessageMakerOptions {
  readonly shard?: string;
  readonly agent?: string;
  readonly host?: string;
  readonly epoch?: string;
  /** Sequence of the first message. */
  readonly firstSequence?: number;
}

export function createMessageMaker(options: MessageMakerOptions = {}): MessageMaker {
  const { shard = "0", agent = "a1", host = "web-1", epoch = "e1" } = options;
  let number = 0;
  let sequence = (options.firstSequence ?? 1) - 1;
  let previous: string | undefined;
  return {
    async next(events, { header: changed, ...more } = {}) {
      number += 1;
      sequence = more.sequence ?? sequence + 1;
      const text = events.map((event, idx) => `{"idx":${idx},${lineFields(event)}\n`).join("");
      const payload = more.payload ?? await compressFrame(new TextEncoder().encode(text));
      const times = events.map(({ timeUs }) => timeUs);
      const digest = digestOf(payload);
      const header: BatchHeader = {
        ...{ host, agent, epoch, number, digest, previous },
        count: events.length,
        firstUs: Math.min(...times),
        lastUs: Math.max(...times),
        void: undefined,
        ...changed,
      };
      previous = digest;
      return {
        sequence,
        storedAtUs: more.storedAtUs ?? Math.max(...times) + 1_000,
        subject: subjectOf(shard, agent),
        headers: encodeHeaders(header),
        payload,
      };
    },
  };
}

/** Simple events, each a microsecond after the one before, told apart by `pid`. */
export function numberedEvents(
  first: number,
  count: number,
  options: { readonly timeUs: number; readonly more?: Partial<AuditEvent> },
): AuditEvent[] {
  return Array.from({ length: count }, (_, at) => ({
    timeUs: options.timeUs + at,
    topic: "process/exec",
    severity: "info",
    pid: first + at,
    user: (first + at) % 2 === 0 ? "root" : "www",
    uid: (first + at) % 2 === 0 ? 0 : 33,
    exe: "/usr/bin/ls",
    cmdline: `ls ${first + at}`,
    detail: { argv: ["ls", String(first + at)] },
    ...options.more,
  }));
}
