/** Fills a stream for figures: captured batches, or invented ones, sent over and over under other names. */
import { readFile } from "node:fs/promises";
import { readArrival } from "../src/event/arrival.ts";
import { lineFields } from "../src/event/event.ts";
import { BATCH_JSON_BYTES, MESSAGE_BYTES_MAX, streamOf, subjectsOf } from "../src/event/wire.ts";
import { parseSegment } from "../src/pipeline/segment.ts";
import { createLog } from "../src/runtime/log.ts";
import { connectNats, ensureStream } from "../src/runtime/nats.ts";
import { frameShapeOf } from "../src/runtime/zstd.ts";
import { createBatchAgent, publishAll, type SentMessage } from "../test/support/batches.ts";
import { syntheticEvents } from "./synthetic-events.ts";

const log = createLog({ level: "warn" });

export interface Batch {
  readonly payload: Uint8Array;
  readonly count: number;
  readonly firstUs: number;
  readonly lastUs: number;
}

export async function readCapture(path: string): Promise<Batch[]> {
  const { messages } = parseSegment(await readFile(path));
  return messages.flatMap((message) => {
    const { header } = readArrival(message, "0");
    return header === undefined || header.void !== undefined
      ? []
      : [{ ...header, payload: message.payload }];
  });
}

/** 100 MB of invented events of four hosts. */
export async function inventBatches(): Promise<Batch[]> {
  const startUs = Date.UTC(2026, 0, 1) * 1000;
  const hosts = [1, 2, 3, 4].map((seed) => syntheticEvents({ seed, startUs, stepUs: 400 }));
  const batches: Batch[] = [];
  for (let place = 0; place * BATCH_JSON_BYTES < 100e6; place++) {
    const host = hosts[place % hosts.length];
    const agent = createBatchAgent("a");
    const events = [];
    for (let bytes = 0; bytes < BATCH_JSON_BYTES;) {
      const event = host?.next().value;
      if (event === undefined) break;
      events.push(event);
      bytes += lineFields(event).length + 12;
    }
    const { payload } = await agent.batch(events);
    const times = events.map(({ timeUs }) => timeUs);
    batches.push({
      payload,
      count: events.length,
      firstUs: times[0] ?? 0,
      lastUs: times.at(-1) ?? 0,
    });
  }
  return batches;
}

/** Sends the batches, over and over under other names, until there is so much JSON; how much there is. */
export async function fillStream(
  url: string,
  batches: readonly Batch[],
  bytes: number,
): Promise<number> {
  await using connection = await connectNats({ url, name: "bench", log });
  await ensureStream(connection, {
    name: streamOf("0"),
    subjects: [subjectsOf("0")],
    messageBytesMax: MESSAGE_BYTES_MAX,
  });
  let sent = 0;
  for (let copy = 0; sent < bytes; copy++) {
    const agent = createBatchAgent(`agent-${copy}`);
    const messages: SentMessage[] = batches.map(({ payload, ...header }) =>
      agent.raw(payload, {
        count: header.count,
        firstUs: header.firstUs,
        lastUs: header.lastUs,
      })
    );
    await publishAll(connection, messages);
    sent += batches.reduce(
      (sum, { payload }) => sum + (frameShapeOf(payload)?.contentBytes ?? 0),
      0,
    );
  }
  return sent;
}
