/** `[[collectors]]` of the configuration file: the schema. */
import "./schema-settings.ts";
import { type } from "arktype";
import { isTopic, isTopicUnder } from "../event/topic.ts";
import {
  COLLECTOR_NAME,
  COMMANDS_MAX,
  MEMORY_BYTES_MIN,
  OUTPUT_BYTES_MAX,
  TIMEOUT_MS_MAX,
} from "../edge-agent/sources/collectors/commands/command-rule.ts";
import { scheduleFault } from "../edge-agent/sources/collectors/schedule.ts";
import { duration, type OptionType, size } from "./option-type.ts";

/** Topics in which nobody but Probity itself speaks. */
const OWN_TOPICS = ["agent", "audit"];
const NAME_FORM = 'a name of at most 64 of a-z, 0-9, "_", "." and "-", such as "backup"';
const SCHEDULE_FORM = 'a schedule of five cron fields such as "*/5 * * * *"';
const TOPIC_FORM = 'a topic such as "app/backup", not below agent or audit';
const ZONE_FORM = 'a time zone such as "Europe/Berlin"';
const ENVIRONMENT_FORM = 'a table of texts by names of variables, such as {LANG = "C"}';
export const COLLECTORS_FORM = `at most ${COMMANDS_MAX} tables of name, command, schedule, ` +
  "timezone, timeout, topic, user, memory, output, environment; each name once";

const text = type("string > 0").describe("text that is not empty");
const command = text.array().atLeastLength(1).describe(
  'a list of at least one text, such as ["a"]',
);
const environment = type({ "[string]": "string" })
  .narrow((value, context) =>
    Object.keys(value).every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) ||
    context.reject({ expected: ENVIRONMENT_FORM })
  )
  .describe(ENVIRONMENT_FORM);

/** A text that stands for a number between two. */
function quantity(of: OptionType<number>, least: number, most: number, form: string) {
  return type("string").narrow((value, context) => {
    const number = of.parse(value);
    const isWithin = number !== undefined && number >= least && number <= most;
    return isWithin || context.reject({ expected: form });
  }).describe(form);
}

const collector = type({
  "+": "reject",
  name: type(COLLECTOR_NAME).describe(NAME_FORM),
  command,
  schedule: type("string")
    .narrow((value, context) =>
      scheduleFault(value) === undefined || context.reject({ expected: SCHEDULE_FORM })
    )
    .describe(SCHEDULE_FORM),
  "timezone?": type("string")
    .narrow((value, context) =>
      scheduleFault("0 0 * * *", value) === undefined || context.reject({ expected: ZONE_FORM })
    )
    .describe(ZONE_FORM),
  "timeout?": quantity(duration, 1, TIMEOUT_MS_MAX, 'a duration up to 24h such as "30s"'),
  "topic?": type("string")
    .narrow((value, context) =>
      isTopic(value) && !OWN_TOPICS.some((own) => isTopicUnder(value, own)) ||
      context.reject({ expected: TOPIC_FORM })
    )
    .describe(TOPIC_FORM),
  "user?": text,
  "memory?": quantity(size, MEMORY_BYTES_MIN, Infinity, 'a size from "4MiB" such as "256MiB"'),
  "output?": quantity(size, 1, OUTPUT_BYTES_MAX, 'a size up to "1GiB" such as "1MiB"'),
  "environment?": environment,
});

/** A command that runs by a schedule; its output becomes events. */
export type Collector = typeof collector.infer;

export const collectors = collector.array().atMostLength(COMMANDS_MAX)
  .narrow((all, context) =>
    new Set(all.map(({ name }) => name)).size === all.length ||
    context.reject({ expected: COLLECTORS_FORM })
  )
  .describe(COLLECTORS_FORM);
