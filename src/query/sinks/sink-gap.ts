/**
 * What a sink was not given because it is gone: kept with the sink's place, and told to its other side as an event
 * `agent/gap` of its own, whatever topics and filters the sink has.
 *
 * Invariant: a gap at one place is one gap, however often it is met; its notice has the same id each time.
 */
import { formatTime } from "../../event/event.ts";
import { parseEventId } from "../../event/event-id.ts";
import { GAPS_MAX, type SinkGap } from "../../storage/sink.ts";
import { removedNotice } from "../tail/gap-notice.ts";
import type { Removed } from "../tail/removals.ts";
import type { SinkEvent } from "./target.ts";

const TOPIC = "agent/gap";
const CLASS = "retention";
const SEVERITY = "high";

/** The gaps with one more, the newest last; the same ones when it is known. */
export function withGap(
  gaps: readonly SinkGap[],
  removed: Removed,
  atUs: number,
): readonly SinkGap[] {
  const { from, reason } = removedNotice(removed);
  if (gaps.some((each) => each.from === from)) return gaps;
  const { beforeUs } = removed;
  return [...gaps, { from, beforeUs, reason, atUs, isTold: false }].slice(-GAPS_MAX);
}

export function asTold(gaps: readonly SinkGap[], { from }: SinkGap): readonly SinkGap[] {
  return gaps.map((each) => each.from === from ? { ...each, isTold: true } : each);
}

/** `host` is the service's own: whose events are missing nobody knows. */
export function noticeOf(gap: SinkGap, { host }: { readonly host: string }): SinkEvent {
  const { from, beforeUs, reason, atUs } = gap;
  const id = `gap-${from}`;
  const time = formatTime(atUs);
  const begin = parseEventId(from) === undefined ? { from } : { from_id: from };
  const end = beforeUs === undefined ? {} : { to: formatTime(beforeUs) };
  const json = JSON.stringify({
    ...{ id, time, host, topic: TOPIC, severity: SEVERITY },
    message: `An unknown number of events may be missing: ${reason}.`,
    detail: { class: CLASS, count: null, reason, ...begin, ...end },
  });
  return { id, topic: TOPIC, time, host, severity: SEVERITY, json };
}
