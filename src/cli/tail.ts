/** `tail`: follows the record until it is interrupted, and goes on by itself after an outage. */
import { COLUMN_OPTIONS, conditionsOf } from "./column-options.ts";
import { defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { text } from "./option-type.ts";
import { optional } from "./options.ts";
import { printTailItem } from "./tail-item.ts";

const SINCE_OPTIONS = {
  since: optional("since", text, {
    reach: "flag",
    text: "begin in the past: a time, an age such as 15m, or an event id; default: now",
  }),
} as const;

export const tailCommand = defineCommand({
  name: "tail",
  summary: "follow events live; every column is a flag",
  examples: [
    ["probity tail --topic process/exec", "every program that is started, as it starts"],
    ["probity tail --since 10m --severity high,critical", "what is grave, from ten minutes ago on"],
    ["probity tail --json | jq -r .exe", "NDJSON for other programs"],
  ],
  options: { range: SINCE_OPTIONS, columns: COLUMN_OPTIONS },
  run: ({ global, settings, output, signal }) =>
    withClient(global, async (client) => {
      const { since } = settings.range;
      const query = {
        ...conditionsOf(settings.columns),
        ...(since === undefined ? {} : { since }),
      };
      for await (const item of client.tail(query, { signal })) await printTailItem(item, output);
      return EXIT.ok;
    }),
});
