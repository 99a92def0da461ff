/**
 * The sender: what to publish next, with which expectation, and what may be forgotten. A pure state machine over one
 * epoch, the counterpart of `event/acceptance.ts`; it does no I/O and knows no clock but the watermarks' own. The
 * publisher asks {@link Sender.next} what to do, does it, and tells by {@link Sender.take} what came of it.
 *
 * Invariants
 * - A batch is released only when a watermark names the digest that this spool has under the same number.
 * - Batches are published in order, one at a time; after a rewind everything behind is published again, in order.
 * - What a reply means for batches is decided only for a stream whose incarnation was asked for before.
 *
 * The rules for refusals and watermarks are tables in `resend-rules.ts`, tried from the top.
 */
import type { Watermark } from "../event/watermark.ts";
import {
  applyFirst,
  giveFreshId,
  isBehind,
  rewind,
  RULES,
  type SenderRules,
} from "./resend-rules.ts";
import type { StreamPlace } from "./spool-receipts.ts";

export interface SenderBatch {
  readonly number: number;
  readonly digest: string;
  /** Where the broker stored it last; undefined when it never said so. */
  readonly stored: StreamPlace | undefined;
}

/** What is known when the machine starts: what the spool holds of the epoch. */
export interface SenderStart {
  readonly epoch: string;
  /** Other epochs of the same spool: a watermark that names one of them is no stranger's. */
  readonly others: readonly string[];
  /** No batch will be added any more. */
  readonly isClosed: boolean;
  readonly released: { readonly number: number; readonly digest: string };
  readonly batches: readonly SenderBatch[];
  /** Place of the newest released batch. */
  readonly lastStored: StreamPlace | undefined;
}

export type SenderInput =
  | { readonly kind: "durable"; readonly number: number; readonly digest: string }
  | { readonly kind: "connected" }
  | { readonly kind: "disconnected" }
  /** The stream as it is now; undefined when there is none or it cannot be asked. */
  | {
    readonly kind: "stream";
    readonly status: { readonly incarnation: string; readonly lastSequence: number } | undefined;
  }
  /** The watermark as it is now; undefined when there is none or it cannot be read. */
  | { readonly kind: "watermark"; readonly watermark: Watermark | undefined }
  | { readonly kind: "stored"; readonly number: number; readonly sequence: number }
  /** Error 10071: the last sequence of our subject is another than was expected. */
  | { readonly kind: "refused"; readonly reported: number }
  /** No answer, or one that says nothing of the batch: no stream, stream full, message too large. */
  | { readonly kind: "unanswered" }
  /** The pause is over. */
  | { readonly kind: "rested" };

export type SenderCommand =
  /** Nothing to do until the connection is there. */
  | { readonly kind: "offline" }
  | { readonly kind: "readStream" }
  | { readonly kind: "readWatermark" }
  | {
    readonly kind: "publish";
    readonly number: number;
    readonly expected: number;
    /** For the message id; undefined when the batch is sent for the first time. */
    readonly resend: StreamPlace | undefined;
  }
  /** Everything up to a number is part of the record. */
  | { readonly kind: "release"; readonly through: number }
  /** Wait longer after every further failure, then give `rested`. */
  | { readonly kind: "pause"; readonly failures: number }
  /** Wait for a batch, or a second for the next watermark when it is `polling`. */
  | { readonly kind: "idle"; readonly isPolling: boolean }
  /** The record and this spool disagree: what is not released goes over to a new epoch. Final. */
  | { readonly kind: "startEpoch"; readonly reason: string }
  /** The epoch is closed and all of it released. Final. */
  | { readonly kind: "finished" };

export interface Sender {
  /** What to do now. Asking again without `take` gives the same, but for a release, which is given once. */
  next(): SenderCommand;
  take(input: SenderInput): void;
}

/** A batch as the machine sees it. */
export interface Outgoing {
  readonly digest: string;
  /** Where it lies in the stream as far as known; undefined when it is to be published. */
  stored: StreamPlace | undefined;
  /** The watermark after which it was given up and is published again. */
  resend: StreamPlace | undefined;
}

