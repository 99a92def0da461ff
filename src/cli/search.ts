/**
 * `search`: events of a range of time, as lines on a terminal and as NDJSON otherwise.
 *
 * Invariant: an answer that the service calls incomplete ends in exit 5, whatever was printed.
 */
import type { RecordedEvent } from "../client/record.ts";
import { COLUMN_OPTIONS, conditionsOf } from "./column-options.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { formatEventLine } from "./event-line.ts";
import { EXIT, usageError } from "./exit.ts";
import { choiceOf, flag, integerBetween, text } from "./option-type.ts";
import { option, optional, type Values } from "./options.ts";
import type { Output } from "./output.ts";
import { printTailItem } from "./tail-item.ts";

/** Events that a terminal is shown unless `--limit` says otherwise. */
const TERMINAL_EVENTS = 100;
/** The most that `--limit` takes: without `--order` so many are held in memory to be turned round. */
const LIMIT_MAX = 100_000;

const RANGE_OPTIONS = {
  from: optional("from", text, {
    reach: "flag",
    text:
      "begin, inclusive: RFC 3339, 15m, now-2h, today, yesterday, boot; default: 24 h before --to",
  }),
  to: optional("to", text, { reach: "flag", text: "end, exclusive; default: now" }),
  since: optional("since", text, { reach: "flag", text: "the same as --from" }),
  follow: option("follow", flag, {
    reach: "flag",
    default: "false",
    text: "go on with events as they come, as `tail` does; begins at --since, now unless given",
  }),
  limit: optional("limit", integerBetween(1, LIMIT_MAX), {
    reach: "flag",
    text: `at most so many, the newest; default: ${TERMINAL_EVENTS} on a terminal, all when piped`,
  }),
  order: optional("order", choiceOf(["asc", "desc"]), {
    reach: "flag",
    text: "by time; with --limit, asc asks for the oldest; default: the newest, oldest first",
  }),
} as const;

export const searchCommand = defineCommand({
  name: "search",
  summary: "search events; every column is a flag",
  examples: [
    ["probity search --topic process/exec --user root", "what root ran in the last 24 hours"],
    ["probity search --path '/etc/*' --from today", "what happened to files below /etc today"],
    ["probity search --topic auth --since 1h --follow", "an hour back, and on as it happens"],
    [
      "probity search --dst-port '!443,80' --uid '>=1000' --json",
      "none of two ports, a comparison",
    ],
  ],
  options: { range: RANGE_OPTIONS, columns: COLUMN_OPTIONS },
  run: ({ global, settings, output, signal }) =>
    withClient(global, async (client) => {
      const { to, order, limit, follow } = settings.range;
      const from = beginOf(settings.range);
      if (follow) {
        const query = {
          ...conditionsOf(settings.columns),
          ...(from === undefined ? {} : { since: from }),
        };
        for await (const item of client.tail(query, { signal })) await printTailItem(item, output);
        return EXIT.ok;
      }
      const most = limit ?? (output.isForPeople ? TERMINAL_EVENTS : undefined);
      const isTurned = order === undefined && most !== undefined;
      const { events, isComplete, missing } = await client.stream({
        ...conditionsOf(settings.columns),
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        order: order ?? (isTurned ? "desc" : "asc"),
        // One more than is shown tells whether there are more.
        ...(most === undefined ? {} : { limit: most + 1 }),
      }, { signal });
      const isCut = isTurned
        ? await printTurned(events, { most, output })
        : await print(events, { most, output });
      if (isCut && limit === undefined) {
        output.notice(`only ${most} events are shown; --limit N shows more`);
      }
      if (isComplete) return EXIT.ok;
      output.notice(`incomplete: ${missing ?? "a part of this range cannot be searched yet"}`);
      return EXIT.incomplete;
    }),
});

/** Throws a usage error for what contradicts itself. */
function beginOf({ from, since, to, order, limit, follow }: Values<typeof RANGE_OPTIONS>) {
  if (from !== undefined && since !== undefined) {
    throw usageError("Cannot use --from and --since together: they mean the same");
  }
  if (follow && (to !== undefined || order !== undefined || limit !== undefined)) {
    throw usageError("Cannot use --follow with --to, --order or --limit: it has no end");
  }
  return from ?? since;
}

interface Printing {
  readonly most: number | undefined;
  readonly output: Output;
}

/** Prints events as they come; returns whether there were more than `most`. */
async function print(
  events: AsyncIterable<RecordedEvent>,
  { most = Infinity, output }: Printing,
): Promise<boolean> {
  let count = 0;
  for await (const event of events) {
    if (++count > most) return true;
    await printEvent(event, output);
  }
  return false;
}

/** Prints events that come newest first, oldest first. */
async function printTurned(
  events: AsyncIterable<RecordedEvent>,
  { most = Infinity, output }: Printing,
): Promise<boolean> {
  const newest = await Array.fromAsync(events);
  for (const event of newest.slice(0, most).reverse()) await printEvent(event, output);
  return newest.length > most;
}

function printEvent(event: RecordedEvent, output: Output): Promise<void> {
  return output.isForPeople ? output.write(formatEventLine(event, output)) : output.json(event);
}
