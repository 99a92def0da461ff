/** `context …`: servers by name, so that a command says which one in a word, or one is asked until another is chosen. */
import { resolve } from "node:path";
import { type Command, defineCommand } from "./command.ts";
import { EXIT, usageError } from "./exit.ts";
import {
  CONTEXT_NAME,
  contextNamed,
  contextsPath,
  readContexts,
  writeContexts,
} from "./server-contexts.ts";
import { printRows } from "./table-text.ts";

const NAME = { name: "name", text: "the context", isRequired: true } as const;

const listCommand = defineCommand({
  name: "context list",
  summary: "servers by name, and which one is asked",
  examples: [["probity context list", "names, addresses and the files of their tokens"]],
  options: {},
  run: async ({ environment, output }) => {
    const { current, byName } = readContexts(contextsPath(environment));
    const rows = [...byName].map(([name, { server, tokenFile }]) => ({
      ...{ name, server, token_file: tokenFile },
      current: name === current,
    }));
    const marked = output.isForPeople
      ? rows.map((row) => ({ ...row, current: row.current ? "*" : "" }))
      : rows;
    await printRows(marked, { columns: ["current", "name", "server", "token_file"], output });
    return EXIT.ok;
  },
});

const addCommand = defineCommand({
  name: "context add",
  summary: "name a server, with --server and --token-file",
  arguments: [NAME],
  examples: [[
    "probity context add prod --server https://audit.example.org --token-file ~/prod.token",
    "the file stays where it is, and is read when it is needed",
  ]],
  options: {},
  run: ({ arguments: [name = ""], global, environment, output }) => {
    // What variables say is of another server: a context of it would send the token of one to the other.
    const given = <T>(option: "server" | "tokenFile", value: T): T | undefined =>
      global.ofVariables.includes(option) ? undefined : value;
    const server = given("server", global.server);
    const tokenFile = given("tokenFile", global.tokenFile);
    if (!CONTEXT_NAME.test(name)) {
      throw usageError(
        `Cannot name a context "${name}": accepted: letters, digits, ".", "_" and "-", at most 63`,
      );
    }
    if (server === undefined) {
      throw usageError("Cannot make a context without --server: no address");
    }
    const path = contextsPath(environment);
    const { current, byName } = readContexts(path);
    if (byName.has(name)) {
      throw usageError(`Cannot make context "${name}": it is there; remove it first`);
    }
    const context = {
      server,
      tokenFile: tokenFile === undefined ? undefined : resolve(tokenFile),
    };
    writeContexts(path, { current, byName: new Map([...byName, [name, context]]) });
    output.notice(`made; ask it with --context ${name}, or always: probity context use ${name}`);
    return Promise.resolve(EXIT.ok);
  },
});

const useCommand = defineCommand({
  name: "context use",
  summary: "ask this server unless told otherwise; without a name, that of the data folder again",
  arguments: [{ ...NAME, isRequired: false }],
  examples: [
    ["probity context use prod", "from now on"],
    ["probity context use", "the service of the data folder again"],
  ],
  options: {},
  run: ({ arguments: [name], environment, output }) => {
    const path = contextsPath(environment);
    const contexts = readContexts(path);
    if (name !== undefined) contextNamed(contexts, name);
    writeContexts(path, { ...contexts, current: name });
    output.notice(name === undefined ? "commands ask the data folder's service" : `using ${name}`);
    return Promise.resolve(EXIT.ok);
  },
});

const removeCommand = defineCommand({
  name: "context remove",
  summary: "forget a server; the file of its token stays",
  arguments: [NAME],
  examples: [["probity context remove prod", "its name can be given again"]],
  options: {},
  run: ({ arguments: [name = ""], environment, output }) => {
    const path = contextsPath(environment);
    const contexts = readContexts(path);
    contextNamed(contexts, name);
    const byName = new Map([...contexts.byName].filter(([each]) => each !== name));
    const { current } = contexts;
    writeContexts(path, { current: current === name ? undefined : current, byName });
    output.notice("removed");
    return Promise.resolve(EXIT.ok);
  },
});

export const CONTEXT_COMMANDS: readonly Command[] = [
  listCommand,
  addCommand,
  useCommand,
  removeCommand,
];
