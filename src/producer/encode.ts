/**
 * From closed lines to what travels: numbers the lines, compresses them to one zstd frame, and makes sure, before a
 * batch gets its number, that the whole message fits.
 *
 * Invariants: `idx` of a payload's lines is 0 … count-1 in order; First and Last tell the lines' times within 64 days
 * of the clock here, never more than 64 days apart; no line is in two payloads.
 */
import {
  BATCH_SPAN_US,
  digestOf,
  MESSAGE_BYTES_MAX,
  PAYLOAD_JSON_BYTES_MAX,
} from "../event/wire.ts";
import { compressFrame } from "../runtime/zstd.ts";
import type { ClosedLines } from "./batcher.ts";
import { ndjsonOf } from "./ndjson.ts";
import type { Lane } from "./producer.ts";

/** A batch that has no number yet. */
export interface EncodedBatch {
  readonly lane: Lane;
  /** One zstd frame of NDJSON. */
  readonly payload: Uint8Array;
  /** SHA-256 of the payload, hex. */
  readonly digest: string;
  readonly count: number;
  readonly firstUs: number;
  readonly lastUs: number;
}

export interface EncodeOptions {
  readonly nowUs: number;
  /** Told of a line that alone does not fit into a message. */
  readonly onRefused: (fields: string, timeUs: number) => void;
}

/** The most that subject, headers and their framing can take: host 253, agent 63, every number 16 digits. */
export const HEADER_BYTES_MAX = 2_048;
/** The most a payload may take of a message, in bytes. */
export const PAYLOAD_BYTES_MAX = MESSAGE_BYTES_MAX - HEADER_BYTES_MAX;

/** One batch, or several where one message cannot hold the lines; none when all were refused. */
export async function encodeLines(
  lines: Pick<ClosedLines, "lane" | "fields" | "timesUs">,
  options: EncodeOptions,
): Promise<readonly EncodedBatch[]> {
  const { lane, fields, timesUs } = lines;
  if (fields.length === 0) return [];
  const json = ndjsonOf(fields);
  // What compresses well may fit a message, and still be more than a receiver opens.
  const payload = json.length <= PAYLOAD_JSON_BYTES_MAX ? await compressFrame(json) : undefined;
  if (payload !== undefined && payload.length <= PAYLOAD_BYTES_MAX) {
    const digest = digestOf(payload);
    return [{ lane, payload, digest, count: fields.length, ...spanOf(timesUs, options.nowUs) }];
  }
  if (fields.length === 1) {
    options.onRefused(fields[0] ?? "", timesUs[0] ?? options.nowUs);
    return [];
  }
  const middle = fields.length >> 1;
  const halves = [
    { lane, fields: fields.slice(0, middle), timesUs: timesUs.slice(0, middle) },
    { lane, fields: fields.slice(middle), timesUs: timesUs.slice(middle) },
  ];
  const batches: EncodedBatch[] = [];
  for (const half of halves) batches.push(...await encodeLines(half, options));
  return batches;
}

/** First and last time among the lines whose clock is not far off; now, when there is none. */
export function spanOf(
  timesUs: readonly number[],
  nowUs: number,
): { readonly firstUs: number; readonly lastUs: number } {
  let firstUs = Infinity;
  let lastUs = -Infinity;
  for (const timeUs of timesUs) {
    if (!(Math.abs(timeUs - nowUs) <= BATCH_SPAN_US)) continue;
    if (timeUs < firstUs) firstUs = timeUs;
    if (timeUs > lastUs) lastUs = timeUs;
  }
  if (firstUs > lastUs) return { firstUs: nowUs, lastUs: nowUs };
  lastUs = Math.max(0, Math.floor(lastUs));
  return { firstUs: Math.max(0, Math.floor(firstUs), lastUs - BATCH_SPAN_US), lastUs };
}
