/**
 * A real nats-server with JetStream for tests: on a free port of loopback, with its store in a temporary folder.
 * It keeps port and store over restarts, so that clients meet the same broker again after a crash.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "./free-port.ts";
import { requireCapability } from "./require.ts";

/** A user known by the public half of an nkey, and what it may do; without permissions, everything. */
export interface NatsUser {
  readonly publicKey: string;
  readonly publish?: readonly string[];
  readonly subscribe?: readonly string[];
}

export interface NatsServerOptions {
  /** Without users, anyone on loopback may do everything. */
  readonly users?: readonly NatsUser[];
  /** Limit of JetStream's files in bytes. */
  readonly storeBytesMax?: number;
}

export interface NatsServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly storeDirectory: string;
  readonly pid: number | undefined;
  /** Starts it again on the same port and store; resolves when it answers. */
  start(): Promise<void>;
  /** Kills it at once (SIGKILL); resolves when it is gone. */
  kill(): Promise<void>;
  /** Ends it in order; resolves when it is gone. */
  stop(): Promise<void>;
  /** Throws away all that JetStream stored; only while it is not running. */
  wipe(): Promise<void>;
}

const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/local/sbin`;

/** Whether tests that need a broker may run: `describe.runIf(canRunNats())`. */
export function canRunNats(): boolean {
  const isFound = PATH.split(":").some((folder) => existsSync(join(folder, "nats-server")));
  return requireCapability("nats", isFound, "no nats-server; apt-get install nats-server");
}

const START_LIMIT_MS = 20_000;

/** Starts a server; disposing ends it and removes its folder. */
export async function openNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const directory = await mkdtemp(join(tmpdir(), "probity-nats-"));
  const storeDirectory = join(directory, "store");
  const port = await freePort();
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    await writeFile(
      join(directory, "server.conf"),
      configuration({ ...options, directory, storeDirectory, port }),
    );
    child = spawn("nats-server", ["-c", join(directory, "server.conf")], {
      stdio: "ignore",
      env: { ...process.env, PATH },
    });
    await answering(child, directory);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = once(running, "exit");
    running.kill(signal);
    await gone;
  };

  await start();
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return child?.pid;
    },
    storeDirectory,
    start,
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    wipe: () => rm(storeDirectory, { recursive: true, force: true }),
    async [Symbol.asyncDispose]() {
      await end("SIGKILL");
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function configuration(
  options: NatsServerOptions & {
    readonly directory: string;
    readonly storeDirectory: string;
    readonly port: number;
  },
): string {
  const { directory, storeDirectory, port, users, storeBytesMax } = options;
  const limit = storeBytesMax === undefined ? "" : `, max_file_store: ${storeBytesMax}`;
  const list = (subjects: readonly string[]) => JSON.stringify(subjects);
  const user = ({ publicKey, publish, subscribe }: NatsUser): string => {
    const rules = [
      ...(publish === undefined ? [] : [`publish: ${list(publish)}`]),
      ...(subscribe === undefined ? [] : [`subscribe: ${list(subscribe)}`]),
    ];
    const permissions = rules.length === 0 ? "" : `, permissions: { ${rules.join(", ")} }`;
    return `{ nkey: ${publicKey}${permissions} }`;
  };
  return [
    `listen: "127.0.0.1:${port}"`,
    `ports_file_dir: ${JSON.stringify(directory)}`,
    `jetstream: { store_dir: ${JSON.stringify(storeDirectory)}${limit} }`,
    ...(users === undefined ? [] : [`authorization: { users: [ ${users.map(user).join(", ")} ] }`]),
    "",
  ].join("\n");
}

/** Once it listens, and greets with JetStream switched on. */
async function answering(child: ChildProcess, directory: string): Promise<void> {
  let failure: Error | undefined;
  child.once("error", (cause) => {
    failure = new Error("Cannot start nats-server: is it installed?", { cause });
  });
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline) {
    if (child.exitCode !== null) {
      throw new Error(`Cannot start nats-server: it ended with code ${child.exitCode}`);
    }
    if (failure !== undefined) throw failure;
    const port = await announcedPort(directory, child.pid);
    if (port !== undefined && await greets(port)) return;
    await delay(10);
  }
  throw new Error(`Cannot start nats-server: no answer within ${START_LIMIT_MS} ms`);
}

/** The port that this very process wrote down; files of killed ones may lie beside it. */
async function announcedPort(
  directory: string,
  pid: number | undefined,
): Promise<number | undefined> {
  const name = (await readdir(directory)).find((each) => each.endsWith(`_${pid}.ports`));
  if (name === undefined) return undefined;
  const text = await readFile(join(directory, name), "utf8");
  const match = /nats:\/\/127\.0\.0\.1:(\d+)/.exec(text);
  return match === null ? undefined : Number(match[1]);
}

async function greets(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    const [bytes] = await once(socket, "data", { signal: AbortSignal.timeout(2_000) });
    return String(bytes).includes('"jetstream":true');
  } catch {
    return false; // not listening yet, or slower than the limit: asked again
  } finally {
    socket.destroy();
  }
}
