/**
 * The sender's rules as tables: what a refusal by the broker means, what a watermark says of our standing, and what
 * follows from it. Of each table the first rule that applies is the one that counts.
 *
 * Invariant: a rule that cannot be sure publishes again. The record drops what it has already, so that costs bytes,
 * never an event; waiting is only for where the answer cannot be had otherwise.
 */
import type { Watermark } from "../event/watermark.ts";
import { UNKNOWN_DIGEST } from "../event/wire.ts";
import type { SenderState } from "./resend.ts";

/** The broker's last sequence of our subject is `reported`, and the stream ends at `lastSequence`. */
export interface Refusal {
  readonly reported: number;
  readonly lastSequence: number;
}

export interface Rule<Input> {
  readonly name: string;
  applies(state: SenderState, input: Input): boolean;
  act(state: SenderState, input: Input): void;
}

export interface SenderRules {
  readonly refusal: readonly Rule<Refusal>[];
  readonly standing: readonly Rule<Watermark>[];
  readonly progress: readonly Rule<Watermark>[];
}

/** Watermarks that name less than was released are taken for late ones for so long, then for a record set back. */
const REGRESSION_LIMIT_US = 90_000_000;
/** Longest wait before a batch that the record keeps passing over is sent once more. */
const PASSED_OVER_WAIT_US_MAX = 300_000_000;

/** Error 10071, once it is sure that the stream is still the same. */
const REFUSAL: readonly Rule<Refusal>[] = [
  {
    name: "what was reported has changed since",
    applies: ({ last }, { reported, lastSequence }) => reported === last || reported > lastSequence,
    act: () => {},
  },
  {
    name: "purged: ours are all at or below the watermark",
    applies: (state, { reported }) =>
      reported === 0 && state.watermark?.incarnation === state.incarnation &&
      state.last <= (state.watermark?.sequence ?? 0),
    act(state) {
      state.last = 0;
    },
  },
  {
    name: "gone: none of ours is left and not all were covered",
    applies: (_state, { reported }) => reported === 0,
    act(state) {
      state.last = 0;
      rewind(state, state.released.number + 1);
    },
  },
  {
    name: "lost tail: an earlier one of ours is the last",
    applies: (state, { reported }) => numberStoredAt(state, reported) !== undefined,
    act(state, { reported }) {
      state.last = reported;
      rewind(state, (numberStoredAt(state, reported) ?? state.released.number) + 1);
    },
  },
  {
    name: "unknown: a lost acknowledgement of ours, or another's message",
    applies: () => true,
    act(state, { reported }) {
      state.barrier = { sequence: reported, number: state.cursor };
      state.isWatermarkDue = true;
    },
  },
];

/** Whether the record and this spool agree, and how far. */
const STANDING: readonly Rule<Watermark>[] = [
  {
    name: "another spool writes under our name",
    applies: (state, watermark) =>
      isStranger(state, watermark) &&
      (state.released.number > 0 || isPassedOver(state, watermark)),
    act(state, { epoch }) {
      state.conflict = `the record continues epoch "${epoch}", which is not of this spool`;
    },
  },
  {
    name: "the record holds more than this spool made",
    applies: (state, { epoch, number }) => epoch === state.epoch && number > state.highest,
    act(state, { number }) {
      state.conflict = `the record holds batch ${number}, this spool made only ${state.highest}`;
    },
  },
  {
    name: "the record holds another batch",
    applies: (state, { epoch, number, digest }) =>
      epoch === state.epoch && number >= state.released.number &&
      digest !== UNKNOWN_DIGEST && digestAt(state, number) !== digest,
    act(state, { number }) {
      state.conflict = `the record holds another batch ${number} than this spool`;
    },
  },
  {
    name: "the record refused ours as a fork",
    applies: ({ epoch, batches }, { fork }) =>
      fork !== undefined && fork.epoch === epoch &&
      batches.get(fork.number)?.digest === fork.digest,
    act(state, { fork }) {
      state.conflict = `the record does not take batch ${fork?.number} as its continuation`;
    },
  },
  {
    name: "the record was set back",
    // One that is older by its own time than another that was seen is a late one, however long after each other two come.
    applies: (state, watermark) =>
      isBehind(state, watermark) && state.regressedAtUs !== undefined &&
      watermark.atUs >= (state.watermark?.atUs ?? 0) &&
      watermark.atUs - state.regressedAtUs >= REGRESSION_LIMIT_US,
    act(state, { number }) {
      state.conflict =
        `the record holds batch ${number}, of this spool it had ${state.released.number}`;
    },
  },
  {
    name: "an old watermark",
    applies: isBehind,
    act(state, { atUs }) {
      state.regressedAtUs ??= atUs;
    },
  },
  {
    name: "covered",
    applies: (state, watermark) =>
      watermark.epoch === state.epoch && coveredBy(state, watermark) > state.released.number,
    act(state, watermark) {
      const number = coveredBy(state, watermark);
      // The same as the record's where that is the last one, unless it is known there by its number alone.
      const digest = digestAt(state, number) ?? watermark.digest;
      release(state, { number, digest });
    },
  },
];

