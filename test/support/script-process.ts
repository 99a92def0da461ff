/** A process that runs one of the tests' own scripts and says what it does in lines of JSON. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface ScriptProcess extends AsyncDisposable {
  /** Everything it has said so far, without `ready`. */
  readonly said: readonly unknown[];
  /** Lets it work. */
  go(): void;
  /** Stops it where it is (SIGSTOP) until `resume`. */
  pause(): void;
  resume(): void;
  /** Kills it at once (SIGKILL); resolves when it is gone and all it said is known. */
  kill(): Promise<void>;
  /** Resolves when it has ended by itself; rejects with its errors when it failed. */
  ended(): Promise<void>;
}

/** Starts a script of this folder; resolves when it has said `ready`. */
export async function startScript(
  name: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<ScriptProcess> {
  const path = fileURLToPath(new URL(name, import.meta.url));
  const child = spawn(process.execPath, [path, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  const said: unknown[] = [];
  const errors: string[] = [];
  child.stderr.on("data", (chunk: Uint8Array) => errors.push(Buffer.from(chunk).toString()));
  const closed = once(child, "close");
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const value: unknown = JSON.parse(line);
      if (value === "ready") resolve();
      else said.push(value);
    });
  });
  const fail = (): never => {
    throw new Error(`${name} ended with ${child.exitCode ?? child.signalCode}: ${errors.join("")}`);
  };
  await Promise.race([ready, closed.then(fail)]);
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await closed;
  };
  return {
    said,
    go: () => void child.stdin.write("go\n"),
    pause: () => void child.kill("SIGSTOP"),
    resume: () => void child.kill("SIGCONT"),
    kill,
    async ended() {
      await closed;
      if (child.exitCode !== 0) fail();
    },
    [Symbol.asyncDispose]: kill,
  };
}
