/**
 * Places of a live tail: how far a client has read in every stream. A place travels as the `id` of server-sent events
 * and comes back as `Last-Event-ID`; opaque to clients, and no secret: it only says where to read on.
 *
 * Streams are told by their incarnations, which differ by shard and by each making of a stream.
 */
import { WHOLE_MESSAGE } from "../event/event-id.ts";

/** Last event given of one incarnation. */
export interface StreamPlace {
  readonly sequence: number;
  /** {@link WHOLE_MESSAGE} when the message was read to its end. */
  readonly idx: number;
}

export interface TailPlace {
  readonly streams: ReadonlyMap<string, StreamPlace>;
  /** Newest broker time that was known when the place was given out, µs: streams that began later are news. */
  readonly knownUs: number;
}

/** At most this many streams in one place. */
const STREAMS_MAX = 256;
const VERSION = "1";

export function encodeTailPlace({ streams, knownUs }: TailPlace): string {
  const parts = [...streams].map(([incarnation, { sequence, idx }]) =>
    `${incarnation}.${sequence}.${idx === WHOLE_MESSAGE ? "" : idx}`
  );
  return Buffer.from([VERSION, String(knownUs), ...parts].join("~")).toString("base64url");
}

/** The place an id names; undefined when it is none of ours. */
export function decodeTailPlace(text: string): TailPlace | undefined {
  if (!/^[A-Za-z0-9_-]{1,16384}$/.test(text)) return undefined;
  const [version, known = "", ...parts] = Buffer.from(text, "base64url").toString().split("~");
  if (version !== VERSION || !/^[0-9]{1,16}$/.test(known) || parts.length > STREAMS_MAX) {
    return undefined;
  }
  const streams = new Map<string, StreamPlace>();
  for (const part of parts) {
    const match = /^([0-9a-f]{8})\.([0-9]{1,15})\.([0-9]{0,9})$/.exec(part);
    if (match === null) return undefined;
    const [, incarnation = "", sequence, idx] = match;
    streams.set(incarnation, {
      sequence: Number(sequence),
      idx: idx === "" ? WHOLE_MESSAGE : Number(idx),
    });
  }
  return { streams, knownUs: Number(known) };
}
