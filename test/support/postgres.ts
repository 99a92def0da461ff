/** A real PostgreSQL 15 for tests: a cluster of its own in a temporary folder, on a free port of loopback. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, chown, copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { Client } from "pg";
import type { TlsPaths } from "../../src/cli/tls-files.ts";
import { freePort } from "./free-port.ts";
import { requireCapability } from "./require.ts";

const BIN = "/usr/lib/postgresql/15/bin";
/** Account of Debian's package: the server refuses to run as root. */
const ACCOUNT = "postgres";
const START_LIMIT_MS = 30_000;
const run = promisify(execFile);

export interface PostgresServer extends AsyncDisposable {
  /** Without the password. */
  readonly url: string;
  readonly passwordFile: string;
  readonly password: string;
  query(sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

export function canRunPostgres(): boolean {
  const isFound = existsSync(join(BIN, "initdb"));
  return requireCapability("postgres", isFound, "no PostgreSQL 15; apt-get install postgresql-15");
}

/** With `tls` it takes both; who comes by TLS as `shown` has to show a certificate of `clientCa` with that name. */
export interface PostgresOptions {
  readonly tls?: TlsPaths & { readonly clientCa: string };
}

export const SHOWN = "shown";

export async function openPostgres({ tls }: PostgresOptions = {}): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), "probity-postgres-"));
  const passwordFile = join(folder, "password");
  const port = await freePort();
  const password = "a password of tests";
  await writeFile(passwordFile, password, { mode: 0o600 });
  const account = process.getuid?.() === 0 ? await idsOf(ACCOUNT) : {};
  if (account.uid !== undefined && account.gid !== undefined) {
    await chmod(folder, 0o755);
    await chown(folder, account.uid, account.gid);
    await chown(passwordFile, account.uid, account.gid);
  }
  const data = join(folder, "data");
  const init = ["-D", data, "-U", "probity", "-A", "scram-sha-256", `--pwfile=${passwordFile}`];
  await run(join(BIN, "initdb"), [...init, "--no-sync", "-E", "UTF8", "--locale=C"], {
    ...account,
    cwd: folder,
  });
  const settings = ["listen_addresses=127.0.0.1", `unix_socket_directories=${folder}`];
  if (tls !== undefined) {
    for (const [name, path] of Object.entries(tls)) {
      const own = join(folder, name);
      await copyFile(path, own);
      await chmod(own, 0o600);
      if (account.uid !== undefined && account.gid !== undefined) {
        await chown(own, account.uid, account.gid);
      }
    }
    const hba = join(data, "pg_hba.conf");
    const rest = await readFile(hba, "utf8");
    await writeFile(hba, `hostssl all ${SHOWN} 127.0.0.1/32 cert\n${rest}`);
    settings.push(
      ...["ssl=on", `ssl_cert_file=${join(folder, "cert")}`],
      ...[`ssl_key_file=${join(folder, "key")}`, `ssl_ca_file=${join(folder, "clientCa")}`],
    );
  }
  const child = spawn(
    join(BIN, "postgres"),
    ["-D", data, "-p", String(port), ...settings.flatMap((each) => ["-c", each])],
    { ...account, cwd: folder, stdio: "ignore" },
  );
  const gone = once(child, "exit");
  const place = { host: "127.0.0.1", port, user: "probity", password, database: "postgres" };
  const query = async (sql: string) => {
    const client = new Client(place);
    try {
      await client.connect();
      return (await client.query(sql)).rows;
    } finally {
      await client.end();
    }
  };
  const end = async (): Promise<void> => {
    child.kill("SIGQUIT");
    await gone;
    await rm(folder, { recursive: true, force: true });
  };
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    try {
      await query("SELECT 1");
      break;
    } catch (error) {
      if (performance.now() < deadline && child.exitCode === null) await delay(100);
      else {
        await end();
        throw error;
      }
    }
  }
  return {
    url: `postgres://probity@127.0.0.1:${port}/postgres`,
    ...{ passwordFile, password, query },
    [Symbol.asyncDispose]: end,
  };
}

async function idsOf(name: string): Promise<{ readonly uid?: number; readonly gid?: number }> {
  const [uid, gid] = await Promise.all(["-u", "-g"].map((what) => run("id", [what, name])));
  return { uid: Number(uid?.stdout), gid: Number(gid?.stdout) };
}
