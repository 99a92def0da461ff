/**
 * Whether a payload may be handed to the typed read at all: exactly one whole zstd frame, at most 16 MiB of content.
 *
 * Invariant: what passes is bounded whatever its headers claim, since nothing behind this check has a limit of its
 * own: DuckDB takes a frame cut short for an empty file, and follows a false size as far as the blocks go.
 */
import { PAYLOAD_JSON_BYTES_MAX } from "../event/wire.ts";
import { BLOCK_BYTES_MAX, compressFrame, decompressFrame, frameShapeOf } from "../runtime/zstd.ts";

export type CheckedPayload =
  /** `frame` is what the read is given: the payload itself, or its content in a frame that says its size. */
  | { readonly ok: true; readonly frame: Uint8Array; readonly contentBytes: number }
  | { readonly ok: false; readonly reason: string };

/** Frames of more blocks than this are decompressed before they are believed: twice what 16 MiB need. */
const BLOCKS_MAX = 2 * PAYLOAD_JSON_BYTES_MAX / BLOCK_BYTES_MAX;

/** Checks a payload; it is opened only when its frame does not say or cannot hold what it needs to. */
export async function checkPayload(payload: Uint8Array): Promise<CheckedPayload> {
  const shape = frameShapeOf(payload);
  if (shape === undefined || shape.frameBytes !== payload.length) {
    return { ok: false, reason: "its payload is not exactly one whole zstd frame" };
  }
  const { contentBytes, blocks } = shape;
  if (contentBytes !== undefined && contentBytes > PAYLOAD_JSON_BYTES_MAX) {
    return { ok: false, reason: `its payload is larger than ${PAYLOAD_JSON_BYTES_MAX} bytes` };
  }
  if (contentBytes !== undefined && blocks <= BLOCKS_MAX) {
    return { ok: true, frame: payload, contentBytes };
  }
  try {
    const content = await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX);
    return { ok: true, frame: await compressFrame(content), contentBytes: content.length };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { ok: false, reason: "its payload does not decompress within its limit" };
  }
}
