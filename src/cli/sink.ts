/** `sink …`: where the query service sends events on; how far each is, what it refused, and a way past that. */
import type { SinkInfo } from "../client/sinks.ts";
import { type Command, defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { flag, text } from "./option-type.ts";
import { option, optional } from "./options.ts";
import { type Output, printable } from "./output.ts";

const NAME = { name: "name", text: "the sink's name", isRequired: true } as const;

const SKIP_OPTIONS = {
  to: optional("to", text, {
    reach: "flag",
    text: "a time, an age such as 15m, or after an event id; default: the present",
  }),
} as const;

const DEAD_OPTIONS = {
  clear: option("clear", flag, {
    reach: "flag",
    default: "false",
    text: "forget them once they are printed; the events stay in the record",
  }),
} as const;

const listCommand = defineCommand({
  name: "sink list",
  summary: "list sinks, and how far they are behind",
  examples: [["probity sink list", "all that the service is configured with"]],
  options: {},
  run: ({ global, output, signal }) =>
    withClient(global, async (client) => {
      const all = await client.sinks.list({ signal });
      if (output.isForPeople) await printTable(all, output);
      else for (const each of all) await output.json(each);
      return EXIT.ok;
    }),
});

const statusCommand = defineCommand({
  name: "sink status",
  summary: "show one sink, and why it does not get on",
  arguments: [NAME],
  examples: [["probity sink status siem", "its place, its lag and its last failure"]],
  options: {},
  run: ({ global, arguments: [name = ""], output, signal }) =>
    withClient(global, async (client) => {
      await printSink(await client.sinks.get(name, { signal }), output);
      return EXIT.ok;
    }),
});

const skipCommand = defineCommand({
  name: "sink skip",
  summary: "put a sink forward without delivering what lies between",
  arguments: [NAME],
  examples: [["probity sink skip siem --to 1h", "over all that is older than an hour"]],
  options: { place: SKIP_OPTIONS },
  run: ({ global, arguments: [name = ""], settings, output, signal }) =>
    withClient(global, async (client) => {
      const { to } = settings.place;
      const target = to === undefined ? {} : { to };
      const { skipped, sink } = await client.sinks.skip(name, target, { signal });
      await printSink(sink, output);
      const count = skipped ?? "an unknown number of";
      output.notice(`${count} ${skipped === 1 ? "event" : "events"} skipped`);
      return EXIT.ok;
    }),
});

const deadLettersCommand = defineCommand({
  name: "sink dead-letters",
  summary: "list the events that a sink refused for good, by id",
  arguments: [NAME],
  examples: [
    ["probity sink dead-letters siem", "with the reasons"],
    ["probity sink dead-letters siem --json --clear > refused.ndjson", "and forget them"],
  ],
  options: { dead: DEAD_OPTIONS },
  run: ({ global, arguments: [name = ""], settings, output, signal }) =>
    withClient(global, async (client) => {
      const letters = await client.sinks.deadLetters(name, { signal });
      if (output.isForPeople) {
        const rows = letters.map(({ id, time, reason }) => [
          ...[printable(id), printable(time), printable(reason)],
        ]);
        await output.table([{ name: "id" }, { name: "time" }, { name: "reason" }], rows);
      } else for (const letter of letters) await output.json(letter);
      if (settings.dead.clear) await client.sinks.clearDeadLetters(name, { signal });
      return EXIT.ok;
    }),
});

async function printTable(all: readonly SinkInfo[], output: Output): Promise<void> {
  const right = (name: string) => ({ name, align: "right" }) as const;
  await output.table(
    [
      ...[{ name: "name" }, { name: "type" }, { name: "state" }, right("behind")],
      ...[right("delivered"), right("retries"), right("dead"), right("gaps")],
      { name: "topics" },
    ],
    all.map((each) => [
      ...[printable(each.name), printable(each.type), printable(each.state)],
      ...[String(each.lag.messages), String(each.delivered), String(each.retries)],
      ...[String(each.dead), String(each.gaps.length), printable(each.topics.join(", ") || "all")],
    ]),
  );
  output.notice(`${all.length} ${all.length === 1 ? "sink" : "sinks"}`);
}

async function printSink(sink: SinkInfo, output: Output): Promise<void> {
  if (!output.isForPeople) return await output.json(sink);
  const { lag, reason, last_id: lastId } = sink;
  const rows: readonly (readonly [string, string])[] = [
    ["name", sink.name],
    ["type", sink.type],
    ["topics", sink.topics.join(", ") || "all"],
    ["state", sink.state],
    ...(reason === undefined ? [] : [["reason", reason] as const]),
    ["behind", `${lag.messages} messages, ${Math.round(lag.seconds)} s`],
    ["last event", lastId ?? "none"],
    ["delivered", String(sink.delivered)],
    ["retries", String(sink.retries)],
    ["dead", String(sink.dead)],
    ...sink.gaps.map((gap) => ["gap", gapText(gap)] as const),
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  for (const [label, value] of rows) {
    await output.write(`${output.paint("dim", label.padEnd(width))}  ${printable(value)}\n`);
  }
}

function gapText({ from, before, reason, told, time }: SinkInfo["gaps"][number]): string {
  const until = before === null ? "" : ` to what was logged before ${before}`;
  const whether = told ? "its other side was told" : "its other side was not told yet";
  return `${time}: from ${from}${until}: ${reason}; ${whether}`;
}

export const SINK_COMMANDS: readonly Command[] = [
  listCommand,
  statusCommand,
  skipCommand,
  deadLettersCommand,
];
