/**
 * Reads a whole key-value bucket at once: as the stream that it is, in a few pulls instead of a request for each key.
 *
 * Invariant: every key has at least the value it had when the reading began.
 */
import { type BucketEntry, type NatsConnection, openStream } from "./nats.ts";
import { readStream } from "./stream-reader.ts";

export interface ReadBucketOptions {
  readonly bucket: string;
  /** Only keys that begin so. */
  readonly prefix: string;
  readonly signal?: AbortSignal;
}

/** A reading that brings nothing new for so long has failed, in milliseconds. */
const READ_LIMIT_MS = 60_000;
/** Header of an entry that says its key was deleted (NATS ADR-8). */
const OPERATION = "KV-Operation";

/** Entries by key; empty where there is no such bucket. Rejects when the broker does not answer. */
export async function readBucket(
  connection: NatsConnection,
  options: ReadBucketOptions,
): Promise<ReadonlyMap<string, BucketEntry>> {
  const { bucket, prefix } = options;
  const entries = new Map<string, BucketEntry>();
  const status = await openStream(connection, `KV_${bucket}`);
  if (status === undefined || status.messages === 0) return entries;
  const { name: stream, created, firstSequence, lastSequence } = status;
  const limit = AbortSignal.timeout(READ_LIMIT_MS);
  const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
  const subjects = `$KV.${bucket}.`;
  const decoder = new TextDecoder();
  const place = { connection, stream, created, fromSequence: firstSequence, signal };
  for await (const { sequence, subject, headers, payload } of readStream(place)) {
    const key = subject.slice(subjects.length);
    if (key.startsWith(prefix)) {
      const text = headers.has(OPERATION) ? undefined : decoder.decode(payload);
      entries.set(key, { text, revision: sequence });
    }
    if (sequence >= lastSequence) return entries;
  }
  options.signal?.throwIfAborted();
  throw new Error(`Cannot read bucket "${bucket}": it did not come to ${lastSequence} in time`);
}