/** What is to be done about batches that the watermark does not cover. */
const PROGRESS: readonly Rule<Watermark>[] = [
  {
    name: "the record reads another incarnation",
    applies: (state, { incarnation }) => incarnation !== state.incarnation,
    act(state) {
      state.isStreamDue = true;
    },
  },
  {
    name: "all up to the barrier is decided",
    applies: ({ barrier }, { sequence }) => barrier !== undefined && sequence >= barrier.sequence,
    act(state) {
      const { sequence, number } = state.barrier ?? { sequence: state.last, number: 0 };
      state.last = sequence;
      state.barrier = undefined;
      rewind(state, state.released.number + 1);
      if (state.cursor === number) giveFreshId(state, number);
    },
  },
  {
    name: "the record passed over a batch",
    applies: (state, watermark) => isPassedOver(state, watermark) && isRested(state, watermark),
    act(state, { atUs }) {
      const number = state.released.number + 1;
      const times = state.passedOver.number === number ? state.passedOver.times + 1 : 1;
      state.passedOver = { number, times, atUs };
      rewind(state, number);
    },
  },
];

export const RULES: SenderRules = { refusal: REFUSAL, standing: STANDING, progress: PROGRESS };

/** Applies the first rule that fits; its name, or undefined when none does. */
export function applyFirst<Input>(
  rules: readonly Rule<Input>[],
  state: SenderState,
  input: Input,
): string | undefined {
  const rule = rules.find((each) => each.applies(state, input));
  rule?.act(state, input);
  return rule?.name;
}

/** Whatever was stored from a batch on is published again, each under an id that no de-duplication knows. */
export function rewind(state: SenderState, number: number): void {
  for (let each = number; each <= state.highest; each++) {
    const batch = state.batches.get(each);
    if (batch?.stored === undefined) continue;
    batch.stored = undefined;
    giveFreshId(state, each);
  }
  state.cursor = number;
}

/** From now on the batch is published as one that is sent again after the newest watermark. */
export function giveFreshId(state: SenderState, number: number): void {
  const { watermark, incarnation = "" } = state;
  const batch = state.batches.get(number);
  if (batch === undefined) return;
  batch.resend = {
    incarnation: watermark?.incarnation ?? incarnation,
    sequence: watermark?.sequence ?? 0,
  };
}

function release(
  state: SenderState,
  through: { readonly number: number; readonly digest: string },
): void {
  for (let number = state.released.number + 1; number <= through.number; number++) {
    state.lastReleased = state.batches.get(number)?.stored ?? state.lastReleased;
    state.batches.delete(number);
  }
  state.released = { ...through };
  state.cursor = Math.max(state.cursor, through.number + 1);
}

/** The last number up to which the record has all that this spool has: not what was given up for it and is here. */
function coveredBy(state: SenderState, { number, givenUp = [] }: Watermark): number {
  const here = givenUp
    .map(([first, last]) => ({ first: Math.max(first, state.released.number + 1), last }))
    .filter(({ first, last }) => first <= last && state.batches.has(first))
    .map(({ first }) => first);
  return Math.min(number, ...here.map((first) => first - 1));
}

function isStranger(state: SenderState, { epoch }: Watermark): boolean {
  return epoch !== "" && epoch !== state.epoch && !state.others.has(epoch);
}

/** It names less than was released: an old watermark, or a record that was set back. */
export function isBehind(state: SenderState, { epoch, number }: Watermark): boolean {
  const accepted = epoch === state.epoch ? number : 0;
  return accepted < state.released.number;
}

function digestAt(state: SenderState, number: number): string | undefined {
  return number === state.released.number
    ? state.released.digest
    : state.batches.get(number)?.digest;
}

/** The first batch that is not released lies where the record has read, and was not taken. */
function isPassedOver(state: SenderState, { incarnation, sequence }: Watermark): boolean {
  const stored = state.batches.get(state.released.number + 1)?.stored;
  return stored !== undefined && stored.incarnation === incarnation && stored.sequence <= sequence;
}

/** A batch that is passed over again and again is sent less and less often. */
function isRested({ passedOver, released }: SenderState, { atUs }: Watermark): boolean {
  if (passedOver.number !== released.number + 1) return true;
  const waitUs = Math.min(PASSED_OVER_WAIT_US_MAX, 1_000_000 * 2 ** passedOver.times);
  const restedUs = atUs - passedOver.atUs;
  // The roll-up's clock was set back: by it nothing says any more how long is enough.
  return restedUs < 0 || restedUs >= waitUs;
}

/** The number of the batch of ours that lies at a sequence, released ones by their last. */
function numberStoredAt(state: SenderState, sequence: number): number | undefined {
  const { incarnation, lastReleased, released } = state;
  const isThere = (place: typeof lastReleased): boolean =>
    place?.incarnation === incarnation && place?.sequence === sequence;
  for (let number = state.cursor - 1; number > released.number; number--) {
    if (isThere(state.batches.get(number)?.stored)) return number;
  }
  return isThere(lastReleased) ? released.number : undefined;
}
