/** The command line as a process, in Node: what it prints, and how it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import process from "node:process";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

export const MAIN_FILE = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

export interface CommandResult {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Takes standard output as it is; the result has none then. */
  readonly outputFile?: string;
  /** Called with the process once it runs. */
  readonly whileRunning?: (child: ChildProcess) => Promise<void>;
}

/** Runs `probity` with these words until it ends; its own environment has no PROBITY variables. */
export async function runProbity(
  words: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { outputFile } = options;
  using outputs = new DisposableStack();
  const into = outputFile === undefined ? "pipe" : openSync(outputFile, "w");
  if (typeof into === "number") outputs.defer(() => closeSync(into));
  const child = spawn(process.execPath, [MAIN_FILE, ...words], {
    stdio: ["ignore", into, "pipe"],
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...options.environment },
  });
  const ended = once(child, "close");
  const read = (stream: Readable | null) => stream === null ? "" : text(stream);
  const output = Promise.all([read(child.stdout), read(child.stderr)]);
  await options.whileRunning?.(child);
  const [code] = await ended;
  const [stdout, stderr] = await output;
  return { code: typeof code === "number" ? code : null, stdout, stderr };
}
