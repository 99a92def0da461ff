/**
 * The agent, the roll-up and the query service as child processes of `up`: the same program with another command, in
 * the same runtime, with what the command line of `up` gave that concerns them.
 *
 * A child says one line of JSON on standard output once it is ready; all else goes to standard error.
 */
import type { ChildProcess } from "node:child_process";
import { dirname } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Command } from "../command.ts";
import { CHILD_COMMAND_VARIABLE, flagOf, GLOBAL_OPTIONS, type OptionGroup } from "../options.ts";
import { SUPERVISED_VARIABLE } from "../options.ts";
import type { GivenFlags } from "../settings.ts";
import type { Account, NeededPaths } from "./account.ts";
import type { DataFolder } from "./data-folder.ts";
import type { ProcessPlan } from "./supervisor.ts";

const MAIN_FILE = fileURLToPath(new URL("../main.ts", import.meta.url));
const NODE_MODULES = fileURLToPath(new URL("../../../node_modules", import.meta.url));

/** A statement of DuckDB holds one of libuv's threads while it runs; of the four there are by default, too few are left. */
const THREADS = { UV_THREADPOOL_SIZE: "16" } as const;

/** What another user must reach to run a child on this data folder. */
export function pathsOfProgram(folder: DataFolder): NeededPaths {
  return {
    readable: [MAIN_FILE],
    enterable: [process.execPath, NODE_MODULES, dirname(folder.path)],
  };
}

export interface PlanRoleOptions {
  readonly command: Command;
  /** Flags of `up`; those that the command does not take are left out. */
  readonly flags: GivenFlags;
  /** Values that `up` decides, by key; they win. */
  readonly decided: Readonly<Record<string, string>>;
  readonly account: Account | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Folder for caches of a process that has no home. */
  readonly cache: string;
}

export function planRole(options: PlanRoleOptions): ProcessPlan {
  const { command, flags, decided, account, environment, cache } = options;
  const taken = [GLOBAL_OPTIONS, ...Object.values(command.options)].flatMap(keysOf);
  const given = new Map(
    [...flags, ...Object.entries(decided)].filter(([key]) => taken.includes(key)),
  );
  const homeless = account === undefined ? {} : { HOME: cache, XDG_CACHE_HOME: cache };
  const runtime = runtimeOf(command.name, environment);
  return {
    command: runtime.command,
    words: [
      ...runtime.words,
      MAIN_FILE,
      command.name,
      ...[...given].flatMap(([key, value]) => wordsOf(key, value)),
    ],
    environment: { ...THREADS, ...environment, ...homeless, [SUPERVISED_VARIABLE]: "1" },
    account,
  };
}

/** The child's first line, parsed. Rejects when the signal is aborted or the line is not JSON. */
export async function readAnnouncement(child: ChildProcess, signal: AbortSignal): Promise<unknown> {
  if (child.stdout === null) throw new Error("Cannot hear of readiness: there is no output");
  const lines = createInterface({ input: child.stdout });
  return await new Promise((resolve, reject) => {
    lines.once("line", (line) => {
      try {
        resolve(JSON.parse(line));
      } catch (cause) {
        reject(new Error(`Cannot read announcement ${JSON.stringify(line)}: not JSON`, { cause }));
      }
    });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function keysOf(group: OptionGroup): string[] {
  return Object.values(group).map(({ key }) => key);
}

function wordsOf(key: string, value: string | readonly string[]): string[] {
  const flag = flagOf({ key });
  if (value === "true") return [flag];
  if (value === "false") return [flag.replace("--", "--no-")];
  return (typeof value === "string" ? [value] : value).map((each) => `${flag}=${each}`);
}

/** The runtime and its options: named by a variable, else those we were started with. */
function runtimeOf(
  role: string,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly command: string; readonly words: readonly string[] } {
  const named = environment[CHILD_COMMAND_VARIABLE]?.split(" ").filter((word) => word !== "") ?? [];
  const [command, ...words] = named.map((word) => word.replace("{role}", role));
  if (command === undefined) return { command: process.execPath, words: process.execArgv };
  return { command, words };
}
