/**
 * `export`: all events of a range of time as lines for other programs, the oldest first.
 *
 * Invariant: an answer that the service calls incomplete ends in exit 5, whatever was printed.
 */
import { COLUMN_OPTIONS, conditionsOf } from "./column-options.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { createFormat, formatConditions, FORMATS } from "./event-format.ts";
import { choiceOf, text } from "./option-type.ts";
import { option, optional } from "./options.ts";

const EXPORT_OPTIONS = {
  from: optional("from", text, {
    reach: "flag",
    text: "begin, inclusive: RFC 3339, 15m, now-2h, today, yesterday; default: 24 h before --to",
  }),
  to: optional("to", text, { reach: "flag", text: "end, exclusive; default: now" }),
  format: option("format", choiceOf(FORMATS), {
    reach: "flag",
    default: "ndjson",
    text: "ndjson, or bpfink: changes of watched files as the lines that bpfink writes",
  }),
} as const;

export const exportCommand = defineCommand({
  name: "export",
  summary: "all events of a range as lines for other programs; every column is a flag",
  examples: [
    ["probity export --from yesterday --to today > day.ndjson", "a day's events"],
    [
      "probity export --format bpfink --from 30d",
      "changes of files, for what reads bpfink's lines",
    ],
  ],
  options: { range: EXPORT_OPTIONS, columns: COLUMN_OPTIONS },
  run: ({ global, settings, output, signal }) =>
    withClient(global, async (client) => {
      const { from, to, format } = settings.range;
      const { events, isComplete, missing } = await client.stream({
        ...formatConditions(conditionsOf(settings.columns), format),
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        order: "asc",
      }, { signal });
      const lineOf = await createFormat(format);
      for await (const event of events) {
        const line = lineOf(event);
        if (line !== undefined) await output.json(line);
      }
      if (isComplete) return EXIT.ok;
      output.notice(`incomplete: ${missing ?? "a part of this range cannot be searched yet"}`);
      return EXIT.incomplete;
    }),
});
