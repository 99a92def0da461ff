/**
 * `probity up` as a process, under Node or Deno, on a data folder of its own: what tests of the whole system ask and
 * kill. Addresses are free ports of loopback.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, globSync, rmSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "../../src/client/client.ts";
import { requireCapability } from "./require.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = join(ROOT, "node_modules", ".bin");
const START_LIMIT_MS = 90_000;

export type Runtime = "node" | "deno";
/** Processes that `up` keeps running. */
export type ProcessName = "broker" | "rollup" | "serve" | "agent";
export const PROCESS_NAMES: readonly ProcessName[] = ["broker", "rollup", "serve", "agent"];

/** Whether Deno is there; it is an npm package like any other. */
export function canRunDeno(): boolean {
  return requireCapability(
    "deno",
    existsSync(join(BIN, "deno")),
    "no deno in node_modules; npm ci",
  );
}

/** What `up` says on standard output once it runs. */
export interface Announcement {
  readonly url: string;
  readonly data: string;
  readonly tokenFile: string;
  readonly broker: string;
  readonly agent: string;
  readonly host: string;
  readonly sources: readonly { readonly name: string; readonly state: "on" | "off" }[];
}

export interface RunningSystem extends AsyncDisposable {
  readonly said: Announcement;
  readonly client: Client;
  readonly token: string;
  /** Lines of standard error so far. */
  readonly lines: readonly string[];
  /** Process id of `up`, or of the newest instance of one of its processes. */
  pidOf(name: ProcessName | "up"): number;
  /** Process ids of every instance that was ever started. */
  pids(): readonly number[];
  /** Sends SIGKILL; resolves once `up` has started another instance. */
  kill(name: ProcessName): Promise<void>;
  /** Sends SIGKILL to `up` itself. */
  killAll(): Promise<void>;
  /** Sends SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

export interface RunningSystemOptions {
  readonly runtime: Runtime;
  /** Data folder; a temporary one by default, which disposing removes. */
  readonly data?: string;
  readonly words?: readonly string[];
}

/** Starts `up`; resolves once it says that it runs. Disposing stops it and takes its programs from the kernel. */
export async function startSystem(options: RunningSystemOptions): Promise<RunningSystem> {
  const data = options.data ?? await mkdtemp(join(tmpdir(), "probity-up-"));
  const child = startUp({ ...options, data });
  const lines: string[] = [];
  const errors = createInterface({ input: child.stderr ?? process.stdin });
  errors.on("line", (line) => lines.push(line));
  const said = await firstLine(child, lines);
  const token = await readFile(said.tokenFile, "utf8");
  const pids = (): number[] => lines.flatMap((line) => Number(/ pid=(\d+)$/.exec(line)?.[1] ?? []));
  const pidOf = (name: ProcessName | "up"): number => {
    if (name === "up") return child.pid ?? 0;
    const started = lines.filter((line) => line.includes(`"started ${name}"`)).at(-1);
    return Number(/ pid=(\d+)$/.exec(started ?? "")?.[1]);
  };
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = once(child, "exit");
    child.kill(signal);
    const [code] = await ended;
    return typeof code === "number" ? code : null;
  };
  return {
    said,
    token,
    lines,
    client: createClient({ url: said.url, token }),
    pidOf,
    pids,
    async kill(name) {
      const pid = pidOf(name);
      process.kill(pid, "SIGKILL");
      await waitFor(() => pidOf(name) !== pid, `${name} to be started again`);
    },
    killAll: async () => void await end("SIGKILL"),
    stop: () => end("SIGTERM"),
    async [Symbol.asyncDispose]() {
      await end("SIGTERM");
      if (options.data !== undefined) return;
      removePins(data);
      await rm(data, { recursive: true, force: true });
    },
  };
}

/** Takes programs and rings of a data folder's agent from the kernel. */
export function removePins(data: string): void {
  const name = `probity-${createHash("sha256").update(data).digest("hex").slice(0, 12)}`;
  rmSync(join("/sys/fs/bpf", name), { recursive: true, force: true });
}

/** Resolves once the condition holds, asked every 20 ms for up to a minute. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`Cannot wait any longer for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function isAlive(pid: number): boolean {
  return globSync(`/proc/${pid}/stat`).length > 0;
}

function startUp(
  { runtime, data, words = [] }: RunningSystemOptions & { data: string },
): ChildProcess {
  const up = ["--data", data, "--port", "0", "--agent-listen", "127.0.0.1:0", ...words];
  const [command, ...before] = runtime === "node"
    ? [process.execPath, join(ROOT, "src/cli/main.ts"), "up"]
    : [join(BIN, "deno"), "run", "-q", "-P=up", join(ROOT, "src/cli/main.ts"), "up"];
  return spawn(command ?? "", [...before, ...up], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: `${BIN}${delimiter}${process.env["PATH"]}`,
      HOME: process.env["HOME"],
      ...(runtime === "deno" ? { PROBITY_CHILD_COMMAND: "deno run -q -P={role}" } : {}),
    },
  });
}

async function firstLine(child: ChildProcess, lines: readonly string[]): Promise<Announcement> {
  if (child.stdout === null) throw new Error("Cannot hear of up: it has no output");
  const output = createInterface({ input: child.stdout });
  const limit = AbortSignal.timeout(START_LIMIT_MS);
  const ended = once(child, "exit", { signal: limit }).then(([code]) => {
    throw new Error(`Cannot start up: it ended with code ${code}:\n${lines.join("\n")}`);
  });
  const [line] = await Promise.race([once(output, "line", { signal: limit }), ended]);
  return JSON.parse(String(line));
}
