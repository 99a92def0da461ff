/**
 * How long from an event in the kernel to an SSE client, and to being found by `/v1/events`?
 * Runs the whole system on this machine; `--rate` opens for writing a second (default 5,000) for `--seconds` (20).
 * Baseline in the same run: the same path at 100 a second. Times are the difference of wall clocks on one machine.
 *
 * The events are real: one process makes, closes and removes a file for each, in `--files`: in memory unless told, so
 * that making them is not what is measured (on a disk it takes half a processor, and its journal). Profile: the time to
 * the broker's clock (`logged_at`: kernel, batch, spool, publish) and from there to the client (hot table, tail, SSE);
 * processor time by process in percent of one core, `machine` being all of it, so that what else ran can be seen.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient } from "../src/client/client.ts";
import {
  openProbitySystem,
  type ProbitySystem,
  type Role,
} from "../test/support/probity-system.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "5000" },
    seconds: { type: "string", default: "20" },
    runtime: { type: "string", default: "node" },
    files: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
  },
});
const LOOKUPS = 20;
const BASELINE_PER_SECOND = 100;
const ROLES: readonly Role[] = ["agent", "nats-server", "rollup", "serve"];
/** USER_HZ, as proc(5) counts. */
const TICKS_PER_SECOND = 100;

const runtime = values.runtime === "deno" ? "deno" : "node";
const folder = mkdtempSync(join(tmpdir(), "probity-latency-"));
await using system = await openProbitySystem(runtime);
await delay(3_000);

const baseline = await measureStream(system, BASELINE_PER_SECOND, 5);
const loaded = await measureStream(system, Number(values.rate), Number(values.seconds));
const found = await measureLookups(system);

printReport("latency", {
  runtime_measured: runtime,
  rate_per_second: Number(values.rate),
  seconds: Number(values.seconds),
  generator: `one process that makes, closes and removes a file for each event, in ${values.files}`,
  sse: loaded,
  sse_baseline_100_per_second: baseline,
  p99_ratio_to_baseline: loaded.p99_ms / baseline.p99_ms,
  found_by_events: found,
});
rmSync(folder, { recursive: true, force: true });

interface Quantiles {
  readonly events: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
}

interface StreamQuantiles extends Quantiles {
  readonly cpu_percent: Readonly<Record<string, number>>;
  readonly kernel_to_broker: Quantiles;
  readonly broker_to_client: Quantiles;
}

/** Latencies of all events of one generator run, seen by one SSE client. */
async function measureStream(
  system: ProbitySystem,
  perSecond: number,
  seconds: number,
): Promise<StreamQuantiles> {
  const target = mkdtempSync(join(values.files, "probity-latency-"));
  const count = perSecond * seconds;
  const end = new AbortController();
  const latencies: number[] = [];
  const toBroker: number[] = [];
  const toClient: number[] = [];
  const client = createClient({ url: system.url, token: system.token });
  const reading = (async () => {
    for await (
      const item of client.tail({ path: `${target}/*`, topic: "file/create" }, {
        signal: end.signal,
      })
    ) {
      if (item.kind !== "event") continue;
      const seenMs = performance.timeOrigin + performance.now();
      const madeMs = Date.parse(String(item.event["time"]));
      const loggedMs = Date.parse(String(item.event["logged_at"]));
      latencies.push(seenMs - madeMs);
      toBroker.push(loggedMs - madeMs);
      toClient.push(seenMs - loggedMs);
    }
  })();
  await delay(1_000);
  const generator = spawn(process.execPath, [
    resolve(import.meta.dirname, "../test/support/open-numbered-files.ts"),
    target,
    "0",
    String(count),
    String(perSecond),
  ], { stdio: "ignore" });
  const cpu = measureCpu(system, generator.pid ?? 0);
  const sampled = delay(seconds * 800).then(cpu);
  await once(generator, "exit");
  const cpu_percent = await sampled;
  for (let waits = 0; waits < 50 && latencies.length < count; waits++) await delay(200);
  end.abort();
  await reading;
  rmSync(target, { recursive: true, force: true });
  return {
    ...quantilesOf(latencies),
    cpu_percent,
    kernel_to_broker: quantilesOf(toBroker),
    broker_to_client: quantilesOf(toClient),
  };
}

/** Begins to count processor time; the function gives each process's share of one core since then. */
function measureCpu(
  system: ProbitySystem,
  generator: number,
): () => Readonly<Record<string, number>> {
  const parts: readonly (readonly [string, number])[] = [
    ...ROLES.flatMap((role) => system.pidsOf(role).map((pid) => [role, pid] as const)),
    ["generator", generator],
    ["client", process.pid],
  ];
  const read = (): number[] => [...parts.map(([, pid]) => ticksOf(pid)), machineTicks()];
  const before = read();
  const startedMs = performance.now();
  return () => {
    const seconds = (performance.now() - startedMs) / 1000;
    const names = [...parts.map(([name]) => name), "machine"];
    return Object.fromEntries(
      read().map((ticks, at) => [
        names[at],
        Math.round((ticks - (before[at] ?? 0)) * 100 / TICKS_PER_SECOND / seconds),
      ]),
    );
  };
}

function ticksOf(pid: number): number {
  // After the command, which may hold anything, the 12th and 13th field are its own user and system time.
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Time that all processors together were not idle. */
function machineTicks(): number {
  const [first = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = first.split(/ +/).slice(1)
    .map(Number);
  return user + nice + system + irq + softirq;
}

/** Time until a file just created is found by `/v1/events`. */
async function measureLookups(system: ProbitySystem): Promise<Quantiles> {
  const latencies: number[] = [];
  for (let number = 0; number < LOOKUPS; number++) {
    const path = join(folder, `lookup-${number}`);
    const startedMs = performance.now();
    closeSync(openSync(path, "w"));
    for (let isFound = false; !isFound;) {
      const answer = await system.fetch(`/v1/events?path=${encodeURIComponent(path)}&from=5m`);
      const page = await answer.json();
      isFound = page.events.length > 0;
      if (performance.now() - startedMs > 30_000) throw new Error(`Cannot find "${path}"`);
    }
    latencies.push(performance.now() - startedMs);
    await delay(100);
  }
  return quantilesOf(latencies);
}

function quantilesOf(latencies: readonly number[]): Quantiles {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) /
    10;
  return { events: sorted.length, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1) };
}
