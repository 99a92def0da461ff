/**
 * The whole system as a user starts it: `probity up` as a process, under Node or Deno, on a data folder of its own.
 * Its parts can be found by their role and killed; `up` starts them again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export type Runtime = "node" | "deno";
export type Role = "nats-server" | "agent" | "rollup" | "serve";

const ROOT = resolve(import.meta.dirname, "../..");
const START_DEADLINE_MS = 120_000;
// `up` gives each of its four parts 15 s to end.
const STOP_DEADLINE_MS = 75_000;

export interface ProbitySystem extends AsyncDisposable {
  readonly dataDirectory: string;
  readonly url: string;
  readonly token: string;
  /** What `up` and its parts have printed so far. */
  output(): string;
  /** Process id of `up` itself. */
  upPid(): number;
  /** Process ids of the parts that play a role now. */
  pidsOf(role: Role): number[];
  /** Kills `up` itself; its parts must not outlive it. Resolves once it is gone. */
  killUp(): Promise<void>;
  /** Starts `up` again on the same data folder. */
  startUp(): Promise<void>;
  /** Ends it as Ctrl-C would; resolves with the exit code. */
  stop(): Promise<number | null>;
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

export async function openProbitySystem(
  runtime: Runtime,
  more: readonly string[] = [],
): Promise<ProbitySystem> {
  const dataDirectory = await mkdtemp(join(tmpdir(), `probity-${runtime}-`));
  let printed = "";
  let child = start();
  await ready();

  function start(): ChildProcess {
    const args = [
      "up",
      "--data",
      dataDirectory,
      "--port",
      "0",
      "--agent-listen",
      "127.0.0.1:0",
      ...more,
    ];
    const command = runtime === "node"
      ? ["node", join(ROOT, "src/cli/main.ts"), ...args]
      : ["deno", "task", "--quiet", "--cwd", ROOT, "up", ...args.slice(1)];
    const started = spawn(command[0] ?? "", command.slice(1), {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    started.stdout?.on("data", (bytes) => (printed += String(bytes)));
    started.stderr?.on("data", (bytes) => (printed += String(bytes)));
    return started;
  }

  async function ready(): Promise<void> {
    const deadline = performance.now() + START_DEADLINE_MS;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`Cannot start the system: it ended\n${printed}`);
      if (await isReady(dataDirectory)) return;
      if (performance.now() > deadline) throw new Error(`Cannot start the system:\n${printed}`);
      await delay(100);
    }
  }

  async function stop(signal: NodeJS.Signals): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = once(child, "exit");
    for (const pid of upPids()) process.kill(pid, signal);
    await Promise.race([ended, delay(STOP_DEADLINE_MS, undefined, { ref: false })]);
    if (child.exitCode === null && child.signalCode === null) {
      throw new Error(`Cannot stop the system within ${STOP_DEADLINE_MS} ms:\n${printed}`);
    }
    return child.exitCode;
  }

  /** `up` itself, below the task runner where there is one. */
  function upPids(): number[] {
    const found = processes().filter((each) => each.includesAll(["main.ts", "up", dataDirectory]));
    return found.length > 0 ? found.map(({ pid }) => pid) : [child.pid ?? 0];
  }

  const read = (name: string): string => readFileSync(join(dataDirectory, name), "utf8").trim();

  return {
    dataDirectory,
    get url() {
      return read("server.url");
    },
    get token() {
      return read("admin.token");
    },
    output: () => printed,
    upPid: () => upPids()[0] ?? 0,
    pidsOf: (role) =>
      processes()
        .filter((each) =>
          each.includesAll(
            role === "nats-server"
              ? ["nats-server", dataDirectory]
              : ["main.ts", role, dataDirectory],
          )
        )
        .map(({ pid }) => pid),
    async killUp() {
      await stop("SIGKILL");
      rmSync(join(dataDirectory, "server.url"));
    },
    async startUp() {
      child = start();
      await ready();
    },
    stop: () => stop("SIGTERM"),
    fetch(path, init = {}) {
      const headers = new Headers(init.headers);
      headers.set("authorization", `Bearer ${read("admin.token")}`);
      return fetch(new URL(path, read("server.url")), { ...init, headers });
    },
    async [Symbol.asyncDispose]() {
      await stop("SIGTERM");
      removePins(dataDirectory);
      await rm(dataDirectory, { recursive: true, force: true });
    },
  };
}

/** Takes the programs and rings of a data folder's agent from the kernel, where they would outlive the folder. */
export function removePins(dataDirectory: string): void {
  const name = `probity-${createHash("sha256").update(dataDirectory).digest("hex").slice(0, 12)}`;
  rmSync(join("/sys/fs/bpf", name), { recursive: true, force: true });
}

interface SeenProcess {
  readonly pid: number;
  includesAll(words: readonly string[]): boolean;
}

function processes(): SeenProcess[] {
  return readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)).flatMap((name) => {
    const words = commandOf(name);
    if (words.length === 0) return [];
    return [{
      pid: Number(name),
      includesAll: (wanted) => wanted.every((want) => words.some((word) => names(word, want))),
    }];
  });
}

/** Whether a word of a command line is a program, a role, a folder or the option that gives it. */
function names(word: string, want: string): boolean {
  return word === want || word === `--data=${want}` || word.endsWith(`/${want}`) ||
    word.startsWith(`${want}/`);
}

function commandOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").filter((word) => word !== "");
  } catch (error) {
    // The process ended between the listing and the read.
    if (error instanceof Error) return [];
    throw error;
  }
}

async function isReady(dataDirectory: string): Promise<boolean> {
  const file = join(dataDirectory, "server.url");
  if (!existsSync(file)) return false;
  const url = readFileSync(file, "utf8").trim();
  try {
    const answer = await fetch(new URL("/readyz", url));
    await answer.body?.cancel();
    return answer.ok;
  } catch (error) {
    // Nobody listens yet.
    if (error instanceof TypeError) return false;
    throw error;
  }
}
