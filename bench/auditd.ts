/**
 * What does watching cost those who are watched, and who loses what, beside auditd with equal rules?
 *
 * Time added to one operation: {@link KINDS} are measured in {@link CYCLES} cycles of nothing, the agent, nothing, auditd
 * with equal rules, and auditd with the narrow ones. In each state every kind runs a few times, and the quickest is what
 * it takes: others on the machine only make it slower. `added_ns` is the median over the cycles of the distance to the
 * times without a watcher before and after, with its quartiles; `ratio` is the agent's to auditd's (aim 0.1).
 * The operations run on the last processor and the watchers' own work on the others, as on a host that has some left: what
 * the agent needs there is told apart.
 *
 * Rules. The agent tells all it can: also of one exec the fork before it and the exit after it, of one connection also
 * who accepted it and, with bytes, both ends of it. `equal`: auditd gets a rule for each call behind these events; its
 * rule for close also records files, and knows neither bytes nor peers. `narrow`: execve and connect alone.
 *
 * Then a flood of `--flood` opens a second for `--seconds`: what the agent kept, what it says it lost, and whether the
 * sums close; the same to auditd, which slows the caller down instead.
 * Needs root, a C compiler and Debian's auditd, which must not be running.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { removePinFolder } from "../src/edge-agent/pinned-programs.ts";
import { type AgentProcess, startAgent } from "../test/support/agent-process.ts";
import { keepAuditAway, openAuditd } from "./audit-daemon.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    flood: { type: "string", default: "100000" },
    seconds: { type: "string", default: "60" },
    idle: { type: "string", default: "30" },
    scale: { type: "string", default: "1" },
    cycles: { type: "string", default: "5" },
    /** Leaves the flood and the steady load out. */
    "added-only": { type: "boolean", default: false },
  },
});
/** Runs of a kind in each state. */
const ROUNDS = 3;
/** How often each is done in a run; `--scale` makes it less. */
const KINDS = { open: 10_000, exec: 150, connect: 2_000, write: 100_000, getppid: 200_000 };
type Kind = keyof typeof KINDS;
const KIND_NAMES: readonly Kind[] = ["open", "exec", "connect", "write", "getppid"];
type Times = Readonly<Record<Kind, number>>;
const OPENS = ["-S", "openat", "-F", "a2&3"];
const RULES = {
  equal: [
    OPENS,
    [
      "-S",
      "execve",
      "-S",
      "clone",
      "-S",
      "clone3",
      "-S",
      "fork",
      "-S",
      "vfork",
      "-S",
      "exit_group",
    ],
    ["-S", "connect", "-S", "accept4", "-S", "accept", "-S", "close"],
  ],
  narrow: [OPENS, ["-S", "execve"], ["-S", "connect"]],
};
/** The last processor is for what is watched, when there are two. */
const OWN_CPU = String(cpus().length - 1);
const OTHER_CPUS = cpus().length > 1 ? `0-${cpus().length - 2}` : "0";
/** USER_HZ, as proc(5) counts. */
const TICKS_PER_SECOND = 100;
const STEADY_PER_SECOND = 1_000;
const PINS = `/sys/fs/bpf/probity-bench-${process.pid}`;

const folder = mkdtempSync(join(tmpdir(), "probity-auditd-"));
const storm = join(folder, "storm");
execFileSync("cc", ["-O2", "-o", storm, fileURLToPath(new URL("storm.c", import.meta.url))]);
const target = join(folder, "target");
writeFileSync(target, "");

const away = keepAuditAway();
const cycles: { none: Times; agent: Times; equal: Times; narrow: Times }[] = [];
for (let cycle = 0; cycle < Number(values.cycles); cycle += 1) cycles.push(await measureCycle());
const added = Object.fromEntries(KIND_NAMES.map((kind) => {
  const of = (state: "agent" | "equal" | "narrow"): number[] =>
    cycles.map((times) => times[state][kind] - times.none[kind]);
  const [agent, equal, narrow] = [of("agent"), of("equal"), of("narrow")];
  return [kind, {
    alone_ns: quartiles(cycles.map(({ none }) => none[kind])),
    agent_added_ns: quartiles(agent),
    auditd_added_ns: quartiles(equal),
    auditd_narrow_added_ns: quartiles(narrow),
    ratio: ratioOf(agent, equal),
    ratio_narrow: ratioOf(agent, narrow),
  }];
}));
const floods = values["added-only"] ? {} : await measureFloods();
away[Symbol.dispose]();
printReport("auditd", { cycles: cycles.length, added, ...floods });
rmSync(folder, { recursive: true, force: true });

