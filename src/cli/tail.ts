/** `tail`: follows the record until it is interrupted, and goes on by itself after an outage. */
import { COLUMN_OPTIONS, conditionsOf } from "./column-options.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { createFormat, formatConditions, FORMATS } from "./event-format.ts";
import { choiceOf, text } from "./option-type.ts";
import { optional } from "./options.ts";
import { printTailItem } from "./tail-item.ts";

const SINCE_OPTIONS = {
  since: optional("since", text, {
    reach: "flag",
    text: "begin in the past: a time, an age such as 15m, or an event id; default: now",
  }),
  format: optional("format", choiceOf(FORMATS), {
    reach: "flag",
    text: "ndjson, or bpfink: changes of watched files as the lines that bpfink writes",
  }),
} as const;

export const tailCommand = defineCommand({
  name: "tail",
  summary: "follow events live; every column is a flag",
  examples: [
    ["probity tail --topic process/exec", "every program that is started, as it starts"],
    ["probity tail --since 10m --severity high,critical", "what is grave, from ten minutes ago on"],
    ["probity tail --format bpfink", "changes of files, for what reads bpfink's lines"],
    ["probity tail --json | jq -r .exe", "NDJSON for other programs"],
  ],
  options: { range: SINCE_OPTIONS, columns: COLUMN_OPTIONS },
  run: ({ global, settings, output, signal }) =>
    withClient(global, async (client) => {
      const { since, format } = settings.range;
      const query = {
        ...formatConditions(conditionsOf(settings.columns), format ?? "ndjson"),
        ...(since === undefined ? {} : { since }),
      };
      const lineOf = format === undefined ? undefined : await createFormat(format);
      for await (const item of client.tail(query, { signal })) {
        if (lineOf === undefined || item.kind !== "event") await printTailItem(item, output);
        else {
          const line = lineOf(item.event);
          if (line !== undefined) await output.json(line);
        }
      }
      return EXIT.ok;
    }),
});
