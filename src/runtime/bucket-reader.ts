/**
 * Reads the entries of a key-value bucket at once: as the stream that it is, in a few pulls instead of a request for
 * each key.
 *
 * Invariant: every key has at least the value it had when the reading began. Where the reading ends is the broker's
 * count of what is still to come, never a sequence: the message at a stream's last sequence may be gone, when it was
 * replaced by one that a broker lost with its tail.
 */
import type { Clock } from "./clock.ts";
import type { BucketEntry, NatsConnection } from "./nats.ts";
import { readStream } from "./stream-reader.ts";

export interface ReadBucketOptions {
  readonly bucket: string;
  /** Which keys, in tokens, `*` standing for any one. */
  readonly filter: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A reading that brings nothing for so long has failed, in milliseconds. */
const SILENCE_LIMIT_MS = 30_000;
/** After so long without an entry the broker is asked anew how many there are, in milliseconds. */
const PULL_MS = 2_000;
/** Header of an entry that says its key was deleted (NATS ADR-8). */
const OPERATION = "KV-Operation";

/** Entries by key. Rejects when there is no such bucket, when the broker falls silent, and when it is aborted. */
export async function readBucket(
  connection: NatsConnection,
  { bucket, filter, clock, signal }: ReadBucketOptions,
): Promise<ReadonlyMap<string, BucketEntry>> {
  const entries = new Map<string, BucketEntry>();
  const prefix = `$KV.${bucket}.`;
  const decoder = new TextDecoder();
  const ending = new AbortController();
  const either = AbortSignal.any([ending.signal, signal]);
  let messages = 0;
  const limitSilence = async (): Promise<void> => {
    for (let seen = -1; seen < messages;) {
      seen = messages;
      await clock.sleep(SILENCE_LIMIT_MS, either);
    }
    ending.abort(
      new Error(`Cannot read bucket "${bucket}": nothing came for ${SILENCE_LIMIT_MS} ms`),
    );
  };
  const limiting = Promise.allSettled([limitSilence()]);
  try {
    const stream = { connection, stream: `KV_${bucket}`, fromSequence: 1, signal: either, clock };
    const reading = { ...stream, subject: prefix + filter, isUpToNow: true, pullMs: PULL_MS };
    for await (const { sequence, subject, headers, payload } of readStream(reading)) {
      messages += 1;
      const text = headers.has(OPERATION) ? undefined : decoder.decode(payload);
      entries.set(subject.slice(prefix.length), { text, revision: sequence });
    }
    either.throwIfAborted();
    return entries;
  } finally {
    ending.abort();
    await limiting;
  }
}
