/** `probity agent` as root starts it: divided into a process with rights and one without. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const START_LIMIT_MS = 60_000;

export interface DividedAgent extends AsyncDisposable {
  /** The process without rights. */
  readonly pid: number;
  /** The one with rights. */
  readonly privilegedPid: number;
  readonly agent: string;
  readonly sources: readonly {
    readonly name: string;
    readonly state: string;
    readonly hooks?: readonly { readonly name: string; readonly state: string }[];
  }[];
  /** What it wrote to standard error. */
  log(): string;
  /** Exit code; after SIGTERM, or by itself. */
  stop(): Promise<number | null>;
  readonly ended: Promise<number | null>;
}

export interface DividedAgentOptions {
  readonly data: string;
  readonly natsUrl: string;
  /** Words before the program's own; Node's by default. */
  readonly runtime?: readonly [string, ...string[]];
  readonly words?: readonly string[];
  /** Descriptors that it gets as 3 and following. */
  readonly passed?: readonly number[];
  /** Called with the pid as soon as the program runs. */
  readonly onStarted?: (pid: number) => void;
}

export async function startDividedAgent(options: DividedAgentOptions): Promise<DividedAgent> {
  const { data, natsUrl, runtime = [process.execPath], words = [], passed = [] } = options;
  const [command, ...before] = runtime;
  const child = spawn(command, [
    ...before,
    MAIN,
    "agent",
    `--data=${data}`,
    `--nats=${natsUrl}`,
    "--agent-listen=127.0.0.1:0",
    "--agent-flush=100ms",
    ...words,
  ], { stdio: ["ignore", "pipe", "pipe", ...passed] });
  options.onStarted?.(child.pid ?? 0);
  const errors: string[] = [];
  const [, stdout, stderr] = child.stdio;
  if (stdout === null || stderr === null) {
    throw new Error("Cannot read what the agent says: no pipe");
  }
  stderr.setEncoding("utf8").on("data", (text: string) => errors.push(text));
  const ended = once(child, "exit").then(([code]: (number | null)[]) => code ?? null);
  const timer = setTimeout(() => child.kill("SIGKILL"), START_LIMIT_MS);
  const said = once(createInterface({ input: stdout }), "line");
  const [line] = await Promise.race([said, ended.then(() => [undefined])]);
  clearTimeout(timer);
  if (line === undefined) {
    throw new Error(`The agent ended with ${await ended}: ${errors.join("")}`);
  }
  const { agent, sources } = JSON.parse(line);
  const pid = child.pid ?? 0;
  return {
    pid,
    privilegedPid: childrenOf(pid).find((each) => capabilitiesOf(each, "Prm") !== 0n) ?? 0,
    agent,
    sources,
    log: () => errors.join(""),
    ended,
    stop() {
      child.kill("SIGTERM");
      return ended;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Sources that are off though this machine has all they need: whether it has a systemd to ask is its own matter. */
export function sourcesOff({ sources }: DividedAgent): DividedAgent["sources"] {
  return sources.filter(({ name, state }) => state !== "on" && name !== "services");
}

/** Pids whose parent is this one. */
function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(
      Number,
    )
  );
}

/** A set of capabilities of a process: `Prm`, `Eff`, `Inh`, `Bnd` or `Amb` (proc(5)). */
export function capabilitiesOf(pid: number | string, set: string): bigint {
  return BigInt(`0x${statusOf(pid, `Cap${set}`)}`);
}

/** A line of /proc/<pid>/status. */
export function statusOf(pid: number | string, name: string): string {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(text)?.[1] ?? "";
}
