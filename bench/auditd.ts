/**
 * What does watching cost those who are watched, and who loses what, beside auditd with equal rules?
 *
 * In one run, each best of {@link ROUNDS}: nothing watches, the agent watches all it can, nothing, auditd records opens
 * for writing, execs and connects. `added_ns` is an operation's time above the nearest time without a watcher; the ratio
 * is the agent's to auditd's (aim 0.1). Then a flood of `--flood` opens a second for `--seconds`: what the agent kept,
 * what it says it lost, and whether the sums close; the same to auditd, which slows the caller down instead.
 * Needs root, a C compiler and Debian's auditd, which must not be running.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { removePinFolder } from "../src/edge-agent/pinned-programs.ts";
import { type AgentProcess, startAgent } from "../test/support/agent-process.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    flood: { type: "string", default: "100000" },
    seconds: { type: "string", default: "60" },
    idle: { type: "string", default: "30" },
    scale: { type: "string", default: "1" },
  },
});
const ROUNDS = 5;
/** How often each is done in a round; `--scale` makes it less. */
const KINDS = { open: 100_000, exec: 800, connect: 10_000, write: 500_000, getppid: 1_000_000 };
type Kind = keyof typeof KINDS;
const KIND_NAMES: readonly Kind[] = ["open", "exec", "connect", "write", "getppid"];
/** USER_HZ, as proc(5) counts. */
const TICKS_PER_SECOND = 100;
const STEADY_PER_SECOND = 1_000;
const PINS = `/sys/fs/bpf/probity-bench-${process.pid}`;

const folder = mkdtempSync(join(tmpdir(), "probity-auditd-"));
const storm = join(folder, "storm");
execFileSync("cc", ["-O2", "-o", storm, fileURLToPath(new URL("storm.c", import.meta.url))]);
const target = join(folder, "target");
writeFileSync(target, "");

const before = await measureAll();
const agent = await openAgent();
const watched = await measureAll();
const steady = await measureSteady(agent);
const flood = await measureFlood(agent);
const memory = memoryOf(agent.pid);
await agent.stop();
removePinFolder(PINS);
const between = await measureAll();
const { audited, auditFlood } = await measureAuditd();

const added = Object.fromEntries(KIND_NAMES.map((kind) => {
  const ours = watched[kind] - Math.min(before[kind], between[kind]);
  const theirs = audited[kind] - between[kind];
  return [kind, {
    alone_ns: Math.round(Math.min(before[kind], between[kind])),
    alone_spread_ns: Math.round(Math.abs(before[kind] - between[kind])),
    agent_added_ns: Math.round(ours),
    auditd_added_ns: Math.round(theirs),
    ratio: Number((ours / theirs).toFixed(4)),
  }];
}));
printReport("auditd", { rounds: ROUNDS, added, steady, flood, auditd_flood: auditFlood, memory });
rmSync(folder, { recursive: true, force: true });

/** Nanoseconds of one operation, the best of several runs. */
async function measureAll(): Promise<Readonly<Record<Kind, number>>> {
  const best: Record<Kind, number> = {
    open: Infinity,
    exec: Infinity,
    connect: Infinity,
    write: Infinity,
    getppid: Infinity,
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const kind of KIND_NAMES) {
      const { ns, count } = await run(kind, Math.round(KINDS[kind] * Number(values.scale)));
      best[kind] = Math.min(best[kind], ns / count);
    }
  }
  return best;
}

async function run(
  kind: Kind,
  count: number,
  perSecond?: number,
): Promise<{ readonly ns: number; readonly count: number }> {
  const words = [
    kind,
    String(count),
    target,
    ...(perSecond === undefined ? [] : [String(perSecond)]),
  ];
  const child = spawn(storm, words, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close");
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => text += part);
  await ended;
  const [ns = NaN, done = NaN] = text.split(" ").map(Number);
  return { ns, count: done };
}

async function openAgent(): Promise<AgentProcess> {
  const started = await startAgent({
    settings: {
      dataDirectory: join(folder, "agent"),
      pinDirectory: PINS,
      listen: { host: "127.0.0.1", port: 0 },
      // Nobody answers there: what is measured ends at the spool.
      nats: { url: "nats://127.0.0.1:9" },
    },
  });
  await delay(2_000);
  return started;
}

