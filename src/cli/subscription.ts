/**
 * `subscription …`: durable places in the record, each with a filter; made, listed, read on, skipped forward, removed.
 *
 * Invariant: what a reader may have missed is said and ends in exit 5; an event that was printed is never given again.
 */
import { COLUMN_OPTIONS, conditionsOf } from "./column-options.ts";
import { type Command, defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT, type ExitCode, usageError } from "./exit.ts";
import { choiceOf, flag, integerBetween, text } from "./option-type.ts";
import { option, optional } from "./options.ts";
import { printSubscription, printTable } from "./subscription-text.ts";
import { printTailItem } from "./tail-item.ts";

const NAME = { name: "name", text: "the subscription's name", isRequired: true } as const;

const PUT_OPTIONS = {
  since: optional("since", text, {
    reach: "flag",
    text: "where a new one begins: a time, an age such as 15m, or an event id; default: now",
  }),
  whenBehind: optional("when_behind", choiceOf(["pause", "skip"]), {
    reach: "flag",
    text:
      "beyond --lag-max: the log no longer waits for it, or it goes on at the present; default: pause",
  }),
  lagMax: optional("lag_max", text, {
    reach: "flag",
    text: "how far behind it may be, such as 24h; default: 7d",
  }),
  expire: optional("expire", text, {
    reach: "flag",
    text: "removed when nobody has read it for so long; default: 90d",
  }),
} as const;

const READ_OPTIONS = {
  follow: option("follow", flag, {
    reach: "flag",
    default: "false",
    text: "go on live until interrupted",
  }),
  limit: optional("limit", integerBetween(1, Number.MAX_SAFE_INTEGER), {
    reach: "flag",
    text: "at most so many events; the next reading goes on after them",
  }),
  wait: optional("wait", text, {
    reach: "flag",
    text: "how long to wait for a first event, such as 30s; 60s at most",
  }),
  takeOver: option("take_over", flag, {
    reach: "flag",
    default: "false",
    text: "end another reader's turn instead of failing",
  }),
} as const;

const SKIP_OPTIONS = {
  to: optional("to", text, {
    reach: "flag",
    text: "a time, an age such as 15m, or after an event id; default: the present",
  }),
  events: optional("events", integerBetween(1, 1_000), {
    reach: "flag",
    text: "instead of --to: the next so many that match",
  }),
} as const;

const listCommand = defineCommand({
  name: "subscription list",
  summary: "list subscriptions with their places and how far they are behind",
  examples: [["probity subscription list", "all that you may see"]],
  options: {},
  run: ({ global, output, signal }) =>
    withClient(global, async (client) => {
      const all = await client.subscriptions.list({ signal });
      if (output.isForPeople) await printTable(all, output);
      else for (const each of all) await output.json(each);
      return EXIT.ok;
    }),
});

const showCommand = defineCommand({
  name: "subscription show",
  summary: "show one subscription",
  arguments: [NAME],
  examples: [["probity subscription show siem", "what it asks for, and where it is"]],
  options: {},
  run: ({ global, arguments: [name = ""], output, signal }) =>
    withClient(global, async (client) => {
      await printSubscription(await client.subscriptions.get(name, { signal }), output);
      return EXIT.ok;
    }),
});

const putCommand = defineCommand({
  name: "subscription put",
  summary: "make a subscription, or change one and keep its place; every column is a flag",
  arguments: [NAME],
  examples: [
    ["probity subscription put siem --topic auth --severity '!info'", "from now on"],
    ["probity subscription put daily --since today --expire 7d", "from midnight on"],
  ],
  options: { subscription: PUT_OPTIONS, columns: COLUMN_OPTIONS },
  run: ({ global, arguments: [name = ""], settings, output, signal }) =>
    withClient(global, async (client) => {
      const { since, whenBehind, lagMax, expire } = settings.subscription;
      const { subscription, isNew } = await client.subscriptions.put(name, {
        ...conditionsOf(settings.columns),
        ...(since === undefined ? {} : { since }),
        ...(whenBehind === undefined ? {} : { when_behind: whenBehind }),
        ...(lagMax === undefined ? {} : { lag_max: lagMax }),
        ...(expire === undefined ? {} : { expire }),
      }, { signal });
      await printSubscription(subscription, output);
      output.notice(isNew ? "made" : "changed; it goes on where it was");
      return EXIT.ok;
    }),
});

const readCommand = defineCommand({
  name: "subscription read",
  summary: "read a subscription on, up to now or live; each event is given at most once",
  arguments: [NAME],
  examples: [
    ["probity subscription read daily --json >> events.ndjson", "what came since the last time"],
    ["probity subscription read siem --follow --json | forward", "live, and on after an outage"],
  ],
  options: { reading: READ_OPTIONS },
  run: ({ global, arguments: [name = ""], settings, output, signal }) =>
    withClient(global, async ({ subscriptions }) => {
      const { follow, limit, wait, takeOver: takesOver } = settings.reading;
      if (follow) {
        if (limit !== undefined || wait !== undefined) {
          throw usageError("Cannot use --follow with --limit or --wait: it has no end");
        }
        for await (const item of subscriptions.follow(name, { signal, takesOver })) {
          await printTailItem(item, output);
        }
        return EXIT.ok;
      }
      const { items, isComplete, missing } = await subscriptions.read(name, {
        ...{ signal, takesOver },
        ...(limit === undefined ? {} : { limit }),
        ...(wait === undefined ? {} : { wait }),
      });
      let code: ExitCode = EXIT.ok;
      for await (const item of items) {
        if (item.kind === "gap") code = EXIT.incomplete;
        await printTailItem(item, output);
      }
      if (isComplete) return code;
      await printTailItem({ kind: "incomplete", missing }, output);
      return EXIT.incomplete;
    }),
});

const skipCommand = defineCommand({
  name: "subscription skip",
  summary: "put a subscription forward without reading",
  arguments: [NAME],
  examples: [
    ["probity subscription skip siem", "to the present"],
    ["probity subscription skip siem --events 1", "over the event that its reader cannot take"],
  ],
  options: { place: SKIP_OPTIONS },
  run: ({ global, arguments: [name = ""], settings, output, signal }) =>
    withClient(global, async (client) => {
      const { to, events } = settings.place;
      const { count, subscription } = await client.subscriptions.skip(name, {
        ...(to === undefined ? {} : { to }),
        ...(events === undefined ? {} : { events }),
      }, { signal });
      await printSubscription(subscription, output);
      output.notice(
        `${count ?? "an unknown number of"} ${count === 1 ? "event" : "events"} skipped`,
      );
      return EXIT.ok;
    }),
});

const removeCommand = defineCommand({
  name: "subscription remove",
  summary: "remove a subscription",
  arguments: [NAME],
  examples: [["probity subscription remove siem", "its place is forgotten"]],
  options: {},
  run: ({ global, arguments: [name = ""], output, signal }) =>
    withClient(global, async (client) => {
      await client.subscriptions.remove(name, { signal });
      output.notice("removed");
      return EXIT.ok;
    }),
});

export const SUBSCRIPTION_COMMANDS: readonly Command[] = [
  listCommand,
  showCommand,
  putCommand,
  readCommand,
  skipCommand,
  removeCommand,
];
