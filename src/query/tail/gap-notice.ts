/**
 * What a slow client is told of the events that it was not given: how many, which, and the searches that give them.
 *
 * Invariant: the searches find every event that was left out; of the first and the last batch they may find more that
 * match, which the client tells by their ids.
 */
import { formatTime } from "../../event/event.ts";
import { formatEventId } from "../../event/event-id.ts";
import { FILTER_NAMES, type Parameters } from "../request.ts";
import { parseTime } from "../time-text.ts";
import type { Skipped, SkippedRange, TailRow } from "./live-queue.ts";

export interface GapNotice {
  readonly count: number;
  readonly reason: string;
  readonly from: string;
  readonly to: readonly string[];
  /** Addresses without the service's own, one of each stream. */
  readonly searches: readonly string[];
}

/** `parameters` are those of the tail. */
export function gapNotice({ count, ranges }: Skipped, parameters: Parameters): GapNotice {
  const [first] = ranges;
  return {
    count,
    reason: "the client reads more slowly than events come",
    from: first === undefined ? "" : idOf(first.first),
    to: ranges.map(({ last }) => idOf(last)),
    searches: ranges.map((range) => searchOf(range, parameters)),
  };
}

function searchOf({ first, last, earliest, latest }: SkippedRange, parameters: Parameters): string {
  const query = new URLSearchParams();
  for (const name of FILTER_NAMES) {
    for (const value of parameters.get(name) ?? []) query.append(name, value);
  }
  query.append("incarnation", first.incarnation);
  query.append("seq", `>=${first.sequence}`);
  query.append("seq", `<=${last.sequence}`);
  query.set("from", earliest);
  query.set("to", after(latest));
  query.set("order", "asc");
  return `/v1/events?${query}`;
}

/** A range ends before its end. */
function after(time: string): string {
  const timeUs = parseTime(time, { nowUs: 0, bootUs: 0 });
  return timeUs === undefined ? time : formatTime(timeUs + 1);
}

function idOf({ incarnation, sequence, idx }: TailRow): string {
  return formatEventId({ incarnation, sequence, idx });
}