/** Figures of the agent by name and labels. */
async function metricsOf({ status }: AgentProcess): Promise<ReadonlyMap<string, number>> {
  const { host = "", port = 0 } = status.listen ?? {};
  const text = await (await fetch(`http://${host}:${port}/metrics`)).text();
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, name, value] = /^(probity_[^ ]+) ([0-9.e+]+)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, Number(value)] as const];
    }),
  );
}

function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Megabytes by kind; rings are mapped twice, and are shared memory. */
function memoryOf(pid: number): Readonly<Record<string, number>> {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string): number =>
    Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024);
  return { anonymous_mb: of("RssAnon"), file_mb: of("RssFile"), shared_mb: of("RssShmem") };
}

async function measureSteady(agent: AgentProcess): Promise<Readonly<Record<string, number>>> {
  const seconds = Number(values.idle);
  const from = processorSeconds(agent.pid);
  await run("open", seconds * STEADY_PER_SECOND, STEADY_PER_SECOND);
  const used = processorSeconds(agent.pid) - from;
  return { per_second: STEADY_PER_SECOND, cpu_percent_of_a_core: (used / seconds) * 100 };
}

async function measureFlood(agent: AgentProcess): Promise<Readonly<Record<string, unknown>>> {
  const [rate, seconds] = [Number(values.flood), Number(values.seconds)];
  const first = await metricsOf(agent);
  const from = processorSeconds(agent.pid);
  const { ns, count } = await run("open", rate * seconds, rate);
  await delay(5_000);
  const last = await metricsOf(agent);
  const rise = (outcome: string): number => {
    let sum = 0;
    for (const [name, value] of last) {
      if (
        !name.startsWith("probity_agent_source_events_total") || !name.includes('source="file"')
      ) continue;
      if (name.includes(`outcome="${outcome}"`)) sum += value - (first.get(name) ?? 0);
    }
    return sum;
  };
  const outcomes = Object.fromEntries(
    ["submitted", "ring_full", "filtered", "throttled", "read_fault"].map((
      name,
    ) => [name, rise(name)]),
  );
  const told = Object.values(outcomes).reduce((sum, value) => sum + value, 0);
  return {
    asked_per_second: rate,
    made: count,
    made_per_second: Math.round(count / (ns / 1e9)),
    outcomes,
    unaccounted: Math.max(0, count - told),
    agent_cpu_seconds: processorSeconds(agent.pid) - from,
  };
}

async function measureAuditd() {
  const config = readFileSync("/etc/audit/auditd.conf", "utf8")
    .replace(/^log_file.*/m, `log_file = ${join(folder, "audit.log")}`)
    .replace(/^max_log_file_action.*/m, "max_log_file_action = IGNORE")
    .replace(/^(admin_|)space_left_action.*/gm, "$1space_left_action = IGNORE");
  writeFileSync(join(folder, "auditd.conf"), config, { mode: 0o640 });
  chmodSync(folder, 0o750);
  const daemon = spawn("auditd", ["-n", "-s", "enable", "-c", folder], { stdio: "ignore" });
  try {
    await delay(1_500);
    const auditctl = (...words: string[]): string =>
      execFileSync("auditctl", words, { encoding: "utf8" });
    auditctl("-b", "8192");
    auditctl("-a", "always,exit", "-F", "arch=b64", "-S", "openat", "-F", "a2&3", "-k", "bench");
    auditctl("-a", "always,exit", "-F", "arch=b64", "-S", "execve", "-S", "connect", "-k", "bench");
    const lost = (): number => Number(/^lost (\d+)/m.exec(auditctl("-s"))?.[1]);
    const audited = await measureAll();
    const lostBefore = lost();
    const seconds = Math.min(10, Number(values.seconds));
    const rate = Number(values.flood);
    const { ns, count } = await run("open", Math.round(rate * seconds / 5), rate);
    return {
      audited,
      auditFlood: {
        asked_per_second: rate,
        made_per_second: Math.round(count / (ns / 1e9)),
        lost: lost() - lostBefore,
      },
    };
  } finally {
    execFileSync("auditctl", ["-D"], { stdio: "ignore" });
    execFileSync("auditctl", ["-e", "0"], { stdio: "ignore" });
    daemon.kill("SIGTERM");
    await once(daemon, "close");
  }
}
