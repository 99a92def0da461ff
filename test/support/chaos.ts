/**
 * The whole pipeline as real processes under one sequence of disasters: agent, broker, two roll-up workers and an S3
 * gateway are killed again and again (SIGKILL); once each, the broker's storage is deleted, the gateway answers 503 for
 * a while, the agent's disk is full for a while, and its clock jumps forth, back and home. A generator makes numbered
 * events in the kernel all the while. Afterwards the table is read, by its log and Parquet files alone.
 *
 * The order of disasters comes from a seed; when exactly each hits a process is up to the machine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { literalOf } from "../../src/storage/sql-text.ts";
import { type ArchiveReader, openArchiveReader } from "./archive-reader.ts";
import { type CephGateway, openCephGateway } from "./ceph-gateway.ts";
import { type FakeClock, openFakeClock } from "./fake-clock.ts";
import { openLosingProxy } from "./losing-proxy.ts";
import { type MountedFilesystem, mountTmpfs } from "./mounts.ts";
import { type NatsServer, openNatsServer } from "./nats-server.ts";
import { removePins } from "./probity-system.ts";
import { type ProgramProcess, startProgram } from "./program-process.ts";
import { openStoreAt } from "./real-stores.ts";
import { createSeededRandom, type SeededRandom } from "./seeded-random.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export interface ChaosOptions {
  /** How long disasters go on. */
  readonly seconds: number;
  readonly seed: number;
  /** Numbered events a second. */
  readonly perSecond: number;
  /** Told of every disaster. */
  readonly onDisaster?: (text: string) => void;
}

export interface ChaosReport {
  readonly seed: number;
  readonly seconds: number;
  /** Numbered events that were made. */
  readonly events: number;
  /** Of these, in the table, each number once. */
  readonly found: number;
  /** Rows too many. */
  readonly doubled: number;
  /** Events that `agent/gap` events count as lost by a full ring. */
  readonly countedLost: number;
  /** All rows of the table, and those of them whose id is not theirs alone. */
  readonly rows: number;
  readonly rowsDoubled: number;
  readonly kills: Readonly<Record<string, number>>;
  readonly disasters: readonly string[];
  /** Last words of processes that ended by themselves. */
  readonly failures: readonly string[];
  readonly tableVersions: number;
  readonly settledMs: number;
}

const GENERATOR = resolve(import.meta.dirname, "open-numbered-files.ts");
/** Time between two kills, in milliseconds. */
const KILL_EVERY_MS = [1_000, 3_000] as const;
/** The agent's disk: the spool must hold what a minute of trouble brings, in MiB. */
const DISK_MIB = 256;
/** How long the table may take to have everything, once nothing is broken any more. */
const SETTLE_MS = 120_000;
const LOOK_EVERY_MS = 2_000;
const HOUR_S = 3_600;
const BUCKET = "audit";
const BUCKET_URL = `s3://${BUCKET}/chaos`;

interface Parts {
  readonly gateway: CephGateway;
  readonly broker: NatsServer;
  readonly clock: FakeClock;
  readonly disk: MountedFilesystem;
  readonly agent: ProgramProcess;
  readonly workers: readonly [ProgramProcess, ProgramProcess];
  /** Whether the proxy answers 503 now. */
  readonly bucket: { isUnavailable: boolean };
}

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seconds, seed, perSecond, onDisaster } = options;
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openTemporaryFolder("chaos"));
  const parts = await openParts(stack, folder.path);
  const store = stack.use(await openStoreAt(BUCKET_URL, parts.gateway.endpoint));
  const archive = stack.use(await openArchiveReader(store));
  await until("the first commit", async () => await archive.query("SELECT 1") !== undefined);

  const target = join(folder.path, "numbered");
  await mkdir(target);
  const events = seconds * perSecond;
  const generated = generate({ target, events, perSecond });
  const disasters: string[] = [];
  const kills = await ruin(parts, {
    seconds,
    random: createSeededRandom(seed),
    tell(text) {
      disasters.push(text);
      onDisaster?.(text);
    },
  });
  await generated;

  const startedMs = performance.now();
  const counts = await settled(archive, { target, events });
  return {
    seed,
    seconds,
    events,
    ...counts,
    kills,
    disasters,
    failures: [parts.agent, ...parts.workers].flatMap(({ failures }) => failures),
    tableVersions: archive.version + 1,
    settledMs: Math.round(performance.now() - startedMs),
  };
}

async function openParts(stack: AsyncDisposableStack, folder: string): Promise<Parts> {
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
  const data = join(disk.path, "agent");
  stack.defer(() => removePins(data));
  const nats = `--nats=${broker.url}`;
  const agent = stack.use(
    startProgram(
      ["agent", `--data=${data}`, nats, "--agent-listen=127.0.0.1:0", "--agent-flush=100ms"],
      clock.environment,
    ),
  );
  const worker = (name: string): ProgramProcess =>
    stack.use(
      startProgram([
        ...["rollup", `--data=${join(folder, name)}`, nats, "--rollup-interval=1s"],
        ...[`--store-url=${BUCKET_URL}`, `--store-endpoint=${proxy.endpoint}`],
        "--store-path-style",
      ], gateway.environment),
    );
  const workers = [worker("worker-1"), worker("worker-2")] as const;
  return { gateway, broker, clock, disk, agent, workers, bucket };
}

