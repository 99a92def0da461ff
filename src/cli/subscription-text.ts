/** Subscriptions as they are printed: a table or their fields for people, JSON otherwise. */
import type { SubscriptionInfo } from "../client/subscriptions.ts";
import { type Output, printable } from "./output.ts";

/** One subscription: its fields on a terminal, JSON otherwise. */
export async function printSubscription(
  subscription: SubscriptionInfo,
  output: Output,
): Promise<void> {
  if (output.isForPeople) await printFields(subscription, output);
  else await output.json(subscription);
}

/** Several as a table for people. */
export async function printTable(all: readonly SubscriptionInfo[], output: Output): Promise<void> {
  const right = (name: string) => ({ name, align: "right" }) as const;
  await output.table(
    [
      ...[{ name: "name" }, { name: "state" }, right("behind"), right("lag"), {
        name: "last seen",
      }],
      ...[right("delivered"), right("skipped"), { name: "owner" }, { name: "conditions" }],
    ],
    all.map((each) => [
      ...[printable(each.name), stateText(each, output), String(each.lag.messages)],
      ...[lagText(each), timeText(each.last_seen), String(each.delivered), String(each.skipped)],
      ...[printable(each.owner), filtersText(each)],
    ]),
  );
  output.notice(`${all.length} ${all.length === 1 ? "subscription" : "subscriptions"}`);
}

async function printFields(subscription: SubscriptionInfo, output: Output): Promise<void> {
  const { name, owner, created, since, lag, delivered, skipped } = subscription;
  const rows: readonly (readonly [string, string])[] = [
    ["name", printable(name)],
    ["state", stateText(subscription, output)],
    ["conditions", filtersText(subscription)],
    ...(since === undefined ? [] : [["since", timeText(since)] as const]),
    ["behind", `${lag.messages} messages, ${lagText(subscription)}`],
    ["delivered", String(delivered)],
    ["skipped", String(skipped)],
    ["owner", printable(owner)],
    ["created", timeText(created)],
    ["last seen", timeText(subscription.last_seen)],
    ["expires", `${timeText(subscription.expires)} (${printable(subscription.expire)} unread)`],
    ["when behind", `${subscription.when_behind} after ${printable(subscription.lag_max)}`],
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  for (const [label, value] of rows) {
    await output.write(`${output.paint("dim", label.padEnd(width))}  ${value}\n`);
  }
}

function stateText({ state }: SubscriptionInfo, { paint }: Output): string {
  return state === "paused" ? paint("yellow", state) : printable(state);
}

function filtersText({ filters }: SubscriptionInfo): string {
  const conditions = Object.entries(filters).flatMap(([column, values]) =>
    values.map((value) => `${column}=${value}`)
  );
  return conditions.length === 0 ? "all events" : printable(conditions.join(" "));
}

function lagText({ lag: { seconds } }: SubscriptionInfo): string {
  const units = [["d", 86_400], ["h", 3_600], ["m", 60]] as const;
  const [name, unitSeconds] = units.find(([, each]) => seconds >= each) ?? ["s", 1];
  const amount = seconds / unitSeconds;
  return `${amount >= 10 || amount === 0 ? Math.round(amount) : amount.toFixed(1)} ${name}`;
}

function timeText(time: string): string {
  return printable(time.replace(/\.[0-9]+Z$/, "Z"));
}
