/**
 * A sink at rest: how far the record was taken by it, and which process feeds it now. Beside it the events that it
 * refused, by id: they stay in the record, so nothing but what became of them is kept.
 *
 * Invariant: the place is that of what the sink has taken; it moves after a delivery, never before.
 */
import { isRecord } from "./json-text.ts";
import type { ObjectStore } from "./object-store.ts";
import { createRegistry, type Registry } from "./registry.ts";
import { parseReadingPlace, type Subscription } from "./subscription.ts";

export type SinkState = Pick<Subscription, "place" | "ahead"> & {
  readonly createdUs: number;
  /** Who feeds it now; the turn ends by itself. */
  readonly turn: { readonly session: string; readonly untilUs: number } | undefined;
  /** Id of the last event that it took. */
  readonly lastId: string | undefined;
  readonly delivered: number;
  readonly retries: number;
  readonly dead: number;
  /** Why its last attempt failed; undefined when it did not. */
  readonly fault: string | undefined;
  /** The newest {@link GAPS_MAX} that it met, the last one last. */
  readonly gaps: readonly SinkGap[];
};

/** Events that were gone before the sink came to them; how many is not known. */
export interface SinkGap {
  /** Id of the first that may be gone, or the time from which on the sink was to have events. */
  readonly from: string;
  /** What may be gone was logged before, µs; undefined when that cannot be told. */
  readonly beforeUs: number | undefined;
  readonly reason: string;
  /** When it was met, µs. */
  readonly atUs: number;
  /** Whether the other side has its notice. */
  readonly isTold: boolean;
}

export const GAPS_MAX = 20;

/** An event that a sink refused as often as it was offered. */
export interface DeadLetter {
  readonly id: string;
  readonly atUs: number;
  readonly reason: string;
}

/** Dead letters of one sink; at this many it waits until somebody has cleared them. */
export const DEAD_LETTERS_MAX = 1_000;

const KIND = "sinks";
const DEAD_KIND = "sink-dead-letters";

interface RegistryPlace {
  readonly store: ObjectStore;
  readonly nowMs?: () => number;
}

export function createSinkRegistry(options: RegistryPlace): Registry<SinkState> {
  return createRegistry({ ...options, kind: KIND, parse: parseSinkState });
}

export function createDeadLetterRegistry(
  options: RegistryPlace,
): Registry<readonly DeadLetter[]> {
  return createRegistry({ ...options, kind: DEAD_KIND, parse: parseDeadLetters });
}

function parseSinkState(value: unknown): SinkState {
  if (!isRecord(value)) throw new SyntaxError("a sink is no object");
  const { turn } = value;
  if (turn !== undefined && !isRecord(turn)) throw new SyntaxError(`"turn" is no object`);
  return {
    ...parseReadingPlace(value),
    createdUs: naturalOf(value, "createdUs"),
    turn: turn && { session: textOf(turn, "session"), untilUs: naturalOf(turn, "untilUs") },
    lastId: value["lastId"] === undefined ? undefined : textOf(value, "lastId"),
    delivered: naturalOf(value, "delivered"),
    retries: naturalOf(value, "retries"),
    dead: naturalOf(value, "dead"),
    fault: value["fault"] === undefined ? undefined : textOf(value, "fault"),
    gaps: gapsOf(value["gaps"] ?? []),
  };
}

function gapsOf(value: unknown): readonly SinkGap[] {
  if (!Array.isArray(value)) throw new SyntaxError(`"gaps" is no list`);
  return value.map((each: unknown) => {
    if (!isRecord(each)) throw new SyntaxError("a gap is no object");
    return {
      from: textOf(each, "from"),
      beforeUs: each["beforeUs"] === undefined ? undefined : naturalOf(each, "beforeUs"),
      reason: textOf(each, "reason"),
      atUs: naturalOf(each, "atUs"),
      isTold: each["isTold"] === true,
    };
  });
}

function parseDeadLetters(value: unknown): readonly DeadLetter[] {
  if (!Array.isArray(value)) throw new SyntaxError("dead letters are no list");
  return value.map((each: unknown) => {
    if (!isRecord(each)) throw new SyntaxError("a dead letter is no object");
    return {
      id: textOf(each, "id"),
      atUs: naturalOf(each, "atUs"),
      reason: textOf(each, "reason"),
    };
  });
}

function textOf(body: Readonly<Record<string, unknown>>, name: string): string {
  const value = body[name];
  if (typeof value === "string") return value;
  throw new SyntaxError(`"${name}" is no text`);
}

function naturalOf(body: Readonly<Record<string, unknown>>, name: string): number {
  const value = body[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new SyntaxError(`"${name}" is no number from 0 to 2^53`);
}
