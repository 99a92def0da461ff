import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands.ts";
import { ProblemError } from "../../src/client/problem.ts";
import { accessOf, commandErrorOf } from "../../src/cli/connect.ts";
import { contextsPath, readContexts, writeContexts } from "../../src/cli/server-contexts.ts";
import { CommandError } from "../../src/cli/exit.ts";
import { buildParser } from "../../src/cli/program.ts";
import { runCli } from "./run-cli.ts";

let folder: string;
let path: string;
const PROD = "https://audit.example.org";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "probity-contexts-"));
  path = contextsPath({ XDG_CONFIG_HOME: folder });
  await writeFile(join(folder, "prod.token"), "secret-of-prod\n");
  await writeFile(join(folder, "admin.token"), "secret-of-the-folder\n");
  await writeFile(join(folder, "server.url"), "http://127.0.0.1:7444\n");
});
beforeEach(() => rm(join(folder, "probity"), { recursive: true, force: true }));
afterAll(() => rm(folder, { recursive: true }));

const contexts = () => readContexts(path);
function fill(current: string | undefined): void {
  writeContexts(path, {
    current,
    byName: new Map([
      ["prod", { server: PROD, tokenFile: join(folder, "prod.token") }],
      ["tunnel", { server: "http://127.0.0.1:9999", tokenFile: undefined }],
    ]),
  });
}
/** Exit code of a line that is run here, in this process. */
const run = (...words: readonly string[]): Promise<number> => runWith({}, ...words);
async function runWith(
  variables: Readonly<Record<string, string>>,
  ...words: readonly string[]
): Promise<number> {
  let code = -1;
  const parser = buildParser({
    commands: COMMANDS,
    run: (command, line) =>
      command.execute({
        ...{ ...line, environment: { XDG_CONFIG_HOME: folder, ...variables } },
        signal: new AbortController().signal,
      }),
    onExitCode: (each) => code = each,
  });
  try {
    await parser.parseAsync([...words, "--quiet"], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return error.exitCode;
  }
  return code;
}
const given = () => ({ data: folder, server: undefined, tokenFile: undefined });

describe("which server is asked", () => {
  it("is the context in use, unless the data folder or a server is named", () => {
    fill("prod");
    const prod = { url: PROD, token: "secret-of-prod" };
    const own = { url: "http://127.0.0.1:7444", token: "secret-of-the-folder" };
    expect(accessOf(given(), contexts)).toEqual(prod);
    expect(accessOf({ ...given(), isDataGiven: true }, contexts)).toEqual(own);
    expect(accessOf({ ...given(), isDataGiven: true, context: "prod" }, contexts)).toEqual(prod);
    const other = { ...given(), server: "https://other.example.org" };
    expect(accessOf(other, contexts)).toEqual({ url: other.server, token: undefined });
    fill(undefined);
    expect(accessOf(given(), contexts)).toEqual(own);
  });

  it("never gets the folder's token as a context, even on this machine", () => {
    fill("tunnel");
    expect(accessOf(given(), contexts)).toEqual({ url: "http://127.0.0.1:9999", token: undefined });
  });

  it("must be known, and named once", () => {
    fill(undefined);
    expect(() => accessOf({ ...given(), context: "test" }, contexts))
      .toThrow(/none of this name; accepted: prod, tunnel/);
    const both = { ...given(), context: "prod", server: PROD };
    expect(() => accessOf(both, contexts)).toThrow(/both name a server/);
    const variables = { ...both, ofVariables: ["context", "server"] } as const;
    expect(() => accessOf(variables, contexts)).toThrow(/both name a server/);
  });

  it("is named by the command line before variables", () => {
    fill(undefined);
    const both = { ...given(), context: "prod", server: "https://other.example.org" };
    expect(accessOf({ ...both, ofVariables: ["server"] }, contexts).url).toBe(PROD);
    expect(accessOf({ ...both, ofVariables: ["context"] }, contexts).url).toBe(both.server);
  });

  it("never gets the token of a variable as a context, for that is another's", async () => {
    const tokenFile = join(folder, "other.token");
    await writeFile(tokenFile, "secret-of-another\n");
    const url = "http://127.0.0.1:9999";
    fill("tunnel");
    const variable = { ...given(), tokenFile, ofVariables: ["tokenFile"] } as const;
    expect(accessOf(variable, contexts)).toMatchObject({ url, token: undefined });
    expect(accessOf({ ...variable, context: "prod" }, contexts).token).toBe("secret-of-prod");
    expect(accessOf({ ...variable, ofVariables: [] }, contexts).token).toBe("secret-of-another");
    const made = { PROBITY_TOKEN_FILE: tokenFile, PROBITY_SERVER: PROD };
    expect(await runWith(made, "context", "add", "new", "--server", url)).toBe(0);
    expect(contexts().byName.get("new")).toEqual({ server: url, tokenFile: undefined });
    expect(await runWith(made, "context", "add", "none")).toBe(2);
  });
});

describe("the token of a variable", () => {
  const other = "https://other.example.org";
  const here = "http://127.0.0.1:9999";
  const sent = "secret-of-another";
  const own = "secret-of-the-folder";
  let tokenFile: string;

  beforeAll(async () => {
    tokenFile = join(folder, "variable.token");
    await writeFile(tokenFile, `${sent}\n`);
  });

  it.each<[string, Parameters<typeof accessOf>[0], string | undefined]>([
    ["goes to the server of a variable", {
      ...{ ...given(), server: other, ofVariables: ["tokenFile", "server"] },
    }, sent],
    ["does not go to a server of the command line", {
      ...{ ...given(), server: other, ofVariables: ["tokenFile"] },
    }, undefined],
    ["nor to one there that may be a tunnel", {
      ...{ ...given(), server: here, ofVariables: ["tokenFile"] },
    }, own],
    ["goes to the data folder's server", { ...given(), ofVariables: ["tokenFile"] }, sent],
    ["of the command line goes to a server of it", { ...given(), server: other }, sent],
    ["of the command line goes to a server of a variable", {
      ...{ ...given(), server: other, ofVariables: ["server"] },
    }, sent],
  ])("%s", (_what, options, token) => {
    fill(undefined);
    const access = accessOf({ ...options, data: folder, tokenFile }, contexts);
    expect(access.token).toBe(token);
    expect(access.withheld === undefined).toBe(token === sent);
  });

  it("does not go where a data folder says that its server is elsewhere", async () => {
    fill(undefined);
    const data = await mkdtemp(join(tmpdir(), "probity-elsewhere-"));
    await writeFile(join(data, "server.url"), `${other}\n`);
    const options = { ...given(), data, tokenFile, ofVariables: ["tokenFile"] } as const;
    expect(accessOf(options, contexts)).toMatchObject({ url: other, token: undefined });
    await rm(data, { recursive: true });
  });

  it("is told of when it was not sent and one is needed", () => {
    const refusal = new ProblemError({
      ...{ status: 401, title: "Unauthorized", detail: "A token is required", type: undefined },
      ...{ parameter: undefined, accepted: undefined },
    });
    expect(String(commandErrorOf(refusal, "why"))).toMatch(/required \(why; give a token/);
    expect(String(commandErrorOf(refusal))).toMatch(/required \(give a token/);
    const accepted = "a token of the role admin";
    const forbidden = new ProblemError({
      ...{ status: 403, title: "Forbidden", detail: "no", type: undefined },
      ...{ parameter: "Authorization", accepted },
    });
    expect(String(commandErrorOf(forbidden))).toMatch(
      /no \(it needs a token of the role admin; give/,
    );
  });
});

describe("the file of contexts", () => {
  it("is the user's alone, and holds no token", async () => {
    fill("prod");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readFile(path, "utf8")).not.toContain("secret");
    expect(contexts()).toMatchObject({ current: "prod" });
    expect(contexts().byName.get("tunnel")).toEqual({
      ...{ server: "http://127.0.0.1:9999", tokenFile: undefined },
    });
  });

  it("is refused when others can write to it", async () => {
    fill("prod");
    await chmod(path, 0o622);
    expect(contexts).toThrow(/choose to whom a token goes/);
  });

  it.each([
    "",
    "[]",
    `{"contexts": []}x`,
    `{"contexts": {"a b": {"server": "https://a"}}}`,
    `{"contexts": {"a": {"server": "file:///etc"}}}`,
    `{"contexts": {"a": {"server": 7}}}`,
    `{"contexts": {"a": {"server": "https://a", "token_file": 7}}}`,
    `{"contexts": {}, "current": "a"}`,
  ])("is refused with the form that would do: %s", async (text) => {
    fill(undefined);
    await writeFile(path, text);
    expect(contexts).toThrow(/accepted: \{"current"/);
  });
});

it("commands make, list, choose and remove contexts", async () => {
  expect(await run("context", "add", "prod", "--server", PROD)).toBe(0);
  expect(await run("context", "add", "prod", "--server", PROD)).toBe(2);
  expect(await run("context", "add", "a b", "--server", PROD)).toBe(2);
  expect(await run("context", "add", "other")).toBe(2);
  expect(await run("context", "use", "prod")).toBe(0);
  expect(contexts().current).toBe("prod");
  expect(await run("context", "use", "nowhere")).toBe(2);
  expect(await run("context", "use")).toBe(0);
  expect(contexts().current).toBeUndefined();
  await run("context", "use", "prod");
  const { stdout } = await runCli(["context", "list"], {
    environment: { XDG_CONFIG_HOME: folder },
  });
  expect(JSON.parse(stdout)).toEqual({ name: "prod", server: PROD, current: true });
  expect(await run("context", "remove", "prod")).toBe(0);
  expect(contexts()).toEqual({ current: undefined, byName: new Map() });
});