async function generate(
  { target, events, perSecond }: {
    readonly target: string;
    readonly events: number;
    readonly perSecond: number;
  },
): Promise<void> {
  const args = [GENERATOR, target, "0", String(events), String(perSecond)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`The generator ended with ${code}`);
}

interface Ruin {
  readonly seconds: number;
  readonly random: SeededRandom;
  readonly tell: (text: string) => void;
}

/** Kills parts at random and lets each disaster happen once, at its share of the time. Everything works when it ends. */
async function ruin(
  parts: Parts,
  { seconds, random, tell }: Ruin,
): Promise<Readonly<Record<string, number>>> {
  const kills: Record<string, number> = {};
  const killers = killersOf(parts);
  const once = disastersOf(parts).map(([share, text, run]) => ({
    atMs: share * seconds * 1_000,
    text,
    run,
  }));
  const startedMs = performance.now();
  for (;;) {
    const passedMs = performance.now() - startedMs;
    if (passedMs > seconds * 1_000 && once.length === 0) return kills;
    const [due] = once;
    if (due !== undefined && due.atMs <= passedMs) {
      once.shift();
      tell(`${Math.round(passedMs / 1_000)} s: ${due.text}`);
      await due.run();
      continue;
    }
    const [name, kill] = random.pick(killers);
    tell(`${Math.round(passedMs / 1_000)} s: SIGKILL to ${name}`);
    await kill();
    kills[name] = (kills[name] ?? 0) + 1;
    await delay(random.between(...KILL_EVERY_MS));
  }
}

type Killer = readonly [name: string, kill: () => Promise<void>];

function killersOf({ agent, workers, broker, gateway }: Parts): readonly [Killer, ...Killer[]] {
  const again = (part: { kill(): Promise<void>; start(): Promise<void> }) => async () => {
    await part.kill();
    await part.start();
  };
  return [
    ["agent", () => agent.kill()],
    ["worker 1", () => workers[0].kill()],
    ["worker 2", () => workers[1].kill()],
    ["broker", again(broker)],
    ["gateway", again(gateway)],
  ];
}

/** What happens once, and after which share of the time. */
function disastersOf(
  { broker, bucket, disk, clock }: Parts,
): (readonly [share: number, text: string, run: () => void | Promise<void>])[] {
  const balloon = join(disk.path, "balloon");
  return [
    [0.1, "the agent's clock goes an hour forth", () => clock.moveTo(HOUR_S)],
    [0.2, "the gateway answers 503", () => void (bucket.isUnavailable = true)],
    [0.35, "the gateway works again", () => void (bucket.isUnavailable = false)],
    [0.45, "the broker's storage is deleted", async () => {
      await broker.kill();
      await broker.wipe();
      await broker.start();
    }],
    [0.5, "the agent's clock goes two hours back", () => clock.moveTo(-HOUR_S)],
    [0.6, "the agent's disk is full", () => fill(balloon)],
    [0.75, "the agent's disk has room again", () => rmSync(balloon)],
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

type Counts = Pick<ChaosReport, "found" | "doubled" | "countedLost" | "rows" | "rowsDoubled">;

/** What the table holds once it has everything, or once its time is over. */
async function settled(
  archive: ArchiveReader,
  { target, events }: { readonly target: string; readonly events: number },
): Promise<Counts> {
  const path = literalOf(`${target}/`);
  const sql = `
    WITH numbered AS (
      SELECT substr(path, length(${path}) + 1)::BIGINT AS number FROM archive
      WHERE topic = 'file/create' AND starts_with(path, ${path})
    ), gaps AS (
      SELECT (detail ->> 'count')::BIGINT AS lost FROM archive
      WHERE topic = 'agent/gap' AND (detail ->> 'class') = 'ring_full'
    )
    SELECT (SELECT count(DISTINCT number) FROM numbered) AS found,
      (SELECT count(*) FROM numbered) AS numbered,
      (SELECT coalesce(sum(lost), 0)::BIGINT FROM gaps) AS lost,
      (SELECT count(*) FROM archive) AS rows,
      (SELECT count(DISTINCT (incarnation, seq, idx)) FROM archive) AS ids`;
  const look = async (): Promise<Counts> => {
    const [row = {}] = await archive.query(sql) ?? [];
    const count = (name: string): number => Number(row[name]);
    return {
      found: count("found"),
      doubled: count("numbered") - count("found"),
      countedLost: count("lost"),
      rows: count("rows"),
      rowsDoubled: count("rows") - count("ids"),
    };
  };
  for (const untilMs = performance.now() + SETTLE_MS;;) {
    const counts = await look();
    if (counts.found >= events || performance.now() > untilMs) return counts;
    await delay(LOOK_EVERY_MS);
  }
}

async function until(what: string, isReached: () => Promise<boolean>): Promise<void> {
  for (const untilMs = performance.now() + SETTLE_MS; performance.now() < untilMs;) {
    if (await isReached()) return;
    await delay(LOOK_EVERY_MS);
  }
  throw new Error(`Cannot see ${what} within ${SETTLE_MS} ms`);
}
