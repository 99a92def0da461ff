/**
 * A process that runs people's SQL, seen from the service. DuckDB does not count all memory that a statement takes, and
 * not all of its steps can be interrupted; a process can be bounded by the kernel, and killed.
 *
 * Invariants: before the process gets its first statement, the kernel bounds its memory (RLIMIT_DATA); a statement that
 * is cancelled and goes on is ended with its process; whoever asked hears at once and does not wait for that.
 */
import { execFile, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { makeFolders } from "../../../runtime/folders.ts";
import { SqlError } from "../../../storage/duckdb.ts";
import { createFrames } from "./frames.ts";
import {
  decode,
  encode,
  type EngineReply,
  type EngineRequest,
  type EngineSettings,
  errorOf,
} from "./protocol.ts";
import { engineReply } from "./requests.ts";

export interface EngineProcess extends AsyncDisposable {
  readonly pid: number;
  /** Where a file of its folder is. */
  pathOf(name: string): string;
  readonly hasEnded: boolean;
  /**
   * Throws SqlError (of kind `Out of Memory` also when the process ended over it), ProblemError 422, or the signal's
   * reason. One request at a time.
   */
  ask(request: EngineRequest, signal: AbortSignal): Promise<EngineAnswer>;
  /** Resolves when nothing runs: the last request was answered, or the process has ended. */
  settled(): Promise<void>;
}

export interface EngineAnswer extends EngineReply {
  readonly body?: Uint8Array<ArrayBuffer>;
}

export interface EngineProcessOptions extends EngineSettings {
  /** What went wrong with the process itself. */
  readonly onFault: (what: string) => void;
}

const PROGRAM = fileURLToPath(new URL("./main.ts", import.meta.url));
/** Leaves no core, and is the first to go where the machine's memory runs out. */
const FIRST_STEPS = "ulimit -c 0; echo 1000 > /proc/self/oom_score_adj";
/** A shell that becomes the runtime: Deno grants programs by name, and its own is where nobody knows. */
const SHELL = "/bin/sh";
const REPLACED = ["-c", `${FIRST_STEPS}; exec "$@"`, "sh"];
/** A statement that was cancelled has so long to end, in milliseconds. */
const CANCEL_LIMIT_MS = 1_000;
/** The process has so long to start, in milliseconds. */
const START_LIMIT_MS = 30_000;
/** What JavaScript may hold: rows on their way into an answer. */
const HEAP_MIB = 256;
/** Beyond DuckDB's own bound: what it does not count, and rows in JavaScript. */
const UNCOUNTED_BYTES = (HEAP_MIB + 256) * 1024 * 1024;
/** Of what a process said on standard error, in characters. */
const SAID_MAX = 2_000;

/** The kernel's bound of a process's private memory beyond what it has when it is ready. */
export function memoryAllowanceBytes(memoryLimitBytes: number): number {
  return 2 * memoryLimitBytes + UNCOUNTED_BYTES;
}

export async function openEngineProcess(options: EngineProcessOptions): Promise<EngineProcess> {
  const { onFault, ...settings } = options;
  await rm(settings.directory, { recursive: true, force: true });
  makeFolders(settings.directory, 0o700);
  const child = spawn(SHELL, [...REPLACED, process.execPath, ...words(), PROGRAM], {
    // Nothing of the service's environment is a statement's to find.
    env: { LANG: "C.UTF-8", HOME: settings.directory, UV_THREADPOOL_SIZE: "4" },
    cwd: settings.directory,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let said = "";
  let hasEnded = false;
  let isClosing = false;
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = `${said}${text}`.slice(-SAID_MAX);
  });
  child.stdin.on("error", (error) => {
    said = `${said}${String(error)}\n`.slice(-SAID_MAX);
  });
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(String(error)));
    child.once("exit", (code, signal) => resolve(String(signal ?? `exit ${code}`)));
  }).then((how) => {
    hasEnded = true;
    if (!isClosing) onFault(`${how}; ${said.trim().split("\n")[0] ?? ""}`);
    return how;
  });
  const frames = createFrames(child.stdout);
  const send = (message: unknown): void => {
    child.stdin.write(`${encode(message)}\n`);
  };
  const receive = async (): Promise<EngineAnswer> => {
    const line = await frames.line();
    if (line === undefined) {
      const how = await ended;
      throw new SqlError("Out of Memory", `The process of the statement ended: ${how}`);
    }
    const reply = engineReply(decode(line));
    const { bytes } = reply;
    return bytes === undefined ? reply : { ...reply, body: await frames.bytes(bytes) };
  };
  const close = async (): Promise<void> => {
    isClosing = true;
    child.kill("SIGKILL");
    await ended;
    await rm(settings.directory, { recursive: true, force: true });
  };
  try {
    const limit = setTimeout(() => child.kill("SIGKILL"), START_LIMIT_MS);
    send(settings);
    await receive().finally(() => clearTimeout(limit));
    await boundMemory(Number(child.pid), memoryAllowanceBytes(settings.memoryLimitBytes));
  } catch (cause) {
    await close();
    throw new Error(`Cannot start a process for SQL: ${said.trim() || String(cause)}`, { cause });
  }
  let running: Promise<unknown> = Promise.resolve();
  return {
    pid: Number(child.pid),
    pathOf: (name) => join(settings.directory, name),
    get hasEnded() {
      return hasEnded;
    },
    async ask(request, signal) {
      signal.throwIfAborted();
      send(request);
      const answered = receive();
      // Of what comes after its asker has left, nothing stays.
      const ended = answered.then(async ({ path }) => {
        if (signal.aborted && path !== undefined) await rm(path, { force: true });
      });
      running = Promise.allSettled([ended]);
      const stopped = stopWhen(signal, running, {
        cancel: () => send({ do: "cancel" }),
        kill: () => child.kill("SIGKILL"),
      });
      const answer = await Promise.race([answered, stopped]);
      if (answer.error !== undefined) throw errorOf(answer.error);
      return answer;
    },
    settled: async () => {
      await running;
    },
    [Symbol.asyncDispose]: close,
  };
}

/** Rejects when the signal is aborted; what runs is cancelled then, and killed when that does not help. */
function stopWhen(
  signal: AbortSignal,
  running: Promise<unknown>,
  { cancel, kill }: { readonly cancel: () => void; readonly kill: () => void },
): Promise<never> {
  return new Promise((_resolve, reject) => {
    const abort = (): void => {
      cancel();
      const timer = setTimeout(kill, CANCEL_LIMIT_MS);
      void running.then(() => clearTimeout(timer));
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    void running.then(() => signal.removeEventListener("abort", abort));
  });
}

function words(): readonly string[] {
  if (process.versions["deno"] === undefined) return [`--max-old-space-size=${HEAP_MIB}`];
  const heap = `--v8-flags=--max-old-space-size=${HEAP_MIB}`;
  const rights = ["--allow-read", "--allow-write", "--allow-ffi", "--allow-env", "--allow-sys"];
  return ["run", "-q", "--no-prompt", heap, ...rights];
}

/**
 * Counted from what the process has now, since runtimes reserve much that they never touch. By a shell, since Deno lets
 * nobody read /proc.
 */
async function boundMemory(pid: number, allowanceBytes: number): Promise<void> {
  await promisify(execFile)(SHELL, ["-c", BOUND, "sh", String(pid), String(allowanceBytes)]);
}

const BOUND = `
while read -r name kib unit; do
  if [ "$name" = VmData: ]; then bytes=$((kib * 1024 + $2)); fi
done < "/proc/$1/status"
exec prlimit --pid="$1" --data="$bytes:$bytes"`;
