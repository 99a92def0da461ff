/**
 * A real S3 server for tests: Ceph's RADOS gateway over one monitor and one storage daemon that keeps all in memory.
 * Everything listens on 127.0.0.1 only, in a folder of its own; up in about 12 s, 200 MB of memory.
 * Each daemon is the child of a watcher that ends it when the test process goes away, however that happens.
 */
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface CephGateway extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** Variables by which the SDK's default chain finds the credentials. */
  readonly environment: Readonly<Record<string, string>>;
  /** Name of a key that SSE-KMS may use. */
  readonly kmsKey: string;
  createBucket(name: string): Promise<void>;
  /** Another user who may do nothing yet; the variables of its credentials. */
  createUser(name: string): Promise<Readonly<Record<string, string>>>;
  /** A bucket with Object Lock, and so with versions. */
  createLockedBucket(name: string): Promise<void>;
  /** Kills the HTTP side at once (SIGKILL); what is stored stays. */
  kill(): Promise<void>;
  /** Starts the HTTP side again on the same port; resolves when it answers. */
  start(): Promise<void>;
}

const PROGRAMS = ["ceph-mon", "ceph-osd", "radosgw", "ceph", "monmaptool", "radosgw-admin"];
const START_LIMIT_MS = 90_000;
const REGION = "us-east-1";
const KMS_KEY = "test-key";

/** Why no gateway can be started here; undefined when one can. */
export function missingCephGateway(): string | undefined {
  const missing = PROGRAMS.filter((name) => !existsSync(`/usr/bin/${name}`));
  if (missing.length === 0) return undefined;
  return `${missing.join(", ")} not found; apt-get install ceph-mon ceph-osd radosgw ceph-common`;
}