/** Each state between two measurements of none, whose mean is what it is compared with. */
async function measureCycle() {
  const before = await measureAll();
  const agent = await whileAgent(() => measureAll());
  const between = await measureAll();
  const equal = await whileAuditd("equal", () => measureAll());
  const narrow = await whileAuditd("narrow", () => measureAll());
  const mean = (kind: Kind): number => (before[kind] + between[kind]) / 2;
  const none = timesOf(mean);
  return { none, agent, equal, narrow };
}

function timesOf(timeOf: (kind: Kind) => number): Times {
  const [open, exec, connect, write, getppid] = [
    timeOf("open"),
    timeOf("exec"),
    timeOf("connect"),
    timeOf("write"),
    timeOf("getppid"),
  ];
  return { open, exec, connect, write, getppid };
}

/** Lower quartile, median and upper quartile, rounded. */
function quartiles(numbers: readonly number[]): readonly number[] {
  const sorted = numbers.toSorted((left, right) => left - right);
  return [0.25, 0.5, 0.75].map((part) =>
    Math.round(sorted[Math.round((sorted.length - 1) * part)] ?? NaN)
  );
}

function ratioOf(agent: readonly number[], auditd: readonly number[]): number {
  const [, ours = NaN] = quartiles(agent);
  const [, theirs = NaN] = quartiles(auditd);
  return Number((ours / theirs).toFixed(3));
}

async function whileAgent<Result>(measure: (agent: AgentProcess) => Promise<Result>) {
  const agent = await openAgent();
  try {
    leaveOwnCpu([agent.pid]);
    return await measure(agent);
  } finally {
    await agent.stop();
    removePinFolder(PINS);
  }
}

async function whileAuditd<Result>(
  rules: keyof typeof RULES,
  measure: (lost: () => number) => Promise<Result>,
): Promise<Result> {
  try {
    await using auditd = await openAuditd({ folder, rules: RULES[rules] });
    leaveOwnCpu(auditd.pids);
    return await measure(() => auditd.lost());
  } finally {
    keepAuditAway();
  }
}

function leaveOwnCpu(pids: readonly number[]): void {
  for (const pid of pids) {
    execFileSync("taskset", ["-a", "-c", "-p", OTHER_CPUS, String(pid)], { stdio: "ignore" });
  }
}

async function measureFloods(): Promise<Readonly<Record<string, unknown>>> {
  const ours = await whileAgent(async (agent) => {
    const steady = await measureSteady(agent);
    const flood = await measureFlood(agent);
    return { steady, flood, memory: memoryOf(agent.pid) };
  });
  const auditd_flood = await whileAuditd("narrow", measureAuditdFlood);
  return { ...ours, auditd_flood };
}

/** Nanoseconds of one operation, the best of several runs. */
async function measureAll(): Promise<Times> {
  const best = new Map<Kind, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const kind of KIND_NAMES) {
      const { ns, count } = await run(kind, Math.round(KINDS[kind] * Number(values.scale)));
      best.set(kind, Math.min(best.get(kind) ?? Infinity, ns / count));
    }
  }
  return timesOf((kind) => best.get(kind) ?? NaN);
}

async function run(
  kind: Kind,
  count: number,
  perSecond?: number,
): Promise<{ readonly ns: number; readonly count: number }> {
  const words = [
    "-c",
    OWN_CPU,
    storm,
    kind,
    String(count),
    target,
    ...(perSecond === undefined ? [] : [String(perSecond)]),
  ];
  const child = spawn("taskset", words, { stdio: ["ignore", "pipe", "inherit"] });
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

async function measureAuditdFlood(lost: () => number): Promise<Readonly<Record<string, number>>> {
  const rate = Number(values.flood);
  const seconds = Math.min(10, Number(values.seconds));
  const { ns, count } = await run("open", Math.round(rate * seconds / 5), rate);
  return {
    asked_per_second: rate,
    made_per_second: Math.round(count / (ns / 1e9)),
    lost: lost(),
  };
}
