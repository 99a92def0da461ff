/**
 * The event id `<incarnation>-<stream sequence>-<idx>`: unique, and the event's place in the log.
 * Ids are ordered within one incarnation only.
 */
import { createHash } from "node:crypto";

export interface EventPlace {
  readonly incarnation: string;
  readonly sequence: number;
  readonly idx: number;
}

/** An idx beyond every real one: of a place after all events of a message. */
export const WHOLE_MESSAGE = 999_999_999;

const EVENT_ID = /^([0-9a-f]{8})-([1-9][0-9]{0,15})-(0|[1-9][0-9]{0,8})$/;

export function formatEventId(place: EventPlace): string {
  return `${place.incarnation}-${place.sequence}-${place.idx}`;
}

/** The place an id names, or undefined when the text is not an event id. */
export function parseEventId(text: string): EventPlace | undefined {
  const match = EVENT_ID.exec(text);
  if (match === null) return undefined;
  const [, incarnation, sequence, idx] = match;
  const place = { incarnation: String(incarnation), sequence: Number(sequence), idx: Number(idx) };
  return Number.isSafeInteger(place.sequence) ? place : undefined;
}

/**
 * Incarnation of a stream: the first 8 hex characters of SHA-256 over its name, LF and its creation time in the
 * broker's own RFC 3339 text.
 */
export function incarnationOf(streamName: string, created: string): string {
  return createHash("sha256").update(`${streamName}\n${created}`).digest("hex").slice(0, 8);
}
