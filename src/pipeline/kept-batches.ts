/**
 * Batches that came ahead of a hole, read back from the evidence.
 *
 * Invariants: only what a segment of the right digest holds, under headers that can be trusted; memory is bounded: of
 * more than {@link KEPT_BYTES_MAX} the batches with the highest numbers are left for another time.
 */
import { createHash } from "node:crypto";
import { readArrival } from "../event/arrival.ts";
import type { AheadRange } from "../event/outstanding.ts";
import { type BatchHeader, subjectOf } from "../event/wire.ts";
import type { StreamMessage } from "../runtime/stream-message.ts";
import { EVIDENCE_PREFIX, parseEvidenceKey } from "../storage/layout.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { parseSegment } from "./segment.ts";

export interface KeptBatch {
  readonly header: BatchHeader;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
}

export interface KeptOf {
  readonly shard: string;
  readonly agent: string;
  readonly epoch: string;
  /** The highest accepted batch: only later ones are wanted. */
  readonly accepted: number;
  readonly ahead: readonly AheadRange[];
}

/** Payloads held at a time, in bytes. */
const KEPT_BYTES_MAX = 256 * 1024 * 1024;
/** Segments read for one epoch. */
const SEGMENTS_MAX = 10_000;

/** Reads them. Throws when they lie in too many segments, or one of these is not what its key says. */
export async function readKept(
  store: ObjectStore,
  of: KeptOf,
  signal?: AbortSignal,
): Promise<readonly KeptBatch[]> {
  const shelf = createShelf();
  for (const range of of.ahead) {
    for (const key of await segmentsOf(store, { range, of, signal })) {
      for (const message of await readMessages(store, key, signal)) {
        const batch = keptBatch(message, { range, of });
        if (batch !== undefined) shelf.add(batch);
      }
    }
  }
  return shelf.batches();
}

async function segmentsOf(
  store: ObjectStore,
  { range, of, signal }: {
    readonly range: AheadRange;
    readonly of: KeptOf;
    readonly signal: AbortSignal | undefined;
  },
): Promise<readonly string[]> {
  const keys: string[] = [];
  const prefix = `${EVIDENCE_PREFIX}${range.incarnation}/`;
  for await (const { key } of store.list(prefix, signal === undefined ? {} : { signal })) {
    const held = parseEvidenceKey(key)?.range;
    if (held === undefined || held.last < range.first || held.first > range.last) continue;
    if (keys.push(key) > SEGMENTS_MAX) {
      throw new Error(
        `Cannot adopt from agent "${of.agent}": its batches lie in more than ${SEGMENTS_MAX} segments`,
      );
    }
  }
  return keys;
}

async function readMessages(
  store: ObjectStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<readonly StreamMessage[]> {
  const found = await store.get(key, signal === undefined ? {} : { signal });
  if (found === undefined) throw new Error(`Cannot read ${key}: it is missing`);
  const sha256 = createHash("sha256").update(found.body).digest("hex");
  if (!sha256.startsWith(parseEvidenceKey(key)?.sha256Start ?? "-")) {
    throw new Error(`Cannot read ${key}: its content is not that of its digest`);
  }
  return parseSegment(found.body).messages;
}

function keptBatch(
  message: StreamMessage,
  { range: { first, last }, of }: { readonly range: AheadRange; readonly of: KeptOf },
): KeptBatch | undefined {
  const { sequence, subject, headers, payload } = message;
  if (sequence < first || sequence > last) return undefined;
  if (subject !== subjectOf(of.shard, of.agent)) return undefined;
  const { header } = readArrival(message, of.shard);
  if (header === undefined || header.epoch !== of.epoch) return undefined;
  // A copy: the rest of the segment need not stay in memory for it.
  return header.number > of.accepted ? { header, headers, payload: payload.slice() } : undefined;
}

interface Shelf {
  add(batch: KeptBatch): void;
  batches(): readonly KeptBatch[];
}

/** Keeps each batch once, and of too many those with the lowest numbers. */
function createShelf(): Shelf {
  const byId = new Map<string, KeptBatch>();
  let sizeBytes = 0;
  let ceiling = Infinity;
  return {
    add(batch) {
      const { number, digest } = batch.header;
      const id = `${number}/${digest}/${batch.header.void ?? ""}`;
      if (number >= ceiling || byId.has(id)) return;
      byId.set(id, batch);
      sizeBytes += batch.payload.length;
      while (sizeBytes > KEPT_BYTES_MAX) {
        ceiling = Math.max(...[...byId.values()].map(({ header }) => header.number));
        for (const [key, { header, payload }] of byId) {
          if (header.number < ceiling) continue;
          byId.delete(key);
          sizeBytes -= payload.length;
        }
      }
    },
    batches: () => [...byId.values()],
  };
}
