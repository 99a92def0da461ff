/** Starts {@link file://./agent-script.ts} and talks with it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { AgentOptions, AgentStatus } from "../../src/edge-agent/agent.ts";

export interface AgentProcess extends AsyncDisposable {
  readonly pid: number;
  readonly status: AgentStatus;
  /** What it wrote to standard error. */
  readonly log: () => string;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves when it has ended in order, rejects when it did not. */
  stop(): Promise<void>;
}

export interface AgentProcessOptions {
  readonly settings: Omit<AgentOptions, "log" | "version" | "clock">;
  /** User and group of the process. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Words that start a script; Node's by default. */
  readonly runtime?: readonly [string, ...string[]];
  /** Variables besides the test's own. */
  readonly environment?: Readonly<Record<string, string>>;
}

const SCRIPT = fileURLToPath(new URL("agent-script.ts", import.meta.url));
const START_LIMIT_MS = 60_000;

export async function startAgent(options: AgentProcessOptions): Promise<AgentProcess> {
  const [command, ...words] = options.runtime ?? [process.execPath];
  const child = spawn(command, [...words, SCRIPT, JSON.stringify(options.settings)], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.environment },
    ...options.user,
  });
  const errors: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => errors.push(text));
  const closed = once(child, "close");
  const log = () => errors.join("");
  const said: Record<string, unknown>[] = [];
  const status = await firstStatus(child, { said, closed, log });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await closed;
  };
  return {
    pid: child.pid ?? 0,
    status,
    log,
    kill: () => end("SIGKILL"),
    async stop() {
      await end("SIGTERM");
      if (!said.some(({ stopped }) => stopped === true)) {
        throw new Error(`The agent ended with ${child.exitCode ?? child.signalCode}: ${log()}`);
      }
    },
    [Symbol.asyncDispose]: () => end("SIGKILL"),
  };
}

function firstStatus(
  child: ChildProcess,
  { said, closed, log }: {
    readonly said: Record<string, unknown>[];
    readonly closed: Promise<unknown>;
    readonly log: () => string;
  },
): Promise<AgentStatus> {
  const { stdout } = child;
  if (stdout === null) throw new Error("The agent has no output");
  const first = new Promise<AgentStatus>((resolve) => {
    createInterface({ input: stdout }).on("line", (line) => {
      const value = JSON.parse(line);
      said.push(value);
      if ("status" in value) resolve(value.status);
    });
  });
  const failed = closed.then((): never => {
    throw new Error(`The agent ended with ${child.exitCode ?? child.signalCode}: ${log()}`);
  });
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    child.kill("SIGKILL");
    late.reject(new Error(`The agent did not start in ${START_LIMIT_MS} ms: ${log()}`));
  }, START_LIMIT_MS);
  return Promise.race([first, failed, late.promise]).finally(() => clearTimeout(timer));
}
