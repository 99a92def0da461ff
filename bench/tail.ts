/**
 * How long do `--clients` (1,000) live clients with filters of their own wait for `--rate` (5,000) events a second in
 * total, over `--seconds` (20), and what does the service take for them?
 *
 * Broker, roll-up and service are processes of their own, the clients are another one with a socket each. Every client's
 * events are compared with what passes its filter: their number and the sum of their numbers. Baseline in the same run:
 * one client, at the same rate. Times are the difference of wall clocks on one machine, from the making of an event.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { createBatchAgent, publishAll } from "../test/support/batches.ts";
import { openRollupRig, type RollupRig } from "../test/support/rollup-rig.ts";
import { printReport } from "./report.ts";
import type { ClientFigures } from "./tail-clients.ts";
import { eventOf, passes } from "./tail-filters.ts";

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "1000" },
    rate: { type: "string", default: "5000" },
    seconds: { type: "string", default: "20" },
  },
});
const MAIN = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const CLIENTS = fileURLToPath(new URL("tail-clients.ts", import.meta.url));
const TOKEN = "a-token-for-a-bench-of-enough-length";
/** How often a batch is sent. */
const BATCH_MS = 50;
/** USER_HZ, as proc(5) counts. */
const TICKS_PER_SECOND = 100;

const rate = Number(values.rate);
const seconds = Number(values.seconds);
await using rig = await openRollupRig();
const tokenFile = join(rig.folder, "token");
writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
const rollup = start("rollup", rig);
const serve = start("serve", rig, "--listen", "127.0.0.1:0", "--token-file", tokenFile);
const url = await urlOf(serve);
await delay(2_000);
let sent = 0;
const agent = createBatchAgent("bench");

const baseline = await measure(1);
const loaded = await measure(Number(values.clients));
for (const child of [serve, rollup]) {
  child.kill("SIGTERM");
  await once(child, "exit");
}
printReport("tail", {
  clients: Number(values.clients),
  rate_per_second: rate,
  seconds,
  ...loaded,
  baseline_one_client: baseline,
  p99_ratio_to_baseline: loaded.p99_ms / baseline.p99_ms,
});

function start(command: string, { folder, server }: RollupRig, ...options: string[]): ChildProcess {
  return spawn(process.execPath, [
    MAIN,
    command,
    ...["--data", join(folder, command), "--nats", server.url, "--json"],
    ...["--store-url", pathToFileURL(join(folder, "bucket")).href],
    ...options,
  ], { stdio: ["ignore", "pipe", "inherit"] });
}

async function urlOf({ stdout }: ChildProcess): Promise<string> {
  if (stdout === null) throw new Error("The service says nothing");
  for await (const line of createInterface(stdout)) return String(JSON.parse(line).url);
  throw new Error("The service ended");
}

interface Measured {
  readonly delivered: number;
  readonly lost_or_doubled: number;
  readonly gaps: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
  readonly serve_cpu_percent: number;
  readonly serve_anonymous_mb_max: number;
}

async function measure(count: number): Promise<Measured> {
  const clients = spawn(process.execPath, [CLIENTS, url, tokenFile, String(count)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface(clients.stdout)[Symbol.asyncIterator]();
  const ready = await lines.next();
  if (ready.value !== "ready") throw new Error("The clients did not begin");
  const first = sent;
  const ticks = ticksOf(serve);
  const startedMs = performance.now();
  let anonymousMax = 0;
  while (performance.now() - startedMs < seconds * 1_000) {
    const due = first + Math.floor((performance.now() - startedMs) * rate / 1_000);
    if (due > sent) {
      const timeUs = Math.round((performance.timeOrigin + performance.now()) * 1_000);
      const events = Array.from({ length: due - sent }, (_, at) => eventOf(sent + at, timeUs));
      sent = due;
      await publishAll(rig.connection, [await agent.batch(events)]);
    }
    anonymousMax = Math.max(anonymousMax, anonymousOf(serve));
    await delay(BATCH_MS);
  }
  const cpu = (ticksOf(serve) - ticks) / TICKS_PER_SECOND / seconds;
  clients.stdin.end();
  const told = await lines.next();
  const { clients: got, ...times } = JSON.parse(told.value ?? "");
  const figures: readonly ClientFigures[] = got;
  return {
    delivered: figures.reduce((total, { events }) => total + events, 0),
    lost_or_doubled: figures.reduce(
      (total, each, client) => total + wrongOf(each, client, first),
      0,
    ),
    gaps: figures.reduce((total, { gaps }) => total + gaps, 0),
    ...times,
    serve_cpu_percent: Math.round(cpu * 100),
    serve_anonymous_mb_max: Math.round(anonymousMax / 1e6),
  };
}

/** By how many events a client's differ from those that pass its filter; at least one when their numbers do. */
function wrongOf({ events, sum }: ClientFigures, client: number, first: number): number {
  let wanted = 0;
  let wantedSum = 0;
  for (let number = first; number < sent; number++) {
    if (!passes(client, number)) continue;
    wanted += 1;
    wantedSum += number;
  }
  return wantedSum === sum ? Math.abs(wanted - events) : Math.max(1, Math.abs(wanted - events));
}

function ticksOf({ pid }: ChildProcess): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // After the command, which may hold anything, the 12th and 13th field are its own user and system time.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

function anonymousOf({ pid }: ChildProcess): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Anonymous:\s+([0-9]+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}
