/**
 * Builds the command tree for commander from the declarations. Commander splits the command line and writes help; all
 * values stay text here and are resolved by `settings.ts`.
 */
import { readFileSync } from "node:fs";
import { Argument as ParserArgument, Command as Parser, Option as ParserOption } from "commander";
import type { Command, CommandArgument } from "./command.ts";
import { groupSummaryOf } from "./command-groups.ts";
import type { ExitCode } from "./exit.ts";
import { flagOf, GLOBAL_OPTIONS, type Option, type OptionGroup } from "./options.ts";
import type { GivenFlags } from "./settings.ts";

export interface Program {
  readonly commands: readonly Command[];
  /** Called with the command that the line names. */
  readonly run: (command: Command, given: GivenLine) => Promise<ExitCode>;
  readonly onExitCode: (code: ExitCode) => void;
  readonly stdout?: (text: string) => void;
  readonly stderr?: (text: string) => void;
}

export interface GivenLine {
  readonly flags: GivenFlags;
  readonly arguments: readonly string[];
}

const EPILOGUE = `
Every option --a-b-c is also the variable PROBITY_A_B_C and, where the command reads a configuration file, the key
[a] b_c. The order is flag, variable, file, default.
Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 cannot reach or not allowed, 4 evidence broken, 5 incomplete,
130 interrupted.`;

/** The version in package.json. */
export function versionOfPackage(): string {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  const isManifest = typeof manifest === "object" && manifest !== null && "version" in manifest;
  return isManifest ? String(manifest.version) : "unknown";
}

/** A parser for the whole command line; it throws commander's errors instead of ending the process. */
export function buildParser(program: Program): Parser {
  const root = new Parser("probity")
    .description("Records what happens on Linux hosts and proves that the record is complete")
    .version(versionOfPackage(), "-V, --version")
    .helpCommand("help [command]", "show help of a command")
    .addHelpText("after", EPILOGUE);
  const seen = new Map<string, Parser>();
  configure(root, program);
  addOptions(root, { group: GLOBAL_OPTIONS, heading: "Global options:" });
  for (const command of program.commands) addCommand(command, { root, seen, program });
  return root;
}

interface Tree {
  readonly root: Parser;
  /** Groups such as `config`, and commands that may be groups too, by name. */
  readonly seen: Map<string, Parser>;
  readonly program: Program;
}

function addCommand(command: Command, { root, seen, program }: Tree): void {
  const words = command.name.split(" ");
  const name = words.pop() ?? command.name;
  const parent = words.reduce((above, word) => {
    const known = seen.get(word) ??
      describeGroup(configure(above.command(word), program), word);
    seen.set(word, known);
    // A group that is a command too: what follows the inner command's name is not its own.
    return known.enablePositionalOptions();
  }, root);
  const parser = configure(parent.command(name), program).summary(command.summary)
    .description(`${command.summary[0]?.toUpperCase()}${command.summary.slice(1)}.`);
  if (parent === root) seen.set(name, parser);
  for (const argument of command.arguments) {
    const added = new ParserArgument(argumentText(argument), argument.text);
    parser.addArgument(argument.choices === undefined ? added : added.choices(argument.choices));
  }
  for (const [section, group] of Object.entries(command.options)) {
    const inFile = Object.values(group).some(({ reach }) => reach === "file");
    addOptions(parser, { group, heading: inFile ? `Options of [${section}]:` : "Options:" });
  }
  if (command.examples.length > 0) parser.addHelpText("before", examplesText(command));
  parser.action(async (...given: unknown[]) => {
    const flags = flagsOf(parser.optsWithGlobals(), [
      GLOBAL_OPTIONS,
      ...Object.values(command.options),
    ]);
    program.onExitCode(
      await program.run(command, { flags, arguments: given.slice(0, -2).flatMap(wordsOf) }),
    );
  });
}

function describeGroup(parser: Parser, word: string): Parser {
  const summary = groupSummaryOf(word);
  return parser.summary(summary).description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`);
}

function configure(parser: Parser, { stdout, stderr }: Program): Parser {
  return parser.exitOverride().showHelpAfterError("(--help shows what is accepted)")
    .configureHelp({ showGlobalOptions: true, sortOptions: false })
    .configureOutput({
      ...(stdout === undefined ? {} : { writeOut: stdout }),
      ...(stderr === undefined ? {} : { writeErr: stderr }),
    });
}

function addOptions(
  parser: Parser,
  { group, heading }: { group: OptionGroup; heading: string },
): void {
  for (const option of Object.values(group)) {
    const { placeholder } = option.type;
    const names = option.short === undefined
      ? flagOf(option)
      : `${option.short}, ${flagOf(option)}`;
    const value = placeholder === undefined ? "" : ` <${placeholder}>`;
    const added = new ParserOption(`${names}${value}`, helpText(option)).helpGroup(heading);
    if (option.repeats) added.argParser((text, before) => [...wordsOf(before), text]);
    parser.addOption(added);
    if (placeholder === undefined && option.default === "true") {
      parser.addOption(new ParserOption(flagOf(option).replace("--", "--no-")).helpGroup(heading));
    }
  }
}

function helpText({ text, default: fallback }: Option<unknown>): string {
  return fallback === undefined || fallback === "false" ? text : `${text} (default: ${fallback})`;
}

function argumentText({ name, isRequired, isVariadic = false }: CommandArgument): string {
  const inner = isVariadic ? `${name}...` : name;
  return isRequired ? `<${inner}>` : `[${inner}]`;
}

function examplesText({ examples }: Command): string {
  const width = Math.max(...examples.map(([line]) => line.length));
  const lines = examples.map(([line, does]) => `  ${line.padEnd(width)}  ${does}`);
  return `Examples:\n${lines.join("\n")}\n`;
}

/** What was really given, as text by key; commander names options in camel case. */
function flagsOf(
  given: Readonly<Record<string, unknown>>,
  groups: readonly OptionGroup[],
): GivenFlags {
  const flags = new Map<string, string | readonly string[]>();
  for (const option of groups.flatMap((group) => Object.values(group))) {
    const value = given[camelCase(flagOf(option).slice(2))];
    if (value === undefined) continue;
    flags.set(option.key, Array.isArray(value) ? value.map(String) : String(value));
  }
  return flags;
}

function camelCase(name: string): string {
  return name.replaceAll(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function wordsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.map(String);
  return value === undefined ? [] : [String(value)];
}
