import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Command, defineCommand } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { completionScript } from "../../src/cli/completion.ts";
import { text } from "../../src/cli/option-type.ts";
import { flagOf, GLOBAL_OPTIONS, repeated, STORE_OPTIONS } from "../../src/cli/options.ts";
import { buildParser, type GivenLine } from "../../src/cli/program.ts";

const PLAIN = defineCommand({
  name: "sample show",
  summary: "show samples",
  arguments: [{ name: "words", text: "words", isRequired: false, isVariadic: true }],
  options: {
    store: STORE_OPTIONS,
    own: { topics: repeated("topic", text, { text: "topic of events" }) },
  },
  run: () => Promise.resolve(0),
});

/** Parses a line and returns what reached the command, and what was printed. */
async function parse(line: string, commands: readonly Command[] = [PLAIN]) {
  const printed: string[] = [];
  let given: GivenLine | undefined;
  let code: number | undefined;
  const parser = buildParser({
    commands,
    run: (_, at) => {
      given = at;
      return Promise.resolve(0);
    },
    onExitCode: (exitCode) => code = exitCode,
    stdout: (part) => printed.push(part),
    stderr: (part) => printed.push(part),
  });
  const failure: unknown = await parser.parseAsync(line.split(" "), { from: "user" })
    .then(() => undefined, (error: unknown) => error);
  return { given, code, failure, printed: printed.join("") };
}

describe("the command line", () => {
  it("gives flags by key, before and after the command", async () => {
    const line = "--data /x sample show --store-url s3://a/b a --json b --topic c --topic d";
    const { given, code } = await parse(line);
    expect(code).toBe(0);
    expect(Object.fromEntries(given?.flags ?? [])).toEqual({
      data: "/x",
      json: "true",
      "store.url": "s3://a/b",
      topic: ["c", "d"],
    });
    expect(given?.arguments).toEqual(["a", "b"]);
  });

  it("gives nothing that was not on the line", async () => {
    const { given } = await parse("sample show");
    expect(given?.flags.size).toBe(0);
  });

  it.each([
    ["nope", "unknown command 'nope'"],
    ["sample shwo", "Did you mean show?"],
    ["sample show --stor-url x", "Did you mean --store-url?"],
    ["sample show --data", "argument missing"],
  ])("refuses %j", async (line, message) => {
    const { failure, printed } = await parse(line);
    expect(failure).toMatchObject({ exitCode: 1 });
    expect(printed).toContain(message);
  });

  it("shows every option of a command in its help", async () => {
    const { printed } = await parse("sample show --help");
    const names = ["--data", "--store-path-style", "--topic", "Options of [store]:", "[words...]"];
    for (const name of names) expect(printed).toContain(name);
  });

  it.each(COMMANDS.map((command) => [command.name, command]))(
    "has help for %s",
    async (name, command) => {
      const { failure, printed } = await parse(`${name} --help`, COMMANDS);
      expect(failure).toMatchObject({ exitCode: 0 });
      expect(printed.toLowerCase()).toContain(command.summary.toLowerCase().slice(0, 40));
      expect(command.summary).not.toMatch(/\.$/);
    },
  );
});

describe("completion", () => {
  it.each(["bash", "zsh", "fish"])("of %s names all commands, options and choices", (shell) => {
    const script = completionScript(shell, COMMANDS);
    for (const { name } of COMMANDS) expect(script).toContain(name.split(" ").at(-1));
    for (const { key } of Object.values(GLOBAL_OPTIONS)) {
      expect(script).toContain(key.replaceAll("_", "-"));
    }
    expect(script.replaceAll("'", "")).toContain("auto always never");
  });
});

const SCRIPTS: Readonly<Record<string, string>> = Object.fromEntries(
  ["bash", "zsh", "fish"].map((shell) => [shell, completionScript(shell, COMMANDS)]),
);

