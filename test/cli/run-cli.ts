/** Runs the command line as a process, with pipes or on a terminal. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { text } from "node:stream/consumers";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Called with what is on standard output so far; returning true interrupts the process. */
  readonly until?: (stdout: string) => boolean;
}

/** Runs with pipes for all three streams. */
export async function runCli(
  words: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  return await run(process.execPath, [MAIN, ...words], options);
}

/** Runs with a terminal for all three streams; what it writes to either comes as `stdout`. */
export async function runCliOnTerminal(
  words: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const line = [process.execPath, MAIN, ...words].map((word) =>
    `'${word.replaceAll("'", "'\\''")}'`
  );
  const result = await run("script", ["-qec", line.join(" "), "/dev/null"], options);
  return { ...result, stdout: result.stdout.replaceAll("\r\n", "\n") };
}

async function run(
  program: string,
  words: readonly string[],
  { input, environment = {}, until }: CliOptions,
): Promise<CliResult> {
  const env = { PATH: process.env["PATH"], TERM: "xterm", NO_COLOR: "1", ...environment };
  const child = spawn(program, words, { env, stdio: "pipe" });
  let seen = "";
  child.stdout.on("data", (chunk) => {
    seen += String(chunk);
    if (until?.(seen) === true) child.kill("SIGINT");
  });
  child.stdin.end(input ?? "");
  const closed = once(child, "close");
  const stderr = await text(child.stderr);
  const [code] = await closed;
  return { code, stdout: seen, stderr };
}
