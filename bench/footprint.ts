/**
 * What does the agent itself take: processor time while nothing is done and at `--rate` events a second, and memory over
 * `--seconds` of mixed load with `--files` watched files?
 *
 * Runs the agent as root starts it, divided in two, with everything on and a policy on a folder of `--files` files
 * (200,000), beside a broker and a receiver that gives watermarks. Processor time is of one core, of both processes
 * together (aim at 1,000 a second: 3 %); memory is `Anonymous` of both (aim: 120 MB), rings being no part of it (they
 * are shared memory, told apart). What is made (opens for writing, execs, connects, watched files written anew) is
 * looked for in the log. Baselines in the same run: the same load without an agent, and a runtime that does nothing.
 * Every `--sample` seconds a line on standard error says how far it is. Needs root, nats-server and a C compiler.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { PAYLOAD_JSON_BYTES_MAX } from "../src/event/wire.ts";
import { createLog } from "../src/runtime/log.ts";
import { connectNats } from "../src/runtime/nats.ts";
import { decompressFrame } from "../src/runtime/zstd.ts";
import { openNatsServer } from "../test/support/nats-server.ts";
import { type DividedAgent, startDividedAgent } from "../test/support/privileged-agent.ts";
import { removePins } from "../test/support/probity-system.ts";
import { createRollUpStandIn } from "../test/support/roll-up-stand-in.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "200000" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "120" },
    idle: { type: "string", default: "30" },
    sample: { type: "string", default: "10" },
    flush: { type: "string", default: "1s" },
    folder: { type: "string", default: tmpdir() },
    runtime: { type: "string", default: process.execPath },
  },
});
const FILES_PER_FOLDER = 1_000;
/** What the generator does in a round, and how many events that makes: three of an exec, four of a connection. */
const ROUND = { exec: 5, connect: 15, change: 1, open: 229 } as const;
const ROUND_OPERATIONS = 250;
const ROUND_EVENTS = 308;
/** How long the agent may take to look at every file once. */
const SCAN_LIMIT_MS = 900_000;
const BASELINE_SECONDS = 10;
/** How often the log is read and watermarks are given. */
const RECEIVE_MS = 500;
/** USER_HZ, as proc(5) counts. */
const TICKS_PER_SECOND = 100;

const [runtime = "", ...runtimeWords] = values.runtime.split(" ");
type Made = Record<keyof typeof ROUND, number>;

const folder = mkdtempSync(join(values.folder, "probity-footprint-"));
chmodSync(folder, 0o755);
const watched = join(folder, "watched");
makeFiles(Number(values.files));
const storm = join(folder, "storm");
execFileSync("cc", ["-O2", "-o", storm, fileURLToPath(new URL("storm.c", import.meta.url))]);
const target = join(folder, "target");
writeFileSync(target, "");
const data = join(folder, "data");
const config = join(folder, "probity.toml");
writeFileSync(config, `[[files]]\npaths = ["${watched}/**"]\nkind = "content-diff"\n`);

try {
  const alone = await run(Math.min(BASELINE_SECONDS, Number(values.seconds)));
  const bare_runtime_mb = await bareRuntime();
  await using nats = await openNatsServer();
  await using received = await openReceived(nats.url);
  const startedMs = performance.now();
  await using agent = await startDividedAgent({
    data,
    natsUrl: nats.url,
    runtime: [runtime, ...runtimeWords],
    words: ["--config", config, `--agent-flush=${values.flush}`],
  });
  const pids = [agent.pid, agent.privilegedPid];
  await untilCompared(join(data, "agent.db"));
  const scan_seconds = rounded((performance.now() - startedMs) / 1000);
  const scan_cpu_seconds = rounded(processorSeconds(pids));
  const after_scan = memoryOf(agent);
  const idle = await measureIdle(agent, received);
  const loaded = await measureLoad(agent, received);
  printReport("footprint", {
    files: Number(values.files),
    asked_per_second: Number(values.rate),
    scan_seconds,
    scan_cpu_seconds,
    after_scan,
    idle,
    loaded,
    alone: { nanoseconds_per_operation: rounded(alone.ns / alone.count) },
    bare_runtime_mb,
  });
} finally {
  removePins(data);
  rmSync(folder, { recursive: true, force: true });
}

