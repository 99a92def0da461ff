/**
 * The command line: parses, runs one command, ends with its exit code.
 *
 * Invariant: data goes to standard output, everything else to standard error; an expected error shows its message, not
 * a stack.
 */
import process from "node:process";
import { CommanderError } from "commander";
import { type Lifecycle, openLifecycle } from "../runtime/lifecycle.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { CommandError, EXIT, type ExitCode } from "./exit.ts";
import { SUPERVISED_VARIABLE } from "./options.ts";
import { buildParser, type GivenLine } from "./program.ts";

/** Whether this process was started by `up`, and ends with it. */
export function isSupervised(): boolean {
  return process.env[SUPERVISED_VARIABLE] === "1";
}

/** Runs what the words say; never rejects. */
export async function main(words: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  const parser = buildParser({
    commands: COMMANDS,
    run: runCommand,
    onExitCode: (code) => exitCode = code,
  });
  try {
    await parser.parseAsync(words, { from: "user" });
    return exitCode;
  } catch (error) {
    return explain(error);
  }
}

/** Runs a command until it ends or a signal says so. */
async function runCommand(command: Command, given: GivenLine): Promise<ExitCode> {
  await using lifecycle = openLifecycle();
  const { signal } = lifecycle;
  process.stdout.on("error", onOutputError);
  if (command.isDaemon && isSupervised()) {
    lifecycle.use(stopWithParent(lifecycle));
  }
  try {
    const code = await command.execute({ ...given, environment: process.env, signal });
    return signal.aborted && !command.isDaemon ? EXIT.interrupted : code;
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    return command.isDaemon ? EXIT.ok : EXIT.interrupted;
  }
}

function onOutputError(error: Error & { readonly code?: string }): void {
  if (error.code !== "EPIPE") throw error;
  // The reader has gone, as in `probity search | head`: nothing is left to do.
  process.exit(EXIT.ok);
}

/** Standard input is a pipe from the process that started us: its end is that process's death. */
function stopWithParent(lifecycle: Lifecycle): AsyncDisposable {
  process.stdin.on("end", () => lifecycle.stop("the process that started this one is gone"));
  process.stdin.on("error", () => lifecycle.stop("standard input is broken"));
  process.stdin.resume();
  return {
    [Symbol.asyncDispose]: () => {
      process.stdin.destroy();
      return Promise.resolve();
    },
  };
}

function explain(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof CommandError) {
    process.stderr.write(`probity: ${error.message}\n`);
    return error.exitCode;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`probity: ${message}\n`);
  if (process.env["PROBITY_LOG"] === "debug" && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
  return EXIT.failed;
}
