/**
 * Text of events in reports: spelled so that neither a terminal nor a page obeys it. Shared by all forms for people.
 *
 * Invariant: no control character, no line end and no sign that turns the direction of text round gets through.
 */
import type { Cell, Report, ReportTable } from "./report.ts";
import { formatTime } from "../../event/event.ts";

const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/** Data on one line, with what cannot be seen spelled as `\xNN` or `\u{NNNN}`. */
export function spelled(text: string): string {
  return text.replaceAll(UNSEEN, (sign) => {
    const code = sign.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`;
  });
}

export function cellText(cell: Cell): string {
  return cell === undefined ? "" : spelled(String(cell));
}

/** What a report is about, as names and values. */
export function factsOf(report: Report): [string, string][] {
  const { fromUs, toUs, hosts, sees, isEmpty, isNothing, isWatched } = report;
  const list = (values: readonly string[] | "all"): string =>
    values === "all" ? "all" : values.length === 0 ? "none" : values.map(spelled).join(", ");
  return [
    ["From", formatTime(fromUs)],
    ["To, exclusive", formatTime(toUs)],
    ["Hosts", list(hosts)],
    ["Token sees topics", list(sees.topics)],
    ["Token sees hosts", list(sees.hosts)],
    [
      "Events of this kind",
      isEmpty ? "none: no change" : isNothing ? "none visible" : "listed below",
    ],
    ["Watched", isWatched ? "all the time" : "with gaps"],
  ];
}

/** What stands where a table has no row. */
export function emptyText({ name }: ReportTable): string {
  return name === "coverage_gaps" ? "No gap is known." : "None.";
}
