/** What a live stream or a subscription gives, as it is printed: events are data, all else is said on standard error. */
import type { TailGap, TailItem } from "../client/tail.ts";
import { formatEventLine } from "./event-line.ts";
import type { Output } from "./output.ts";

export async function printTailItem(item: TailItem, output: Output): Promise<void> {
  switch (item.kind) {
    case "event":
      if (output.isForPeople) await output.write(formatEventLine(item.event, output));
      else await output.json(item.event);
      return;
    case "gap":
      output.notice(gapText(item.gap));
      return;
    case "incomplete":
      output.notice(`incomplete: ${item.missing ?? "a part of the record cannot be seen now"}`);
      return;
    case "reconnecting":
      output.notice(`${item.reason}; trying again in ${(item.delayMs / 1000).toFixed(1)} s`);
      return;
  }
}

function gapText({ count, reason, detail }: TailGap): string {
  const [from, to] = [detail["from"], detail["to"]].map((id) => typeof id === "string" ? id : "");
  const where = from === "" && to === "" ? "" : ` (${[from, to].join(" to ").trim()})`;
  const what = `gap: ${count ?? "an unknown number of"} ${count === 1 ? "event" : "events"}`;
  return reason === undefined ? `${what} were not delivered${where}` : `${what}${where}: ${reason}`;
}
