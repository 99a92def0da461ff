/**
 * The parts that chaos strikes: a broker, an S3 gateway behind a proxy that can refuse, two agents on a shard each, two
 * workers that divide both shards and keep the table in order, and a roll-up beside them that knows no leases. And what
 * befalls them.
 */
import { closeSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type CephGateway, openCephGateway } from "./ceph-gateway.ts";
import { type FakeClock, openFakeClock } from "./fake-clock.ts";
import { openLosingProxy } from "./losing-proxy.ts";
import { type MountedFilesystem, mountTmpfs } from "./mounts.ts";
import { type NatsServer, openNatsServer } from "./nats-server.ts";
import { removePins } from "./probity-system.ts";
import { type ProgramProcess, startProgram } from "./program-process.ts";

export interface ChaosParts {
  readonly gateway: CephGateway;
  readonly broker: NatsServer;
  /** Of the first agent. */
  readonly clock: FakeClock;
  readonly disk: MountedFilesystem;
  readonly agents: readonly [ProgramProcess, ProgramProcess];
  readonly workers: readonly [ProgramProcess, ProgramProcess];
  /** A run over both shards every few seconds, whoever else serves them. */
  readonly rival: ProgramProcess;
  /** Whether the proxy answers 503 now. */
  readonly bucket: { isUnavailable: boolean };
}

export interface ChaosPartsOptions {
  readonly folder: string;
  /** How long a day is to maintenance, in milliseconds; a file's rows may leave after one of them. */
  readonly dayMs: number;
  readonly intervalMs: number;
  /** Folder for what each process says; nowhere by default. */
  readonly logs?: string | undefined;
}

const BUCKET = "audit";
export const BUCKET_URL = `s3://${BUCKET}/chaos`;
/** The topic that retention takes out. */
export const FLEETING_TOPIC = "file/delete";
const SHARDS = 2;
/** The first agent's disk: the spool must hold what a minute of trouble brings, in MiB. */
const DISK_MIB = 256;
/** Time between two runs of the rival, in milliseconds. */
const RIVAL_EVERY_MS = 12_000;
/** Longest time that the disk is full, in seconds: the kernel's ring has to hold what happens meanwhile. */
const FULL_S_MAX = 10;
/** The agent's clock goes back by so much, and later forth by so much of the true time. */
const BACK_S = -3_600;
const FORTH_S = 20;

/** Leaves all that it opened to the stack. */
export async function openChaosParts(
  stack: AsyncDisposableStack,
  options: ChaosPartsOptions,
): Promise<ChaosParts> {
  const { folder, dayMs, intervalMs, logs } = options;
  const gateway = stack.use(await openCephGateway());
  await gateway.createBucket(BUCKET);
  Object.assign(process.env, gateway.environment);
  const bucket = { isUnavailable: false };
  const proxy = stack.use(
    await openLosingProxy(gateway.endpoint, { isUnavailable: () => bucket.isUnavailable }),
  );
  const broker = stack.use(await openNatsServer());
  const clock = stack.use(openFakeClock(folder));
  const disk = stack.use(mountTmpfs({ sizeMiB: DISK_MIB }));
  const nats = `--nats=${broker.url}`;
  const program = (
    name: string,
    args: readonly string[],
    more: {
      readonly environment: Readonly<Record<string, string>>;
      readonly againAfterMs?: number;
    },
  ): ProgramProcess =>
    stack.use(
      startProgram(args, { ...more, log: logs === undefined ? undefined : join(logs, name) }),
    );
  const agent = (shard: number, data: string, environment = {}): ProgramProcess => {
    stack.defer(() => removePins(data));
    const args = ["agent", `--data=${data}`, nats, "--agent-listen=127.0.0.1:0"];
    return program(`agent-${shard}`, [...args, "--agent-flush=100ms", `--agent-shard=${shard}`], {
      environment,
    });
  };
  const agents = [
    agent(0, join(disk.path, "agent"), clock.environment),
    agent(1, join(folder, "agent")),
  ] as const;
  const config = join(folder, "probity.toml");
  writeFileSync(config, `[maintenance]\nkeep = { "${FLEETING_TOPIC}" = "1d" }\n`);
  const environment = { ...gateway.environment, PROBITY_DAY: `${dayMs}ms` };
  const rollup = (name: string, more: readonly string[] = []): readonly string[] => [
    ...["rollup", `--data=${join(folder, name)}`, nats, `--rollup-shards=${SHARDS}`],
    ...[`--store-url=${BUCKET_URL}`, `--store-endpoint=${proxy.endpoint}`, "--store-path-style"],
    ...[`--config=${config}`, `--rollup-interval=${intervalMs}ms`],
    ...["--maintenance-compact=1d", "--maintenance-grace=10d", ...more],
  ];
  const worker = (name: string): ProgramProcess => program(name, rollup(name), { environment });
  const workers = [worker("worker-1"), worker("worker-2")] as const;
  const rival = program("rival", rollup("rival", ["--once"]), {
    environment,
    againAfterMs: RIVAL_EVERY_MS,
  });
  return { gateway, broker, clock, disk, agents, workers, rival, bucket };
}

export type Killer = readonly [name: string, kill: () => Promise<void>];

/** Kills with SIGKILL; all are started again at once. */
export function killersOf(
  { agents, workers, rival, broker, gateway }: ChaosParts,
): readonly Killer[] {
  const again = (part: { kill(): Promise<void>; start(): Promise<void> }) => async () => {
    await part.kill();
    await part.start();
  };
  return [
    ["agent 0", () => agents[0].kill()],
    ["agent 1", () => agents[1].kill()],
    ["worker 1", () => workers[0].kill()],
    ["worker 2", () => workers[1].kill()],
    ["rival", () => rival.kill()],
    ["broker", again(broker)],
    ["gateway", again(gateway)],
  ];
}

/** What happens once: after which share of the time, its name, and how. */
export type Disaster = readonly [share: number, text: string, run: () => void | Promise<void>];

/** Of a run of so many seconds, in order. */
export function disastersOf(
  { broker, bucket, disk, clock }: ChaosParts,
  seconds: number,
): readonly Disaster[] {
  const balloon = join(disk.path, "balloon");
  return [
    [0.1, "the agent's clock goes an hour back", () => clock.moveTo(BACK_S)],
    [0.2, "the gateway answers 503", () => void (bucket.isUnavailable = true)],
    [0.35, "the gateway works again", () => void (bucket.isUnavailable = false)],
    [0.45, "the broker's storage is deleted", async () => {
      await broker.kill();
      await broker.wipe();
      await broker.start();
    }],
    [0.5, "the agent's clock goes an hour and more forth", () => clock.moveTo(FORTH_S)],
    [0.6, "the agent's disk is full", () => fill(balloon)],
    [
      0.6 + Math.min(0.1, FULL_S_MAX / seconds),
      "the agent's disk has room again",
      () => rmSync(balloon),
    ],
    [0.85, "the agent's clock is right again", () => clock.moveTo(0)],
  ];
}

function fill(path: string): void {
  const fd = openSync(path, "w");
  const block = new Uint8Array(1024 * 1024);
  try {
    for (let size = block.length; size >= 1;) {
      try {
        writeSync(fd, block, 0, size);
      } catch {
        size = size === 1 ? 0 : Math.ceil(size / 16); // ENOSPC: what is left is smaller
      }
    }
  } finally {
    closeSync(fd);
  }
}
