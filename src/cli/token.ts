/**
 * `token …`: access for people and programs; made, listed, revoked.
 *
 * Invariant: a token's text goes to standard output alone, once, so that it can be led into a file; all else that is
 * said goes to standard error.
 */
import type { TokenInfo } from "../client/tokens.ts";
import { TOKEN_ROLES } from "../storage/token.ts";
import { type Command, defineCommand } from "./command.ts";
import { withClient } from "./connect.ts";
import { EXIT, usageError } from "./exit.ts";
import { choiceOf, text } from "./option-type.ts";
import { optional, repeated } from "./options.ts";
import { type Output, printable } from "./output.ts";

const NAME = {
  name: "name",
  text: "the token's name, which is its holder's in the record",
  isRequired: true,
} as const;

const CREATE_OPTIONS = {
  role: optional("role", choiceOf(TOKEN_ROLES), {
    reach: "flag",
    text:
      "viewer reads events; analyst also by SQL; auditor also sees table, holds and figures; operator those, no events, and sets holds; admin all",
  }),
  hosts: repeated("host", text, {
    text: "only events of this host, or with * at the end all that begin so",
  }),
  topics: repeated("topic", text, { text: "only events of this topic and those below it" }),
  expire: optional("expire", text, {
    reach: "flag",
    text: "how long it is good for, such as 30d; default: 90d",
  }),
} as const;

const createCommand = defineCommand({
  name: "token create",
  summary: "make a token and print it, once; keep it in a file of mode 0600",
  arguments: [NAME],
  examples: [
    ["(umask 077; probity token create ann --role analyst > ann.token)", "into a file"],
    [
      "probity token create grafana --role viewer --host 'web-*' --topic network --expire 365d",
      "with as little as it needs",
    ],
  ],
  options: { token: CREATE_OPTIONS },
  run: ({ global, arguments: [name = ""], settings, output, signal }) => {
    const { role, hosts, topics, expire } = settings.token;
    if (role === undefined) {
      throw usageError(`Cannot make a token without --role: ${TOKEN_ROLES.join(", ")}`);
    }
    return withClient(global, async ({ tokens }) => {
      const { token, info } = await tokens.create(name, {
        ...{ role, host: hosts, topic: topics },
        ...(expire === undefined ? {} : { expire }),
      }, { signal });
      await output.write(`${printable(token)}\n`);
      output.notice(
        printable(
          `made ${info.name}, ${info.role}, until ${timeText(info.expires)}; ` +
            "it cannot be shown again",
        ),
      );
      return EXIT.ok;
    });
  },
});

const listCommand = defineCommand({
  name: "token list",
  summary: "list tokens, without what gives access",
  examples: [["probity token list", "who may ask, for what, and until when"]],
  options: {},
  run: ({ global, output, signal }) =>
    withClient(global, async ({ tokens }) => {
      const all = await tokens.list({ signal });
      if (output.isForPeople) await printTable(all, output);
      else for (const each of all) await output.json(each);
      return EXIT.ok;
    }),
});

const revokeCommand = defineCommand({
  name: "token revoke",
  summary: "revoke a token; what was begun with it ends",
  arguments: [NAME],
  examples: [["probity token revoke ann", "it stops working within five seconds"]],
  options: {},
  run: ({ global, arguments: [name = ""], output, signal }) =>
    withClient(global, async ({ tokens }) => {
      await tokens.revoke(name, { signal });
      output.notice("revoked");
      return EXIT.ok;
    }),
});

async function printTable(all: readonly TokenInfo[], output: Output): Promise<void> {
  await output.table(
    ["name", "role", "hosts", "topics", "created", "expires", "by"].map((name) => ({ name })),
    all.map(({ name, role, hosts, topics, created, expires, expired, by }) => [
      ...[printable(name), printable(role), scopeText(hosts), scopeText(topics)],
      timeText(created),
      expired ? output.paint("red", `${timeText(expires)} (over)`) : timeText(expires),
      printable(by),
    ]),
  );
  output.notice(`${all.length} ${all.length === 1 ? "token" : "tokens"}`);
}

function scopeText(scopes: readonly string[]): string {
  return scopes.length === 0 ? "all" : printable(scopes.join(" "));
}

function timeText(time: string): string {
  return printable(time.replace(/\.[0-9]+Z$/, "Z"));
}

export const TOKEN_COMMANDS: readonly Command[] = [createCommand, listCommand, revokeCommand];
