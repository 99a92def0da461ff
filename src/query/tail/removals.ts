/**
 * Whether retention may have removed events between the place that a client goes on after and what it is given next.
 *
 * Invariant: whoever goes on where events may be gone is told so, also where no rule was written down or can be read;
 * places that are not older than what is kept are not asked about twice.
 */
import { formatTime } from "../../event/event.ts";
import { formatEventId, WHOLE_MESSAGE } from "../../event/event-id.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { timeLimit } from "../../runtime/time-limit.ts";
import { isOnlyOf, sequenceRangeOf, timeRangeOf } from "../planner/pruning.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import {
  type DeletionReader,
  type Deletions,
  removableUntilUs,
  type Wanted,
} from "../reports/deletions.ts";
import type { StreamPlace, TailPlace } from "../tail-place.ts";
import { wantedBy } from "./wanted.ts";

/** Where events may be gone. */
export interface Removed {
  /** From where on: an id of each stream, or a time. */
  readonly from: readonly string[];
  /** What may be gone was logged before, µs; undefined when that cannot be told. */
  readonly beforeUs: number | undefined;
}

export interface Removals {
  /** After a place; undefined where nothing is gone that was wanted. */
  after(place: TailPlace, options: RemovalsOptions): Promise<Removed | undefined>;
  /** Of what happened since a time, as far as the log tells that something was removed. */
  since(timeUs: number, options: RemovalsOptions): Promise<Removed | undefined>;
}

export interface RemovalsOptions {
  readonly request: TailRequest;
  readonly principal: Principal;
  readonly view: ReadView;
  /** Whether to wait for as long as it takes to know, unless {@link READ_LIMIT_MS} is enough. */
  readonly isPatient?: boolean;
  readonly signal: AbortSignal;
}

/** Rules are read again after so long, in milliseconds, and with each version of the table, which one may have made. */
const RULES_MS = 60_000;
export const READ_LIMIT_MS = 5_000;

export function createRemovals(
  { deletions, clock, log }: {
    readonly deletions: DeletionReader;
    readonly clock: Clock;
    readonly log: Log;
  },
): Removals {
  let known: {
    readonly rules: Promise<Deletions | "behind" | undefined>;
    readonly atUs: number;
    readonly upTo: number;
  } | undefined;
  const read = async (upTo: number): Promise<Deletions | "behind" | undefined> => {
    try {
      const signal = timeLimit(READ_LIMIT_MS);
      const rules = await deletions.read({ nowUs: clock.nowUs(), upTo, signal });
      if (rules === "behind") known = undefined;
      return rules;
    } catch (error) {
      log.warn("rules of retention cannot be read", { error: String(error) });
      return undefined;
    }
  };
  const rulesOf = async (
    { view: { version: upTo }, isPatient = false, signal }: RemovalsOptions,
  ): Promise<Deletions | undefined> => {
    const untilMs = performance.now() + READ_LIMIT_MS;
    for (;;) {
      const nowUs = clock.nowUs();
      const isOld = known === undefined || known.upTo < upTo ||
        nowUs - known.atUs > RULES_MS * 1_000;
      if (known === undefined || isOld) known = { rules: read(upTo), atUs: nowUs, upTo };
      const rules = await known.rules;
      if (rules !== "behind") return rules;
      signal.throwIfAborted();
      if (!isPatient && performance.now() > untilMs) return undefined;
    }
  };
  return {
    async after({ streams, knownUs }, options) {
      const { request, principal, view } = options;
      const doubted = (untilUs: number): string[] =>
        [...streams].flatMap(([incarnation, place]) => {
          const asked = { incarnation, place, knownUs, untilUs };
          return mayBeRemoved(view, asked) ? [firstAfter(incarnation, place)] : [];
        });
      // Most go on where nothing is old enough to be gone, whatever the rules are.
      if (doubted(Infinity).length === 0) return undefined;
      const rules = await rulesOf(options);
      if (rules === undefined) return { from: doubted(Infinity), beforeUs: undefined };
      const beforeUs = removedUntilUs(rules, rules.sets, wantedBy(request, principal));
      const { sinceUs = -Infinity } = request;
      const from = beforeUs <= Math.max(0, sinceUs) ? [] : doubted(beforeUs);
      return from.length === 0 ? undefined : { from, beforeUs };
    },
    async since(timeUs, options) {
      // From 1970 on is all that there is, whatever there was.
      if (options.view.version < 0 || timeUs <= 0) return undefined;
      const from = [formatTime(timeUs)];
      const rules = await rulesOf(options);
      if (rules === undefined) return { from, beforeUs: undefined };
      const wanted = wantedBy(options.request, options.principal);
      const beforeUs = removedUntilUs(rules, rules.told, wanted);
      return beforeUs <= timeUs ? undefined : { from, beforeUs };
    },
  };
}

/** What is wanted may be gone before this moment, on some host, µs. */
function removedUntilUs(
  { spans }: Deletions,
  sets: Deletions["sets"],
  wanted: readonly Wanted[],
): number {
  const removed = sets.flatMap((set) => wanted.map((each) => removableUntilUs(set, each)));
  return Math.max(0, ...removed, ...spans.map(({ toUs }) => toUs));
}

function mayBeRemoved(
  { files, hot, upper }: ReadView,
  { incarnation, place, knownUs, untilUs }: {
    readonly incarnation: string;
    readonly place: StreamPlace;
    readonly knownUs: number;
    readonly untilUs: number;
  },
): boolean {
  const next = nextOf(place);
  const end = upper.get(incarnation);
  if (end !== undefined && next > end) return false;
  // What is not yet in the archive is not removed from it.
  if (hot.some((each) => each.incarnation === incarnation && next > each.after)) return false;
  const reached = files.flatMap((file) => {
    const range = sequenceRangeOf(file, incarnation);
    return range === undefined || range.from > next ? [] : [{ file, range }];
  });
  if (reached.length === 0) {
    const isWritten = end !== undefined || files.some((file) => isOf(file, incarnation));
    // Of a stream that ended and is gone, as of one that had no row yet, the age of the place has to tell.
    return isWritten && place.sequence > 0 || knownUs < untilUs;
  }
  // The broker's times rise with the sequences: what comes next was not logged before any of these. The last time in a
  // file that other streams share may be of one of them.
  const loggedUs = reached.map(({ file, range }) => {
    const { from, to } = timeRangeOf(file, "logged_at");
    return range.to < next && isOnlyOf(file, incarnation) ? to : from;
  });
  return Math.max(...loggedUs) < untilUs;
}

function isOf(file: Parameters<typeof sequenceRangeOf>[0], incarnation: string): boolean {
  return sequenceRangeOf(file, incarnation) !== undefined;
}

function nextOf({ sequence, idx }: StreamPlace): number {
  return idx === WHOLE_MESSAGE ? sequence + 1 : sequence;
}

function firstAfter(incarnation: string, place: StreamPlace): string {
  const idx = place.idx === WHOLE_MESSAGE ? 0 : place.idx + 1;
  return formatEventId({ incarnation, sequence: nextOf(place), idx });
}
