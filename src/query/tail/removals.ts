/**
 * Whether retention may have removed events between the place that a client goes on after and what it is given next.
 *
 * Invariant: whoever goes on where events may be gone is told so, also where no rule was written down or can be read;
 * places that are not older than what is kept are not asked about twice.
 */
import { formatEventId, WHOLE_MESSAGE } from "../../event/event-id.ts";
import { isTopicUnder } from "../../event/topic.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { timeLimit } from "../../runtime/time-limit.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { isOnlyOf, sequenceRangeOf, timeRangeOf } from "../planner/pruning.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { ReadView } from "../read-view.ts";
import { type Deletions, readDeletions } from "../reports/deletions.ts";
import type { StreamPlace, TailPlace } from "../tail-place.ts";
import { topicsOf } from "./matcher.ts";

/** Where events may be gone: ids from which on, one of each stream. */
export type Removed = readonly string[];

export interface Removals {
  after(place: TailPlace, options: RemovalsOptions): Promise<Removed>;
}

export interface RemovalsOptions {
  readonly request: TailRequest;
  readonly view: ReadView;
}

/** Rules are read again after so long, in milliseconds, and with each version of the table, which one may have made. */
const RULES_MS = 60_000;
const READ_LIMIT_MS = 5_000;

export function createRemovals(
  { store, clock, log }: {
    readonly store: ObjectStore;
    readonly clock: Clock;
    readonly log: Log;
  },
): Removals {
  let known: {
    readonly rules: Promise<Deletions | undefined>;
    readonly atUs: number;
    readonly upTo: number;
  } | undefined;
  const rulesOf = (upTo: number): Promise<Deletions | undefined> => {
    const nowUs = clock.nowUs();
    const isOld = known === undefined || known.upTo < upTo ||
      nowUs - known.atUs > RULES_MS * 1_000;
    if (known === undefined || isOld) {
      const rules = readDeletions(store, { nowUs, upTo, signal: timeLimit(READ_LIMIT_MS) })
        .catch((error: unknown) => {
          log.warn("rules of retention cannot be read", { error: String(error) });
          return undefined;
        });
      known = { rules, atUs: nowUs, upTo };
    }
    return known.rules;
  };
  return {
    async after({ streams, knownUs }, { request, view }) {
      const untilUs = removedUntilUs(await rulesOf(view.version), request);
      return [...streams].flatMap(([incarnation, place]) => {
        const asked = { incarnation, place, knownUs, untilUs };
        return mayBeRemoved(view, asked) ? [firstAfter(incarnation, place)] : [];
      });
    },
  };
}

/** Events that a request is about may be gone before this moment, on some host, µs; any, where that cannot be told. */
function removedUntilUs(deletions: Deletions | undefined, request: TailRequest): number {
  if (deletions === undefined) return Infinity;
  const { sets, spans } = deletions;
  const topics = topicsOf(request);
  const rules = sets.flat().filter(({ topic }) =>
    topic === undefined || topics === undefined ||
    topics.some((each) => isTopicUnder(each, topic) || isTopicUnder(topic, each))
  );
  const removed = rules.map(({ beforeUs }) => beforeUs);
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
