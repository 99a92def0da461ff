/**
 * A real RabbitMQ for tests: a node of its own in a temporary folder, on free ports of loopback, with its own daemon of
 * node names.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "amqplib";
import type { TlsPaths } from "../../src/cli/tls-files.ts";
import { freePort } from "./free-port.ts";
import { requireCapability } from "./require.ts";

const SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const START_LIMIT_MS = 60_000;

export interface RabbitMq extends AsyncDisposable {
  /** Without the password, which is `guest`. */
  readonly url: string;
  /** Where TLS is spoken, and a certificate asked for; the same as `url` without it. */
  readonly tlsUrl: string;
  readonly passwordFile: string;
}

export function canRunRabbitMq(): boolean {
  const isFound = existsSync(SERVER);
  return requireCapability("rabbitmq", isFound, "no RabbitMQ; apt-get install rabbitmq-server");
}

export interface RabbitMqOptions {
  /** Clients have to show a certificate of `clientCa`. */
  readonly tls?: TlsPaths & { readonly clientCa: string };
}

export async function openRabbitMq({ tls }: RabbitMqOptions = {}): Promise<RabbitMq> {
  const folder = await mkdtemp(join(tmpdir(), "probity-rabbitmq-"));
  const [port, distribution, namesPort] = [await freePort(), await freePort(), await freePort()];
  const tlsPort = tls === undefined ? port : await freePort();
  const passwordFile = join(folder, "password");
  await writeFile(passwordFile, "guest", { mode: 0o600 });
  await mkdir(join(folder, "home"));
  await writeFile(join(folder, "plugins"), "[].\n");
  await writeFile(join(folder, "advanced.config"), "[].\n");
  await writeFile(
    join(folder, "rabbitmq.conf"),
    [
      ...[`listeners.tcp.1 = 127.0.0.1:${port}`, "log.console = true", "log.file = false"],
      ...(tls === undefined ? [] : [
        ...[`listeners.ssl.1 = 127.0.0.1:${tlsPort}`, `ssl_options.cacertfile = ${tls.clientCa}`],
        ...[`ssl_options.certfile = ${tls.cert}`, `ssl_options.keyfile = ${tls.key}`],
        ...["ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true"],
      ]),
      "",
    ].join("\n"),
  );
  // Without one of its own, Erlang would start a daemon that stays for ever.
  const names = spawn("epmd", ["-port", String(namesPort), "-address", "127.0.0.1"], {
    stdio: "ignore",
  });
  const namesGone = once(names, "close");
  const child = spawn(SERVER, [], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: join(folder, "home"),
      LANG: "C.UTF-8",
      RABBITMQ_NODENAME: `probity${port}@localhost`,
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_MNESIA_BASE: join(folder, "mnesia"),
      RABBITMQ_LOG_BASE: join(folder, "log"),
      RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq"),
      RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, "advanced.config"),
      RABBITMQ_CONF_ENV_FILE: join(folder, "absent"),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "plugins"),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
      ERL_EPMD_ADDRESS: "127.0.0.1",
      ERL_EPMD_PORT: String(namesPort),
      RABBITMQ_SERVER_ERL_ARGS: "+S 1:1 +sbwt none",
    },
  });
  let said = "";
  child.stdout.on("data", (bytes) => (said += String(bytes)));
  child.stderr.on("data", (bytes) => (said += String(bytes)));
  const gone = once(child, "close");
  const end = async (): Promise<void> => {
    // The script waits for Erlang's own process: both are of one group.
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    await gone;
    names.kill("SIGKILL");
    await namesGone;
    await rm(folder, { recursive: true, force: true });
  };
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    try {
      const model = await connect(`amqp://guest:guest@127.0.0.1:${port}`, { timeout: 5_000 });
      await model.close();
      break;
    } catch (cause) {
      if (performance.now() < deadline && child.exitCode === null) await delay(200);
      else {
        await end();
        throw new Error(`Cannot start RabbitMQ:\n${said}`, { cause });
      }
    }
  }
  return {
    url: `amqp://guest@127.0.0.1:${port}`,
    tlsUrl: tls === undefined
      ? `amqp://guest@127.0.0.1:${port}`
      : `amqps://guest@127.0.0.1:${tlsPort}`,
    passwordFile,
    [Symbol.asyncDispose]: end,
  };
}