function makeFiles(count: number): void {
  for (let number = 0; number < count; number += 1) {
    const parent = join(watched, String(Math.floor(number / FILES_PER_FOLDER)));
    if (number % FILES_PER_FOLDER === 0) mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, `file-${number}`), `line of file ${number}\n`);
  }
}

/** So many seconds of the load. */
async function run(seconds: number): Promise<{ readonly ns: number; readonly count: number }> {
  const perSecond = Math.round(Number(values.rate) * ROUND_OPERATIONS / ROUND_EVENTS);
  const rounds = Math.round(perSecond * seconds / ROUND_OPERATIONS);
  const words = ["mixed", String(rounds * ROUND_OPERATIONS), target, String(perSecond), watched];
  const child = spawn(storm, [...words, values.files], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close");
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => text += part);
  await ended;
  const [ns = NaN, count = NaN] = text.split(" ").map(Number);
  return { ns, count };
}

/** What the log says: lines in all, and those of the load. */
interface Received extends AsyncDisposable {
  readonly lines: () => number;
  readonly found: Readonly<Made>;
  readonly gaps: readonly string[];
}

async function openReceived(url: string): Promise<Received> {
  const log = createLog({ level: "error" });
  const connection = await connectNats({ url, name: "footprint", log });
  const rollUp = await createRollUpStandIn(connection, "0");
  const stop = new AbortController();
  const found: Made = { exec: 0, connect: 0, change: 0, open: 0 };
  const gaps: string[] = [];
  let [lines, taken] = [0, 0];
  const count = (line: string): void => {
    lines += 1;
    if (line.includes('"topic":"agent/gap"')) gaps.push(line);
    else if (line.includes('"topic":"file/change"') && line.includes(watched)) found.change += 1;
    else if (!line.includes(storm)) return;
    else if (line.includes('"topic":"network/connect"')) found.connect += 1;
    else if (line.includes('"topic":"process/exec"')) found.exec += 1;
    else if (line.includes('"topic":"file/write"') && line.includes(`"${target}"`)) found.open += 1;
  };
  const reading = (async () => {
    while (!stop.signal.aborted) {
      await rollUp.round({ isPurging: true });
      for (; taken < rollUp.accepted.length; taken += 1) {
        const { payload } = rollUp.accepted[taken] ?? {};
        if (payload === undefined || payload.length === 0) continue;
        const json = Buffer.from(await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX));
        json.toString().trimEnd().split("\n").forEach(count);
      }
      await delay(RECEIVE_MS);
    }
  })();
  return {
    lines: () => lines,
    found,
    gaps,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await reading;
      await connection[Symbol.asyncDispose]();
    },
  };
}

/** Waits until the agent has looked at every file once: then it writes down by which policies. */
async function untilCompared(path: string): Promise<void> {
  const endMs = performance.now() + SCAN_LIMIT_MS;
  for (let isCompared = false; !isCompared && performance.now() < endMs;) {
    await delay(500);
    const database = new DatabaseSync(path, { readOnly: true, timeout: 1_000 });
    const setting = database.prepare("SELECT 1 FROM setting WHERE name = 'policies'");
    isCompared = setting.get() !== undefined;
    database.close();
  }
  await delay(3_000);
}

async function measureIdle(agent: DividedAgent, received: Received) {
  const seconds = Number(values.idle);
  const pids = [agent.pid, agent.privilegedPid];
  const [cpu, lines] = [processorSeconds(pids), received.lines()];
  await delay(seconds * 1000);
  return {
    cpu_percent_of_a_core: rounded((processorSeconds(pids) - cpu) / seconds * 100),
    events_per_second: rounded((received.lines() - lines) / seconds),
    memory: memoryOf(agent),
  };
}