/** State that the rules read and change. Numbers above `highest` and up to `released` have no batch. */
export interface SenderState {
  readonly epoch: string;
  readonly others: ReadonlySet<string>;
  readonly batches: Map<number, Outgoing>;
  released: { number: number; digest: string };
  highest: number;
  /** Next batch to publish; all unreleased ones before it are stored. */
  cursor: number;
  /** Incarnation of the stream, as last asked for. */
  incarnation: string | undefined;
  /** Sequence of the newest message of our subject, as far as known; 0 when there is none. */
  last: number;
  /** The newest released batch whose place is known. */
  lastReleased: StreamPlace | undefined;
  watermark: Watermark | undefined;
  /** Nothing is published until a watermark covers this sequence; the number is of the batch that was refused. */
  barrier: { readonly sequence: number; readonly number: number } | undefined;
  /** A refusal that waits for the stream to be asked. */
  refusal: number | undefined;
  isStreamDue: boolean;
  isWatermarkDue: boolean;
  /** Watermarks asked for since the stream was. */
  polls: number;
  /** Watermarks that were not there, and after how many all is sent again. */
  absences: number;
  absencesMax: number;
  /** Time since when watermarks name less than was released. */
  regressedAtUs: number | undefined;
  /** Why the record and this spool disagree. */
  conflict: string | undefined;
  /** Rewinds because the record passed over a batch, and when the last one was. */
  passedOver: { times: number; number: number; atUs: number };
  /** Attempts in a row that came to nothing. */
  failures: number;
  isPauseDue: boolean;
  isOnline: boolean;
}

/** While a stored batch stays uncovered, the stream is asked after so many watermarks whether it still holds it. */
const POLLS_PER_CHECK = 60;
/**
 * After so many watermarks that were not there, then twice as many, and so on, all is sent again: an agent of which the
 * record never heard gets none, and its messages may have been lost before they were read.
 */
const ABSENCES_MAX = 600;

export function createSender(start: SenderStart, rules: SenderRules = RULES): Sender {
  const state = initialState(start);
  let releasedBefore = state.released.number;
  return {
    take(input) {
      takeInput(state, input, rules);
    },
    next() {
      if (state.released.number > releasedBefore) {
        releasedBefore = state.released.number;
        return { kind: "release", through: releasedBefore };
      }
      return nextCommand(state, start.isClosed);
    },
  };
}

function initialState(start: SenderStart): SenderState {
  const batches = new Map<number, Outgoing>();
  for (const { number, digest, stored } of start.batches) {
    batches.set(number, { digest, stored, resend: undefined });
  }
  const highest = start.released.number + batches.size;
  return {
    epoch: start.epoch,
    others: new Set(start.others),
    batches,
    released: { ...start.released },
    highest,
    cursor: start.released.number + 1,
    incarnation: undefined,
    last: 0,
    lastReleased: start.lastStored,
    watermark: undefined,
    barrier: undefined,
    refusal: undefined,
    isStreamDue: true,
    isWatermarkDue: true,
    polls: 0,
    absences: 0,
    absencesMax: ABSENCES_MAX,
    regressedAtUs: undefined,
    conflict: undefined,
    passedOver: { times: 0, number: 0, atUs: 0 },
    failures: 0,
    isPauseDue: false,
    isOnline: false,
  };
}

function nextCommand(state: SenderState, isClosed: boolean): SenderCommand {
  const { cursor, highest, released } = state;
  if (state.conflict !== undefined) return { kind: "startEpoch", reason: state.conflict };
  if (isClosed && released.number >= highest) return { kind: "finished" };
  if (!state.isOnline) return { kind: "offline" };
  if (state.isPauseDue) return { kind: "pause", failures: state.failures };
  if (state.isStreamDue) return { kind: "readStream" };
  if (state.isWatermarkDue) return { kind: "readWatermark" };
  if (state.barrier !== undefined || cursor > highest) {
    return { kind: "idle", isPolling: released.number < highest };
  }
  const resend = state.batches.get(cursor)?.resend;
  return { kind: "publish", number: cursor, expected: state.last, resend };
}

