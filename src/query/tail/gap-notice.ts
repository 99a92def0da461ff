/**
 * What a client is told of the events that it was not given: of those that it was too slow for how many, which, and the
 * searches that give them; of those that retention removed from where on.
 *
 * Invariant: the searches find every event that was left out, whenever they are asked for; of the first and the last
 * batch they may find more that match, and where there is no room for the filters also some that do not, which the
 * client tells by their ids.
 */
import { findColumn } from "../../event/columns.ts";
import { formatTime } from "../../event/event.ts";
import { formatEventId } from "../../event/event-id.ts";
import { parseCondition } from "../filter.ts";
import { FILTER_NAMES, type Parameters, QUERY_LENGTH_MAX } from "../request.ts";
import { parseTime, type TimeContext } from "../time-text.ts";
import type { Skipped, SkippedRange, TailRow } from "./live-queue.ts";
import type { Removed } from "./removals.ts";

export interface GapNotice {
  /** Null when nobody knows. */
  readonly count: number | null;
  readonly reason: string;
  /** Id of the first, or of what comes after the place; the time from which on events were asked for. */
  readonly from: string;
  readonly to: readonly string[];
  /** Those that retention took were logged before; null when that cannot be told. */
  readonly before?: string | null;
  /** Addresses without the service's own, one of each stream. */
  readonly searches: readonly string[];
}

/** What was asked for. */
export interface Asked {
  readonly parameters: Parameters;
  /** By which it was understood. */
  readonly time: TimeContext;
}

export function gapNotice({ count, ranges }: Skipped, asked: Asked): GapNotice {
  const [first] = ranges;
  return {
    count,
    reason: "the client reads more slowly than events come",
    from: first === undefined ? "" : idOf(first.first),
    to: ranges.map(({ last }) => idOf(last)),
    searches: ranges.map((range) => searchOf(range, asked)),
  };
}

/** Nothing can be searched for: how many there were, and which, is as unknown as they are gone. */
export function removedNotice({ from: [from = ""], beforeUs }: Removed): GapNotice {
  const reason = "retention may have removed events after the place to go on from";
  const before = beforeUs === undefined ? null : formatTime(beforeUs);
  return { count: null, reason, from, to: [], before, searches: [] };
}

function searchOf(range: SkippedRange, { parameters, time }: Asked): string {
  const query = new URLSearchParams();
  for (const name of FILTER_NAMES) {
    for (const value of parameters.get(name) ?? []) {
      query.append(name, fixedOf(name, value, time));
    }
  }
  const filtered = addressOf(range, query);
  // Encoded anew, what has just passed as the tail's may be too long.
  return filtered.length <= QUERY_LENGTH_MAX ? filtered : addressOf(range, new URLSearchParams());
}

function addressOf(
  { first, last, earliest, latest }: SkippedRange,
  query: URLSearchParams,
): string {
  query.append("incarnation", first.incarnation);
  query.append("seq", `>=${first.sequence}`);
  query.append("seq", `<=${last.sequence}`);
  query.set("from", earliest);
  query.set("to", after(latest));
  query.set("order", "asc");
  return `/v1/events?${query}`;
}

/** A filter that asks for the same at any time: none says "an hour ago" any more. */
function fixedOf(name: string, text: string, time: TimeContext): string {
  if (findColumn(name)?.type !== "timestamp") return text;
  const { isNegated, matches } = parseCondition(name, text, time);
  const texts = matches.flatMap((match) => {
    if (match.kind === "glob" || typeof match.value === "string") return [];
    const value = formatTime(match.value);
    return match.kind === "compare" ? match.operator + value : value;
  });
  return (isNegated ? "!" : "") + texts.join(",");
}

/** A range ends before its end. */
function after(time: string): string {
  const timeUs = parseTime(time, { nowUs: 0, bootUs: 0 });
  return timeUs === undefined ? time : formatTime(timeUs + 1);
}

function idOf({ incarnation, sequence, idx }: TailRow): string {
  return formatEventId({ incarnation, sequence, idx });
}