async function measureLoad(agent: DividedAgent, received: Received) {
  const pids = [agent.pid, agent.privilegedPid];
  const sampleSeconds = Number(values.sample);
  const samples: Readonly<Record<string, number>>[] = [];
  const found = { ...received.found };
  const [firstCpu, firstLines] = [processorSeconds(pids), received.lines()];
  const startedMs = performance.now();
  let [cpu, lines, atMs] = [firstCpu, firstLines, startedMs];
  const load = run(Number(values.seconds));
  const ended = load.then(() => "ended" as const);
  const rest = new AbortController();
  while (await Promise.race([ended, delay(sampleSeconds * 1000, undefined, rest)]) !== "ended") {
    const now = [processorSeconds(pids), received.lines(), performance.now()] as const;
    const seconds = (now[2] - atMs) / 1000;
    const { anonymous_mb, privileged_mb } = memoryOf(agent);
    const sample = {
      at_s: Math.round((now[2] - startedMs) / 1000),
      cpu_percent_of_a_core: rounded((now[0] - cpu) / seconds * 100),
      events_per_second: Math.round((now[1] - lines) / seconds),
      anonymous_mb: anonymous_mb + privileged_mb,
      privileged_mb,
    };
    samples.push(sample);
    process.stderr.write(`${JSON.stringify(sample)}\n`);
    [cpu, lines, atMs] = now;
  }
  rest.abort();
  const seconds = (performance.now() - startedMs) / 1000;
  const lastCpu = processorSeconds(pids);
  const { ns, count } = await load;
  await delay(5_000);
  const rounds = count / ROUND_OPERATIONS;
  const all = Object.keys(ROUND) as (keyof typeof ROUND)[];
  return {
    seconds: Math.round(seconds),
    cpu_percent_of_a_core: rounded((lastCpu - firstCpu) / seconds * 100),
    events_per_second: Math.round((received.lines() - firstLines) / (seconds + 5)),
    nanoseconds_per_operation: rounded(ns / count),
    made: Object.fromEntries(all.map((kind) => [kind, rounds * ROUND[kind]])),
    found: Object.fromEntries(all.map((kind) => [kind, received.found[kind] - found[kind]])),
    gap_events: received.gaps.length,
    gaps: received.gaps.slice(-3),
    anonymous_mb_max: Math.max(...samples.map(({ anonymous_mb }) => anonymous_mb ?? 0)),
    memory: memoryOf(agent),
    samples: thinned(samples),
  };
}

/** At most twenty of them, evenly. */
function thinned<T>(samples: readonly T[]): readonly T[] {
  const step = Math.max(1, samples.length / 20);
  return samples.filter((_, at) => Math.floor(at / step) !== Math.floor((at - 1) / step));
}

/** Of all processes together, since they began. */
function processorSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }, 0);
}

/** Anonymous memory, and of the rings what is mapped of them (twice, by one mapping each). */
function memoryOf({ pid, privilegedPid }: Pick<DividedAgent, "pid" | "privilegedPid">) {
  const smaps = readFileSync(`/proc/${pid}/smaps`, "utf8");
  let [isRing, ringKb] = [false, 0];
  for (const line of smaps.split("\n")) {
    if (/^[0-9a-f]+-/.test(line)) isRing = line.endsWith("bpf-map");
    else if (isRing && line.startsWith("Size:")) ringKb += Number(/\d+/.exec(line)?.[0]);
  }
  return {
    anonymous_mb: anonymousMb(pid),
    privileged_mb: anonymousMb(privilegedPid),
    rings_mapped_mb: Math.round(ringKb / 1024),
  };
}

function anonymousMb(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return rounded(Number(/^Anonymous:\s+(\d+)/m.exec(text)?.[1]) / 1024);
}

/** Anonymous memory of the same runtime when it only waits. */
async function bareRuntime(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  await delay(2_000);
  const anonymous = anonymousMb(child.pid ?? 0);
  child.kill();
  await once(child, "exit");
  return anonymous;
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
