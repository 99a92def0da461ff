/**
 * Runs a command once, bounded: time, memory, output, environment, rights.
 *
 * Invariants: it never has more rights than the agent, and none of root's; when its run is over, so is everything it
 * started: its session is killed, and whoever left that but still bears the run's mark; it ends with the agent, however
 * that ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers";
import { loadProcessCalls, type ProcessCalls } from "../../../process-calls.ts";
import { COMMAND_PATH, type CommandRule } from "./command-rule.ts";
import { endMarked, RUN_VARIABLE } from "./marked-processes.ts";

/** How a run came to its end. */
export type RunEnd =
  | { readonly state: "exited"; readonly code: number }
  | { readonly state: "signalled"; readonly signal: string }
  | { readonly state: "timeout" | "output" | "stopped" }
  | { readonly state: "failed"; readonly reason: string };

export interface CommandRun {
  readonly pid: number | undefined;
  /** Pieces of standard output, as they come, until the end. Whoever does not read makes the command wait. */
  readonly output: AsyncIterable<Uint8Array>;
  /** Known once the output has been read to its end. */
  end(): Promise<RunEnd>;
  /** The beginning of standard error. */
  errors(): Uint8Array;
}

/** Who a command runs as: nobody else, or another user, which only root may ask for. */
export type RunAs = "same" | { readonly uid: number; readonly gid: number };

const SIGKILL = 9;
const SIGTERM = 15;
const ERROR_BYTES_MAX = 2048;
/** Between the request to end and the end. */
const GRACE_MS = 2_000;
/** How long the output is waited for, in all, after the command has ended: what it left behind may hold it open. */
const LINGER_MS = 500;
const LINGER_STEP_MS = 50;
const OPEN_FILES_MAX = 256;
const TOOLS = ["setsid", "setpriv", "prlimit"] as const;

/** Paths of the programs that bound a command; the name of the first that is missing. */
export function findTools(): Readonly<Record<typeof TOOLS[number], string>> | string {
  const found: Record<string, string> = {};
  for (const tool of TOOLS) {
    const path = COMMAND_PATH.split(":").map((folder) => join(folder, tool)).find(existsSync);
    if (path === undefined) return tool;
    found[tool] = path;
  }
  // as: every name was found
  return found as Record<typeof TOOLS[number], string>;
}

/** Why a rule's program cannot be executed now; undefined when it can, as far as its file shows. */
export function faultOfProgram(
  { command: [program = ""], environment }: Pick<CommandRule, "command" | "environment">,
): string | undefined {
  const folders = (environment["PATH"] ?? COMMAND_PATH).split(":");
  const places = program.includes("/")
    ? [resolve("/", program)]
    : folders.map((folder) => resolve("/", folder, program));
  const found = places.filter((place) => existsSync(place));
  if (found.length === 0) return `there is no program ${JSON.stringify(program)}`;
  return found.some(mayRun) ? undefined : `${JSON.stringify(found[0])} may not be executed`;
}

function mayRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // Gone meanwhile, or not for this user.
  }
}

