/**
 * The frame that commands plug into: a command declares its options and arguments and gets them typed and resolved.
 * It only calls the client or an `openX`; parsing, precedence, signals and exit codes are the frame's.
 */
import { createLog, type Log, type LogLevel } from "../runtime/log.ts";
import type { ConfigFile } from "./config-file.ts";
import type { Structures } from "./config-structures.ts";
import { NO_STRUCTURES } from "./empty-structures.ts";
import type { ExitCode } from "./exit.ts";
import { GLOBAL_OPTIONS, type Option } from "./options.ts";
import type { OptionGroups, Settings, Values } from "./options.ts";
import { createOutput, type Output } from "./output.ts";
import { type GivenFlags, resolveSettings, type ValueSource } from "./settings.ts";

export interface CommandArgument {
  readonly name: string;
  readonly text: string;
  readonly isRequired: boolean;
  /** Takes all arguments that are left. */
  readonly isVariadic?: boolean;
  /** Values that completion offers; others are refused. */
  readonly choices?: readonly string[];
  /** Whether it is the path of a file, which completion offers. */
  readonly isFile?: boolean;
}

export interface CommandDefinition<S extends OptionGroups> {
  /** `search`, or `config check` for a command of a group. */
  readonly name: string;
  /** One line without a final period. */
  readonly summary: string;
  /** Command lines with what they do, shown first in help. */
  readonly examples?: readonly (readonly [line: string, does: string])[];
  readonly arguments?: readonly CommandArgument[];
  /** Options by section. */
  readonly options: S;
  /** Runs until it is stopped: being told to stop is success. */
  readonly isDaemon?: boolean;
  run(invocation: Invocation<S>): Promise<ExitCode>;
}

/**
 * `isDataGiven`: whether the data folder was named, and therefore is meant. `ofVariables`: what comes from variables,
 * which were set for whatever was meant then: what the command line names comes first.
 */
export type GlobalSettings = Values<typeof GLOBAL_OPTIONS> & {
  readonly isDataGiven: boolean;
  readonly ofVariables: readonly AccessName[];
};

/** Options that say which server is asked, and with which token. */
const ACCESS_NAMES = ["server", "tokenFile", "context"] as const;
export type AccessName = typeof ACCESS_NAMES[number];

/** Everything a command gets. */
export interface Invocation<S extends OptionGroups> {
  readonly arguments: readonly string[];
  readonly global: GlobalSettings;
  readonly settings: Settings<S>;
  /** Lists and tables of the configuration file. */
  readonly structures: Structures;
  readonly file: ConfigFile | undefined;
  sourceOf(option: Pick<Option<unknown>, "key">): ValueSource;
  /** Reads the configuration file anew. Rejects with a usage error that lists every fault. */
  readAgain(): Promise<Configuration<S>>;
  /** What the command line itself gave. */
  readonly flags: GivenFlags;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly output: Output;
  readonly log: Log;
  /** Aborted by SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

/** What the configuration file, with flags and variables, says of a command. */
export type Configuration<S extends OptionGroups> = Pick<Invocation<S>, "settings" | "structures">;

/** What the frame hands to a command. */
export interface Call {
  readonly flags: GivenFlags;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** A command without its types: what `main.ts`, completion and docs handle. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly examples: readonly (readonly [line: string, does: string])[];
  readonly arguments: readonly CommandArgument[];
  readonly options: OptionGroups;
  readonly isDaemon: boolean;
  /** Resolves settings and runs. */
  execute(call: Call): Promise<ExitCode>;
}

export function defineCommand<const S extends OptionGroups>(
  definition: CommandDefinition<S>,
): Command {
  const { name, summary, examples = [], options, isDaemon = false } = definition;
  return {
    name,
    summary,
    examples,
    arguments: definition.arguments ?? [],
    options,
    isDaemon,
    execute: async (call) => {
      const { flags, environment } = call;
      const own = { flags, environment, file: undefined };
      const given = resolveSettings({ global: GLOBAL_OPTIONS }, own);
      const isDataGiven = given.sourceOf(GLOBAL_OPTIONS.data) !== "default";
      const ofVariables = ACCESS_NAMES.filter((each) =>
        given.sourceOf(GLOBAL_OPTIONS[each]) === "variable"
      );
      const global = { ...given.settings.global, isDataGiven, ofVariables };
      const file = global.config === undefined ? undefined : await readFile(global.config);
      const { settings, sourceOf } = resolveSettings(options, { flags, environment, file });
      return await definition.run({
        arguments: call.arguments,
        global,
        settings,
        structures: file?.structures ?? NO_STRUCTURES,
        file,
        sourceOf,
        readAgain: async () => {
          const again = global.config === undefined ? undefined : await readFile(global.config);
          const { settings } = resolveSettings(options, { flags, environment, file: again });
          return { settings, structures: again?.structures ?? NO_STRUCTURES };
        },
        flags,
        environment,
        output: createOutput({ ...global, environment }),
        log: createLog({ level: logLevel(global, environment), fields: { command: name } }),
        signal: call.signal,
      });
    },
  };
}

/** The schemas take a while to load: commands without a configuration file do without. */
async function readFile(path: string): Promise<ConfigFile> {
  const { readConfigFile } = await import("./config-file.ts");
  return readConfigFile(path);
}

function logLevel(
  { quiet }: GlobalSettings,
  environment: Readonly<Record<string, string | undefined>>,
): LogLevel {
  const level = environment["PROBITY_LOG"];
  if (level === "debug" || level === "info" || level === "error") return level;
  return quiet ? "error" : level === "warn" ? "warn" : "info";
}
