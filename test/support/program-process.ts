/**
 * A command of Probity as a service manager would run it: it is started again when it is killed, and also when it ends by
 * itself, which is noted; or as a scheduler would, again and again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface ProgramProcess extends AsyncDisposable {
  /** Kills it at once (SIGKILL); it is started again at once. Resolves when it was gone. */
  kill(): Promise<void>;
  /** What it said before it ended by itself, each time. */
  readonly failures: readonly string[];
}

const PROGRAM = resolve(import.meta.dirname, "../../src/cli/main.ts");
/** So long passes before one that ended by itself is started again, in milliseconds. */
const RESTART_MS = 500;
/** Characters of its last words that are kept. */
const WORDS_MAX = 4_000;

export interface ProgramOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it is to end by itself and be run again: so long after, in milliseconds. */
  readonly againAfterMs?: number;
  /** A file that gets all it says; none by default. */
  readonly log?: string | undefined;
}

export function startProgram(
  args: readonly string[],
  { environment = {}, againAfterMs, log }: ProgramOptions = {},
): ProgramProcess {
  const failures: string[] = [];
  const end = new AbortController();
  let child: ChildProcess | undefined;
  let isKilled = false;

  const runOnce = async (): Promise<void> => {
    let words = "";
    const started = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...environment },
    });
    for (const stream of [started.stdout, started.stderr]) {
      stream.on("data", (bytes) => {
        words = `${words}${String(bytes)}`.slice(-WORDS_MAX);
        if (log !== undefined) appendFileSync(log, String(bytes));
      });
    }
    child = started;
    await once(started, "close");
    if (isKilled || end.signal.aborted) return;
    if (againAfterMs === undefined || started.exitCode !== 0) {
      failures.push(`${args[0]} ended with ${started.exitCode ?? started.signalCode}: ${words}`);
    }
    await Promise.allSettled([
      delay(againAfterMs ?? RESTART_MS, undefined, { signal: end.signal }),
    ]);
  };
  const running = (async () => {
    while (!end.signal.aborted) {
      isKilled = false;
      await runOnce();
    }
  })();

  const kill = async (): Promise<void> => {
    const killed = child;
    if (killed === undefined || killed.exitCode !== null || killed.signalCode !== null) return;
    isKilled = true;
    const gone = once(killed, "exit");
    killed.kill("SIGKILL");
    await gone;
  };
  return {
    failures,
    kill,
    async [Symbol.asyncDispose]() {
      end.abort();
      await kill();
      await running;
    },
  };
}