export function startCommand(
  rule: CommandRule,
  runAs: RunAs,
  signal: AbortSignal,
): CommandRun {
  const tools = findTools();
  if (typeof tools === "string") return failedRun(`there is no program "${tools}"`);
  const mark = randomUUID();
  const words = [
    ...[tools.setpriv, "--pdeathsig", "KILL", "--no-new-privs", ...rightsOf(runAs), "--"],
    ...[tools.prlimit, `--data=${rule.memoryBytes}`, "--core=0", `--nofile=${OPEN_FILES_MAX}`],
    ...["--", ...rule.command],
  ];
  const env = {
    PATH: COMMAND_PATH,
    LANG: "C.UTF-8",
    HOME: "/nonexistent",
    PROBITY_COLLECTOR: rule.name,
    ...rule.environment,
    [RUN_VARIABLE]: mark,
  };
  let child: ChildProcess;
  try {
    child = spawn(tools.setsid, words, { cwd: "/", env, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    // Words that no program can be given: with a NUL, or too many.
    return failedRun(error instanceof Error ? error.message : String(error));
  }
  return watchRun(child, { rule, mark, signal });
}

function watchRun(
  child: ChildProcess,
  { rule, mark, signal }: {
    readonly rule: CommandRule;
    readonly mark: string;
    readonly signal: AbortSignal;
  },
): CommandRun {
  let [early, outputBytes]: [RunEnd | undefined, number] = [undefined, 0];
  let errors = new Uint8Array();
  let killing: ReturnType<typeof setTimeout> | undefined;
  const stop = (end: RunEnd): void => {
    if (early !== undefined) return;
    early = end;
    endSession(child, SIGTERM);
    killing = setTimeout(() => endSession(child, SIGKILL), GRACE_MS).unref();
  };
  const timer = setTimeout(() => stop({ state: "timeout" }), rule.timeoutMs);
  const abort = (): void => stop({ state: "stopped" });
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  const ended = new Promise<RunEnd>((resolve) => {
    child.once("error", (error) => resolve({ state: "failed", reason: error.message }));
    child.once("exit", (code, name) => {
      resolve(
        code === null ? { state: "signalled", signal: name ?? "?" } : { state: "exited", code },
      );
    });
  });
  const over = ended.then(async (end) => {
    clearTimeout(timer);
    // Later on its number may be another's.
    clearTimeout(killing);
    signal.removeEventListener("abort", abort);
    // Nobody of it lives on, wherever it went.
    endSession(child, SIGKILL);
    await endMarked(mark);
    return early ?? end;
  });
  child.stderr?.on("data", (data: Uint8Array) => {
    if (errors.length < ERROR_BYTES_MAX) {
      errors = Buffer.concat([errors, data]).subarray(0, ERROR_BYTES_MAX);
    }
  });
  child.stderr?.on("error", () => undefined);
  return {
    pid: child.pid,
    output: piecesOf(child, {
      over,
      allow: (sizeBytes) => {
        outputBytes += sizeBytes;
        const beyond = outputBytes - rule.outputBytes;
        if (beyond > 0) stop({ state: "output" });
        return Math.max(0, sizeBytes - Math.max(0, beyond));
      },
    }),
    end: () => over,
    errors: () => errors,
  };
}

/**
 * Pieces of the output, each as long as `allow` says. What was written is there without waiting, so that once the command
 * is over only waiting counts, not the time that the reader takes.
 */
async function* piecesOf(
  { stdout }: ChildProcess,
  { allow, over }: {
    readonly allow: (sizeBytes: number) => number;
    readonly over: Promise<unknown>;
  },
): AsyncGenerator<Uint8Array> {
  // Without room for another open file there is none (Node 24).
  if (!stdout) return;
  let [isWaiting, isRead, waitedMs] = [false, false, 0];
  let looking: ReturnType<typeof setInterval> | undefined;
  const look = (): void => {
    if (isWaiting) waitedMs += LINGER_STEP_MS;
    if (waitedMs >= LINGER_MS) stdout.destroy();
  };
  void over.then(() => {
    if (!isRead) looking = setInterval(look, LINGER_STEP_MS).unref();
  });
  const pieces: AsyncIterator<Uint8Array> = stdout[Symbol.asyncIterator]();
  try {
    for (;;) {
      isWaiting = true;
      const { done, value: piece } = await pieces.next();
      isWaiting = false;
      if (done === true) return;
      const allowed = allow(piece.length);
      if (allowed > 0) yield piece.subarray(0, allowed);
      if (allowed < piece.length) return;
    }
  } catch (error) {
    // It was closed: whoever held it open had no right to any more.
    if (!(error instanceof Error && "code" in error)) throw error;
  } finally {
    isRead = true;
    clearInterval(looking);
    stdout.destroy();
  }
}

/**
 * The command's session is named by its pid once setsid has run; before that there is only the process. Deno lets nobody
 * send signals who may not start every program, hence the C library's call. It fails for what has ended.
 */
function endSession({ pid, exitCode, signalCode }: ChildProcess, signal: number): void {
  if (pid === undefined) return;
  calls ??= loadProcessCalls();
  calls.kill(-pid, signal);
  if (exitCode === null && signalCode === null) calls.kill(pid, signal);
}

let calls: ProcessCalls | undefined;

function rightsOf(runAs: RunAs): readonly string[] {
  if (runAs === "same") return [];
  const { uid, gid } = runAs;
  const user = ["--reuid", String(uid), "--regid", String(gid), "--clear-groups"];
  return [...user, "--inh-caps=-all", "--bounding-set=-all"];
}

function failedRun(reason: string): CommandRun {
  return {
    pid: undefined,
    output: (async function* () {})(),
    end: () => Promise.resolve({ state: "failed", reason }),
    errors: () => new Uint8Array(),
  };
}
