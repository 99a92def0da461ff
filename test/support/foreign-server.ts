/**
 * A server in a process of its own, so that what it does is told of another process than the test's.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";

export interface ForeignServer extends AsyncDisposable {
  readonly port: number;
  readonly pid: number | undefined;
}

/** Runs the script with the address to listen at as its argument; it says its port when it listens. */
export async function openForeignServer(script: string, host: string): Promise<ForeignServer> {
  const child = spawn(process.execPath, ["-e", script, host], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text]: unknown[] = await once(child.stdout, "data");
  return {
    port: Number(String(text)),
    pid: child.pid,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill();
      await once(child, "exit");
    },
  };
}
