#!/usr/bin/env node
/**
 * The command line: parses, runs one command, ends with its exit code. The composition root: nothing imports it.
 *
 * Invariant: data goes to standard output, everything else to standard error; an expected error shows its message, not
 * a stack.
 */
import process from "node:process";
import { CommanderError } from "commander";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { CommandError, EXIT, type ExitCode } from "./exit.ts";
import { buildParser, type GivenLine } from "./program.ts";

process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<ExitCode> {
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

/** Runs a command until it ends or a signal says so; a second signal ends the process at once. */
async function runCommand(command: Command, given: GivenLine): Promise<ExitCode> {
  const stop = new AbortController();
  const onSignal = (name: string): void => {
    if (stop.signal.aborted) process.exit(EXIT.interrupted);
    stop.abort(new Error(`stopped by ${name}`));
  };
  const onOutputError = (error: Error & { code?: string }): void => {
    if (error.code !== "EPIPE") throw error;
    // The reader has gone, as `probity search | head` does: nothing is left to do.
    process.exit(EXIT.ok);
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  process.stdout.on("error", onOutputError);
  try {
    const code = await command.execute({
      ...given,
      environment: process.env,
      signal: stop.signal,
    });
    return stop.signal.aborted && !command.isDaemon ? EXIT.interrupted : code;
  } catch (error) {
    if (stop.signal.aborted && error === stop.signal.reason) {
      return command.isDaemon ? EXIT.ok : EXIT.interrupted;
    }
    throw error;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    process.stdout.off("error", onOutputError);
  }
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
