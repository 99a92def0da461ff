/** The applications source on real sockets of a temporary folder, and clients that speak to it. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { ApplicationSettings } from "../../src/edge-agent/sources/applications/application-settings.ts";
import {
  type ApplicationsOptions,
  type ApplicationsSource,
  openApplicationsSource,
} from "../../src/edge-agent/sources/applications/applications-source.ts";
import type { ProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export const TCP = { host: "127.0.0.1", port: 0 } as const;

/** A lookup that knows this process as `columns` and nobody else. */
export function lookupOf(columns: string): ProcessLookup {
  return {
    catchUp: () => undefined,
    actorOf: () => ({ columns, name: "", escaped: [] }),
    ancestorsOf: () => [],
    isOwn: () => false,
  };
}

export async function openApplicationRig(
  settings: ApplicationSettings = { listen: TCP },
  processes: ProcessLookup = lookupOf(""),
  limits: Pick<ApplicationsOptions, "heldBytesMax"> = {},
) {
  const folder = await openTemporaryFolder("applications");
  const said: string[] = [];
  const source = openApplicationsSource({
    settings: {
      ...settings,
      ...(settings.socket && { socket: join(folder.path, settings.socket) }),
    },
    processes,
    ...limits,
    relay: { path: join(folder.path, "kms.db"), version: "1.2.3" },
    clock: systemClock,
    log: createLog({ level: "info", write: (line) => void said.push(line) }),
  });
  const status = await source.probe();
  return {
    source,
    status,
    said,
    folder: folder.path,
    socket: join(folder.path, settings.socket ?? "none"),
    async [Symbol.asyncDispose]() {
      await source[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** The source on one Unix socket, not probed yet. */
export function openSourceAt(socket: string): ApplicationsSource {
  return openApplicationsSource({
    settings: { socket },
    processes: lookupOf(""),
    clock: systemClock,
    log: createLog({ level: "error", write: () => undefined }),
  });
}

/** Leaves a Unix socket behind, as a process does that is killed. */
export function leaveSocket(path: string): void {
  const script =
    `require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))`;
  spawnSync(process.execPath, ["-e", script, path]);
}

/** A process that listens on a Unix socket and is stopped with its queue full; ended when disposed of. */
export async function openBusyListener(path: string): Promise<AsyncDisposable> {
  const script = `require("net").createServer().listen({ path: process.argv[1], backlog: 1 },
    () => process.kill(process.pid, "SIGSTOP"))`;
  const child = spawn(process.execPath, ["-e", script, path], { stdio: "ignore" });
  const ended = once(child, "exit");
  const waiting: Socket[] = [];
  for (let refused = false; !refused;) {
    const socket = connect(path);
    waiting.push(socket);
    refused = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(false));
      socket.once("error", (error) => resolve("code" in error && error.code === "EAGAIN"));
    });
    if (!refused) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGKILL");
      await ended;
    },
  };
}

export async function connectTo(
  target: Pick<ApplicationsSource, "port"> | string,
): Promise<Socket> {
  const socket = typeof target === "string"
    ? connect({ path: target, allowHalfOpen: true })
    : connect({ port: target.port ?? 0, host: "127.0.0.1", allowHalfOpen: true });
  socket.setNoDelay(true);
  await once(socket, "connect");
  return socket;
}

/** Resolves when the other side has ended the connection, in whichever way. */
export async function endOf(socket: Socket | undefined): Promise<void> {
  if (socket === undefined) throw new Error("There is no connection");
  await new Promise<void>((resolve) => {
    socket.once("end", resolve).once("close", () => resolve()).on("error", () => resolve());
    socket.resume();
  });
}

/** A message as the sidecar's clients frame it. */
export function frame(message: string | Uint8Array): Buffer {
  const bytes = Buffer.from(message);
  const framed = Buffer.alloc(4 + bytes.length);
  framed.writeUInt32BE(bytes.length, 0);
  framed.set(bytes, 4);
  return framed;
}

/** Messages of frames that came back. */
export function unframed(bytes: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at);
    messages.push(bytes.toString("utf8", at + 4, end));
    at = end;
  }
  return messages;
}