/** Starts the gateway; disposing ends its processes and removes its folder. */
export async function openCephGateway(): Promise<CephGateway> {
  await using started = new AsyncDisposableStack();
  const folder = started.use(await openTemporaryFolder("ceph"));
  const [monitorPort, gatewayPort] = [await freePort(), await freePort()];
  const place = { folder: folder.path, monitorPort, gatewayPort };
  const ids = { cluster: randomUUID(), osd: randomUUID() };
  const keys = { access: randomBytes(10).toString("hex"), secret: randomBytes(20).toString("hex") };
  await writeConfiguration(place, ids.cluster);

  const run = promisify(execFile);
  const conf = ["-c", join(folder.path, "ceph.conf")];
  const keyring = join(folder.path, "keyring");
  const map = join(folder.path, "monmap");
  const address = `[v2:127.0.0.1:${monitorPort}]`;
  await run("monmaptool", ["--create", "--fsid", ids.cluster, "--addv", "a", address, map]);
  await run("ceph-mon", [...conf, "--mkfs", "-i", "a", "--monmap", map, "--keyring", keyring]);
  const children: ChildProcess[] = [];
  started.defer(async () => void await Promise.all(children.map(end)));
  const daemon = (program: string, more: readonly string[]): ChildProcess => {
    const child = spawnWatched(program, [...conf, "-f", ...more]);
    children.push(child);
    return child;
  };
  daemon("ceph-mon", ["-i", "a"]);
  await run("ceph", [...conf, "--connect-timeout", "30", "osd", "new", ids.osd]);
  await run("ceph-osd", [...conf, "-i", "0", "--mkfs", "--osd-uuid", ids.osd]);
  daemon("ceph-osd", ["-i", "0"]);
  const startGateway = () => daemon("radosgw", ["-n", "client.rgw"]);
  let gateway = startGateway();
  const endpoint = `http://127.0.0.1:${gatewayPort}`;
  await answering(endpoint, join(folder.path, "rgw.log"));
  const credentials = ["--access-key", keys.access, "--secret", keys.secret];
  await run("radosgw-admin", [
    ...conf,
    ...["-n", "client.rgw", "user", "create", "--uid", "test", "--display-name", "test"],
    ...credentials,
  ]);
  const client = started.adopt(
    new S3Client({
      endpoint,
      region: REGION,
      forcePathStyle: true,
      credentials: { accessKeyId: keys.access, secretAccessKey: keys.secret },
    }),
    (each) => each.destroy(),
  );
  const owned = started.move();
  return {
    endpoint,
    region: REGION,
    accessKey: keys.access,
    secretKey: keys.secret,
    environment: { AWS_ACCESS_KEY_ID: keys.access, AWS_SECRET_ACCESS_KEY: keys.secret },
    kmsKey: KMS_KEY,
    createBucket: async (name) => {
      await client.send(new CreateBucketCommand({ Bucket: name }));
    },
    createUser: async (name) => {
      const access = randomBytes(10).toString("hex");
      const secret = randomBytes(20).toString("hex");
      await run("radosgw-admin", [
        ...conf,
        ...["-n", "client.rgw", "user", "create", "--uid", name, "--display-name", name],
        ...["--access-key", access, "--secret", secret],
      ]);
      return { AWS_ACCESS_KEY_ID: access, AWS_SECRET_ACCESS_KEY: secret };
    },
    createLockedBucket: async (name) => {
      const bucket = { Bucket: name, ObjectLockEnabledForBucket: true };
      await client.send(new CreateBucketCommand(bucket));
    },
    kill: () => end(gateway),
    async start() {
      gateway = startGateway();
      await answering(endpoint, join(folder.path, "rgw.log"));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Place {
  readonly folder: string;
  readonly monitorPort: number;
  readonly gatewayPort: number;
}

async function writeConfiguration(place: Place, cluster: string): Promise<void> {
  const { folder, monitorPort, gatewayPort } = place;
  for (const name of ["mon", "osd", "rgw", "run"]) await mkdir(join(folder, name));
  const caps = (lines: Readonly<Record<string, string>>) =>
    Object.entries(lines).map(([daemon, cap]) => `\tcaps ${daemon} = "${cap}"`);
  const keyring = [
    ["[mon.]", `\tkey = ${newKey()}`, ...caps({ mon: "allow *" })],
    ["[client.admin]", `\tkey = ${newKey()}`, ...caps({ mon: "allow *", osd: "allow *" })],
    ["[client.rgw]", `\tkey = ${newKey()}`, ...caps({ mon: "allow *", osd: "allow *" })],
    ["[osd.0]", `\tkey = ${newKey()}`, ...caps({ mon: "allow profile osd", osd: "allow *" })],
  ];
  await writeFile(join(folder, "keyring"), `${keyring.flat().join("\n")}\n`, { mode: 0o600 });
  const settings = {
    fsid: cluster,
    mon_host: `[v2:127.0.0.1:${monitorPort}]`,
    public_addr: "127.0.0.1",
    cluster_addr: "127.0.0.1",
    keyring: `${folder}/keyring`,
    run_dir: `${folder}/run`,
    admin_socket: `${folder}/run/$name.$pid.asok`,
    log_file: `${folder}/$type.log`,
    log_to_syslog: false,
    mon_cluster_log_file: `${folder}/cluster.log`,
    mon_data: `${folder}/mon`,
    osd_data: `${folder}/osd`,
    rgw_data: `${folder}/rgw`,
    osd_objectstore: "memstore",
    memstore_device_bytes: 2_147_483_648,
    osd_pool_default_size: 1,
    osd_pool_default_min_size: 1,
    osd_pool_default_pg_num: 1,
    osd_pool_default_pg_autoscale_mode: "off",
    osd_crush_chooseleaf_type: 0,
    mon_allow_pool_size_one: true,
    mon_max_pg_per_osd: 1000,
    mon_data_avail_crit: 1,
  };
  const gateway = {
    rgw_frontends: `beast endpoint=127.0.0.1:${gatewayPort} tcp_nodelay=1`,
    log_file: `${folder}/rgw.log`,
    rgw_crypt_require_ssl: false,
    rgw_crypt_s3_kms_backend: "testing",
    rgw_crypt_s3_kms_encryption_keys: `${KMS_KEY}=${randomBytes(32).toString("base64")}`,
  };
  const lines = (section: Readonly<Record<string, unknown>>) =>
    Object.entries(section).map(([name, value]) => `${name} = ${String(value)}`);
  const text = ["[global]", ...lines(settings), "[client.rgw]", ...lines(gateway), ""].join("\n");
  await writeFile(join(folder, "ceph.conf"), text);
}

/** A cephx key: type 1, time of making, and 16 secret bytes. */
function newKey(): string {
  const head = Buffer.alloc(12);
  head.writeUInt16LE(1, 0);
  head.writeUInt32LE(Math.floor(Date.now() / 1000), 2);
  head.writeUInt16LE(16, 10);
  return Buffer.concat([head, randomBytes(16)]).toString("base64");
}

/** Until the gateway answers anything at all. */
async function answering(endpoint: string, logPath: string): Promise<void> {
  for (const untilMs = Date.now() + START_LIMIT_MS; Date.now() < untilMs;) {
    try {
      const answer = await fetch(endpoint);
      await answer.body?.cancel();
      return;
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw cause;
      await delay(100);
    }
  }
  const log = await readFile(logPath, "utf8");
  throw new Error(`Cannot start radosgw within ${START_LIMIT_MS} ms: ${log.slice(-2_000)}`);
}

/**
 * Runs a daemon below a shell that reads from us: when this process ends, by whatever signal, the shell sees the end of
 * its input and ends the daemon.
 */
function spawnWatched(program: string, args: readonly string[]): ChildProcess {
  const script = '"$@" </dev/null & read -r line; kill -KILL $!; wait';
  return spawn("sh", ["-c", script, "sh", program, ...args], {
    stdio: ["pipe", "ignore", "ignore"],
  });
}

async function end(watcher: ChildProcess): Promise<void> {
  if (watcher.exitCode !== null || watcher.signalCode !== null) return;
  const gone = once(watcher, "exit");
  watcher.stdin?.end();
  await gone;
}
