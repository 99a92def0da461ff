/**
 * From a stored message to what acceptance sees of it: whose it is, its headers or why they cannot be trusted, and the
 * digest of the whole. The same for every reader of the stream.
 *
 * Invariant: a header is trusted only when the subject names its agent and its digest is that of the payload; a void
 * carries none.
 */
import type { Arrival } from "./acceptance.ts";
import { type BatchHeader, digestOf, messageDigestOf, parseHeaders, parseSubject } from "./wire.ts";

/** A message of the stream as it is stored. */
export interface StoredMessage {
  readonly sequence: number;
  /** When the broker stored it, µs since the Unix epoch. */
  readonly storedAtUs: number;
  readonly subject: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly payload: Uint8Array;
}

export interface ArrivedMessage {
  /** The agent its subject names; undefined when the subject is none of the shard's. */
  readonly agent: string | undefined;
  /** Undefined when the headers cannot be trusted. */
  readonly header: BatchHeader | undefined;
  readonly arrival: Arrival;
}

export function readArrival(message: StoredMessage, shard: string): ArrivedMessage {
  const { sequence, storedAtUs, subject } = message;
  const named = parseSubject(subject);
  const agent = named?.shard === shard ? named.agent : undefined;
  const batch = agent === undefined
    ? { ok: false, reason: "the subject is none of the shard's" } as const
    : trust(message, agent);
  return {
    agent,
    header: batch.ok ? batch.header : undefined,
    arrival: { sequence, storedAtUs, messageDigest: messageDigestOf(message), agent, batch },
  };
}

function trust({ headers, payload }: StoredMessage, agent: string): Arrival["batch"] {
  const parsed = parseHeaders(headers, agent);
  if (!parsed.ok) return parsed;
  if (parsed.header.void !== undefined) {
    return payload.length === 0 ? parsed : { ok: false, reason: "a void carries a payload" };
  }
  return digestOf(payload) === parsed.header.digest
    ? parsed
    : { ok: false, reason: "the digest is not the payload's" };
}
