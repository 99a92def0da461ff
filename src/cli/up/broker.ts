/**
 * The broker as a child of `up`: a nats-server on loopback with its store in the data folder and fresh keys at every
 * start. It keeps its port over restarts, so that clients find it again.
 *
 * Invariant: two brokers never use one store: one left over from a killed `up` ends with its parent's death, and a new
 * one waits for that.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { systemClock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { createNatsKey } from "../../runtime/nats.ts";
import { retry } from "../../runtime/retry.ts";
import { timeLimit } from "../../runtime/time-limit.ts";
import { CommandError, EXIT } from "../exit.ts";
import type { Account } from "./account.ts";
import { brokerConfigText, type BrokerUser } from "./broker-config.ts";
import { permissionsOf } from "./broker-permissions.ts";
import {
  type DataFolder,
  ensureSpool,
  readNote,
  ROLES,
  writeNote,
  writeSecret,
} from "./data-folder.ts";
import { supervise, type Supervised } from "./supervisor.ts";

export interface OpenBrokerOptions {
  readonly folder: DataFolder;
  readonly account: Account | undefined;
  /** Names of the log's shards. */
  readonly shards: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface Broker extends AsyncDisposable {
  readonly url: string;
  readonly process: Supervised<void>;
}

/** Debian puts the server where the search path of ordinary users does not look. */
const MORE_FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];
/** How long an earlier broker on this store may take to end, in milliseconds. */
const EARLIER_LIMIT_MS = 20_000;
const GREETING_LIMIT_MS = 2_000;

/** Path of nats-server, or undefined when there is none. */
export function findNatsServer(
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const folders = [...(environment["PATH"] ?? "").split(":"), ...MORE_FOLDERS];
  return folders.filter((folder) => folder !== "").map((folder) => join(folder, "nats-server"))
    .find((path) => existsSync(path));
}

/** Starts a broker and resolves once it answers. */
export async function openBroker(options: OpenBrokerOptions): Promise<Broker> {
  const { folder, account, shards, environment, log, signal } = options;
  const command = findNatsServer(environment);
  if (command === undefined) {
    const remedy = "install it (apt-get install nats-server) or name a broker with --nats";
    throw new CommandError(
      EXIT.failed,
      `Cannot start a broker: there is no nats-server; ${remedy}`,
    );
  }
  const pidFile = join(folder.broker.run, "nats.pid");
  await waitForEarlier({ pidFile, config: folder.broker.config, signal });
  const serverName = `probity-${randomBytes(6).toString("hex")}`;
  const port = await choosePort(readNote(folder.broker.url));
  const users = await Promise.all(ROLES.map(async (role): Promise<BrokerUser> => {
    // Imports are run by whoever runs this.
    const owner = role === "import" ? undefined : account;
    const agent = await ensureSpool(folder, { role, owner });
    const { publicKey, seed } = createNatsKey();
    writeSecret(folder.broker.credentials(role), seed, owner);
    return { role, publicKey, ...permissionsOf(role, { shards, agent }) };
  }));
  const { store } = folder.broker;
  const logFile = join(folder.broker.run, "nats.log");
  const text = brokerConfigText({ serverName, port, store, logFile, pidFile, users });
  writeSecret(folder.broker.config, text, account);
  const url = `nats://127.0.0.1:${port}`;
  writeNote(folder.broker.url, `${url}\n`);
  const broker = supervise<void>({
    name: "broker",
    plan: () => ({
      // The server reads no standard input, so the kernel tells it when we die.
      command: "setpriv",
      words: ["--pdeathsig", "TERM", command, "-c", folder.broker.config],
      environment,
      account,
    }),
    whenReady: (_, gone) => waitForGreeting({ port, serverName, signal: gone }),
    log,
  });
  try {
    await broker.ready;
  } catch (cause) {
    await broker[Symbol.asyncDispose]();
    throw new CommandError(EXIT.failed, `Cannot start a broker: see ${logFile}`, { cause });
  }
  return { url, process: broker, [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose]() };
}

/** A broker whose `up` was killed is being told to end by the kernel: waits until it has. */
async function waitForEarlier(
  { pidFile, config, signal }: { pidFile: string; config: string; signal: AbortSignal },
): Promise<void> {
  const pid = Number(readNote(pidFile));
  const deadlineMs = performance.now() + EARLIER_LIMIT_MS;
  while (isBroker(pid, config)) {
    if (performance.now() > deadlineMs) {
      const state = `process ${pid} still runs one on this data folder`;
      throw new CommandError(EXIT.failed, `Cannot start a broker: ${state}`);
    }
    await systemClock.sleep(50, signal);
  }
}

/** Process ids are used again: only the command line tells. It is read by a program, since Deno keeps /proc back. */
function isBroker(pid: number, config: string): boolean {
  if (!(pid > 1)) return false;
  const { stdout } = spawnSync("cat", [`/proc/${pid}/cmdline`], { encoding: "utf8" });
  return stdout?.split("\0").includes(config) ?? false;
}

/** The port of the last time if it is free, else any free one. */
async function choosePort(earlierUrl: string | undefined): Promise<number> {
  const earlier = Number(earlierUrl?.split(":").at(-1));
  if (earlier > 0) {
    const port = await tryPort(earlier);
    if (port !== undefined) return port;
  }
  const port = await tryPort(0);
  if (port === undefined) throw new Error("Cannot find a free port on 127.0.0.1: none is left");
  return port;
}

async function tryPort(wanted: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(wanted, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    return typeof address === "object" && address !== null ? address.port : undefined;
  } catch {
    return undefined; // taken
  } finally {
    server.close();
  }
}

/** Resolves once our own broker greets, with JetStream switched on. */
async function waitForGreeting(
  { port, serverName, signal }: { port: number; serverName: string; signal: AbortSignal },
): Promise<void> {
  await retry(async () => {
    const socket = connect(port, "127.0.0.1");
    try {
      const limit = AbortSignal.any([signal, timeLimit(GREETING_LIMIT_MS)]);
      const [greeting] = await once(socket, "data", { signal: limit });
      const isOurs = String(greeting).includes(`"${serverName}"`);
      if (isOurs && String(greeting).includes('"jetstream":true')) return;
      throw new Error(`Cannot use port ${port}: ${isOurs ? "JetStream is off" : "another server"}`);
    } finally {
      socket.destroy();
    }
  }, { clock: systemClock, signal, backoff: { firstMs: 20, maximumMs: 200 } });
}