function takeInput(state: SenderState, input: SenderInput, rules: SenderRules): void {
  switch (input.kind) {
    case "durable":
      state.highest = input.number;
      state.batches.set(input.number, {
        digest: input.digest,
        stored: undefined,
        resend: undefined,
      });
      return;
    case "connected":
      state.isOnline = true;
      state.isStreamDue = true;
      state.isWatermarkDue = true;
      state.isPauseDue = false;
      return;
    case "disconnected":
      state.isOnline = false;
      return;
    case "stream":
      return takeStream(state, input.status, rules);
    case "watermark":
      state.isWatermarkDue = false;
      doubt(state, input.watermark);
      if (input.watermark !== undefined) takeWatermark(state, input.watermark, rules);
      return;
    case "stored":
      return takeStored(state, input);
    case "refused":
      state.refusal = input.reported;
      state.isStreamDue = true;
      return;
    case "unanswered":
      return fail(state);
    case "rested":
      state.isPauseDue = false;
      // The stream may be another one by now.
      state.isStreamDue = true;
      return;
  }
}

/** Batches that stay uncovered may be gone without a sign, as long as nothing else is published. */
function doubt(state: SenderState, watermark: Watermark | undefined): void {
  state.polls += 1;
  if (watermark === undefined) state.absences += 1;
  if (state.barrier === undefined && state.cursor === state.released.number + 1) return;
  if (state.polls >= POLLS_PER_CHECK) state.isStreamDue = true;
  if (state.absences < state.absencesMax) return;
  state.absences = 0;
  state.absencesMax *= 2;
  state.barrier = undefined;
  rewind(state, state.released.number + 1);
}

function fail(state: SenderState): void {
  state.failures += 1;
  state.isPauseDue = true;
}

/** What is known of our messages holds for one incarnation, and only up to its end. */
function takeStream(
  state: SenderState,
  status: { readonly incarnation: string; readonly lastSequence: number } | undefined,
  rules: SenderRules,
): void {
  if (status === undefined) return fail(state);
  const { incarnation, lastSequence } = status;
  const isAnother = incarnation !== state.incarnation;
  state.isStreamDue = false;
  state.polls = 0;
  state.incarnation = incarnation;
  if (isAnother || lastSequence < state.last) {
    const isThere = (place: StreamPlace | undefined): boolean =>
      place?.incarnation === incarnation && place.sequence <= lastSequence;
    let number = state.released.number + 1;
    let newest = isThere(state.lastReleased) ? state.lastReleased : undefined;
    for (; number <= state.highest; number++) {
      const stored = state.batches.get(number)?.stored;
      if (!isThere(stored)) break;
      newest = stored;
    }
    state.last = newest?.sequence ?? 0;
    rewind(state, number);
  }
  if (isAnother || (state.barrier?.sequence ?? 0) > lastSequence) state.barrier = undefined;
  const reported = state.refusal;
  state.refusal = undefined;
  if (reported === undefined || isAnother) return;
  applyFirst(rules.refusal, state, { reported, lastSequence });
}

function takeStored(
  state: SenderState,
  { number, sequence }: { readonly number: number; readonly sequence: number },
): void {
  const { incarnation } = state;
  const batch = state.batches.get(number);
  // Released meanwhile, or asked for before a rewind.
  if (batch === undefined || number !== state.cursor || incarnation === undefined) return;
  if (sequence <= state.last) {
    // Not behind our last one: a de-duplication that remembers what is lost, or another stream.
    giveFreshId(state, number);
    return fail(state);
  }
  batch.stored = { incarnation, sequence };
  state.last = sequence;
  state.cursor += 1;
  state.failures = 0;
}

function takeWatermark(state: SenderState, watermark: Watermark, rules: SenderRules): void {
  if (watermark.atUs >= (state.watermark?.atUs ?? 0)) state.watermark = watermark;
  const isOld = isBehind(state, watermark);
  if (!isOld) state.regressedAtUs = undefined;
  applyFirst(rules.standing, state, watermark);
  if (state.conflict === undefined && !isOld) applyFirst(rules.progress, state, watermark);
}
