/**
 * A receiver for tests of producers: reads the stream as a roll-up does, decides by acceptance, keeps the payloads of
 * what was accepted in memory, and writes watermarks. It commits nothing to any bucket.
 */
import {
  type AcceptanceState,
  createAcceptance,
  emptyAcceptance,
  startIncarnation,
  watermarkOf,
} from "../../src/event/acceptance.ts";
import { readArrival } from "../../src/event/arrival.ts";
import { incarnationOf } from "../../src/event/event-id.ts";
import { encodeWatermark, WATERMARK_BUCKET, watermarkKeyOf } from "../../src/event/watermark.ts";
import {
  type BatchHeader,
  MESSAGE_BYTES_MAX,
  PAYLOAD_JSON_BYTES_MAX,
  streamOf,
} from "../../src/event/wire.ts";
import {
  deleteStream,
  ensureBucket,
  ensureStream,
  type EnsureStreamOptions,
  type NatsConnection,
  purgeStream,
} from "../../src/runtime/nats.ts";
import { readStream } from "../../src/runtime/stream-reader.ts";
import { decompressFrame } from "../../src/runtime/zstd.ts";

export interface AcceptedBatch {
  readonly header: BatchHeader;
  readonly payload: Uint8Array;
}

export interface RollUpStandIn {
  readonly accepted: readonly AcceptedBatch[];
  readonly duplicates: number;
  /** Classes of the gaps that acceptance found. */
  readonly gaps: readonly string[];
  state(): AcceptanceState;
  /** One round: reads all there is, decides, writes watermarks, purges when asked to. */
  round(options?: { readonly isPurging: boolean }): Promise<void>;
  /** The JSON objects of an agent's accepted lines, in order. */
  lines(agent: string): Promise<Record<string, unknown>[]>;
}

export async function createRollUpStandIn(
  connection: NatsConnection,
  shard: string,
  limits: Pick<EnsureStreamOptions, "streamBytesMax"> = {},
): Promise<RollUpStandIn> {
  const stream = streamOf(shard);
  const config = {
    name: stream,
    subjects: [`audit.${shard}.*`],
    messageBytesMax: MESSAGE_BYTES_MAX,
    ...limits,
  };
  await ensureStream(connection, config);
  await ensureBucket(connection, WATERMARK_BUCKET);
  const accepted: AcceptedBatch[] = [];
  const gaps: string[] = [];
  let duplicates = 0;
  let state = emptyAcceptance("");

  const follow = async (): Promise<number> => {
    let status = await ensureStream(connection, config);
    const incarnation = incarnationOf(stream, status.created);
    if (state.incarnation === incarnation && status.lastSequence < state.sequence) {
      await deleteStream(connection, stream);
      status = await ensureStream(connection, config);
    }
    const now = incarnationOf(stream, status.created);
    if (now !== state.incarnation) state = startIncarnation(state, now);
    return status.lastSequence;
  };

  const readTo = async (last: number): Promise<void> => {
    if (last <= state.sequence) return;
    const acceptance = createAcceptance(state);
    const fromSequence = state.sequence + 1;
    for await (const message of readStream({ connection, stream, fromSequence })) {
      const { arrival, header } = readArrival(message, shard);
      const decision = acceptance.decide(arrival);
      gaps.push(...decision.gaps.map((gap) => gap.class));
      if (decision.verdict === "duplicate") duplicates += 1;
      const isTaken = decision.verdict === "accepted" || decision.verdict === "void";
      if (isTaken && header !== undefined) accepted.push({ header, payload: message.payload });
      if (message.sequence >= last) break;
    }
    state = acceptance.state();
  };

  return {
    accepted,
    gaps,
    get duplicates() {
      return duplicates;
    },
    state: () => state,
    async round({ isPurging } = { isPurging: false }) {
      await readTo(await follow());
      const bucket = await ensureBucket(connection, WATERMARK_BUCKET);
      for (const agent of Object.keys(state.agents)) {
        const watermark = watermarkOf(state, agent, Date.now() * 1000);
        if (watermark === undefined) continue;
        await bucket.put(watermarkKeyOf(shard, agent), encodeWatermark(watermark));
      }
      if (isPurging) await purgeStream(connection, { stream, beforeSequence: state.sequence });
    },
    async lines(agent) {
      const lines: Record<string, unknown>[] = [];
      for (const { header, payload } of accepted) {
        if (header.agent !== agent || payload.length === 0) continue;
        const text = new TextDecoder().decode(
          await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX),
        );
        for (const line of text.split("\n").slice(0, -1)) lines.push(JSON.parse(line));
      }
      return lines;
    },
  };
}