/** What a shell offers behind each command, read from its script. */
const OFFERED: Readonly<Record<string, (script: string, words: string) => readonly string[]>> = {
  bash(script, words) {
    const line = new RegExp(`^    '${words}'\\) offered='(.*)' ;;$`, "m").exec(script)?.[1] ?? "";
    return line.split(" ").filter((each) => each !== "--help");
  },
  zsh(script, words) {
    const line = new RegExp(`^    '${words}'\\) offered=\\((.*)\\) ;;$`, "m").exec(script)?.[1] ??
      "";
    return [...line.matchAll(/'((?:[^']|'\\'')*)'(?: |$)/g)]
      .map(([, each = ""]) => each.split(/(?<!\\):/)[0] ?? "");
  },
  fish(script, words) {
    const when = words.split(" ").map((each) => `__fish_seen_subcommand_from ${each}`);
    const begins = [
      "complete -c probity -l ",
      `complete -c probity -n '${when.join("; and ")}' -l `,
    ];
    return script.split("\n").filter((line) => begins.some((begin) => line.startsWith(begin)))
      .flatMap((line) =>
        [...line.split(" -d ")[0]?.matchAll(/ -l (\S+)/g) ?? []].map(([, each]) => `--${each}`)
      );
  },
};

describe("options", () => {
  it.each(COMMANDS.map((command) => [command.name, command]))(
    "of %s are one each, and all shells offer them once",
    (name, { options }) => {
      const flags = [GLOBAL_OPTIONS, ...Object.values(options)]
        .flatMap((group) => Object.values(group).map(flagOf));
      expect(flags.filter((flag, at) => flags.indexOf(flag) !== at)).toEqual([]);
      for (const [shell, read] of Object.entries(OFFERED)) {
        const offered = read(SCRIPTS[shell] ?? "", name).filter((each) => each.startsWith("--"));
        expect(offered.filter((each, at) => offered.indexOf(each) !== at)).toEqual([]);
        expect(offered, shell).toEqual(expect.arrayContaining(flags));
      }
    },
  );
});

describe("completion in bash", () => {
  it("takes a path with a space for one, as the file that it is", () => {
    const folder = mkdtempSync(join(tmpdir(), "probity-completion-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    mkdirSync(join(folder, "a b"));
    const asked = `${completionScript("bash", COMMANDS)}
compopt() { echo "compopt $*"; }
COMP_WORDS=(probity --data '${folder}/a'); COMP_CWORD=2; _probity; printf '%s\n' "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync("bash", ["--norc"], { input: asked, encoding: "utf8" });
    expect(stdout).toBe(`compopt -o filenames\n${folder}/a b\n`);
  });

  it.each([
    ["probity report ", ["packages", "gaps", "--format"]],
    ["probity report gaps --format ", ["csv", "html", "markdown"]],
    ["probity tail --format ", ["bpfink", "ndjson"]],
    ["probity context ", ["add", "list", "remove", "use"]],
    ["probity --color ", ["always", "auto", "never"]],
    ["probity search --fo", ["--follow"]],
    ["probity search --severity ", ["info", "critical"]],
    ["probity tail --outcome ", ["failure", "success"]],
    ["probity search --topic ", ["process", "process/exec", "account/user", "crypto"]],
    ["probity search --severity = ", ["info", "critical"]],
    ["probity search --topic = acc", ["account", "account/key/add"]],
    ["probity import pack", ["package.json"]],
    ["probity config check pack", ["package.json"]],
    ["probity --config pack", ["package.json"]],
    ["probity --config = pack", ["package.json"]],
    ["probity import --f", ["--format"]],
  ])("offers what may follow %j", (line, wanted) => {
    const words = line.split(" ");
    const quoted = words.map((word) => `'${word}'`).join(" ");
    const asked = `${completionScript("bash", COMMANDS)}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _probity; printf '%s\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["--norc"], { input: asked, encoding: "utf8" });
    expect(stderr).toBe("");
    const offered = stdout.trimEnd().split("\n");
    expect(offered).toEqual(expect.arrayContaining(wanted));
    const isValue = /--(format|color|severity|outcome|topic) |pack/.test(line);
    expect(offered.some((each) => each.startsWith("--"))).toBe(!isValue);
    if (line.includes("tail")) expect(offered).not.toContain("html");
  });
});
