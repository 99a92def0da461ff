/**
 * How long does an agent that is started after kill -9 leave the rings unread that it inherits?
 *
 * Runs the agent as root starts it, divided in two, kills both processes while files are made, and starts it `--rounds`
 * times again. Of each start: when the first position became durable that the new agent read, when nothing was left, when
 * it said that it runs, and the processor time until then, of both processes. Needs root and nats-server.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { loadLibbpf } from "../src/edge-agent/libbpf.ts";
import { openPinnedPrograms } from "../src/edge-agent/pinned-programs.ts";
import { openNatsServer } from "../test/support/nats-server.ts";
import { startDividedAgent } from "../test/support/privileged-agent.ts";
import { removePins } from "../test/support/probity-system.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    /** Files made while no agent runs. */
    files: { type: "string", default: "5000" },
  },
});
const LOOK_MS = 5;
/** How long a start may take. */
const LIMIT_MS = 60_000;
/** USER_HZ, as proc(5) counts. */
const TICKS_PER_SECOND = 100;

const folder = mkdtempSync(join(tmpdir(), "probity-restart-"));
const data = join(folder, "data");
const made = join(folder, "made");
chmodSync(folder, 0o755);
mkdirSync(made);
const rounds: Readonly<Record<string, number>>[] = [];
try {
  await using nats = await openNatsServer();
  const start = () => startDividedAgent({ data, natsUrl: nats.url });
  let agent = await start();
  await delay(2_000);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const pid of [agent.pid, agent.privilegedPid]) process.kill(pid, "SIGKILL");
    await agent.ended;
    for (let file = 0; file < Number(values.files); file += 1) {
      writeFileSync(join(made, `${round}-${file}`), "");
    }
    const startedMs = performance.now();
    const waiting = watchRing(startedMs);
    agent = await start();
    const runs_ms = Math.round(performance.now() - startedMs);
    const cpu_ms = Math.round(processorMs([agent.pid, agent.privilegedPid]));
    rounds.push({ ...await waiting, runs_ms, cpu_ms });
    await delay(2_000);
  }
  await agent.stop();
  const median = (name: string): number =>
    rounds.map((round) => round[name] ?? NaN).toSorted((a, b) => a - b)[rounds.length >> 1] ?? NaN;
  printReport("agent-restart", {
    first_durable_ms: median("first_durable_ms"),
    drained_ms: median("drained_ms"),
    runs_ms: median("runs_ms"),
    cpu_ms: median("cpu_ms"),
    rounds,
  });
} finally {
  removePins(data);
  rmSync(folder, { recursive: true, force: true });
}

/** Until the file ring is released for the first time, and until all that was in it at the start is. */
async function watchRing(startedMs: number) {
  using programs = openPinnedPrograms(loadLibbpf(), filePins());
  const from = programs.ring.consumerPosition();
  const to = programs.ring.producerPosition();
  let first: number | undefined;
  while (performance.now() - startedMs < LIMIT_MS) {
    const now = programs.ring.consumerPosition();
    if (now > from) first ??= Math.round(performance.now() - startedMs);
    if (now >= to) break;
    await delay(LOOK_MS);
  }
  const drained_ms = Math.round(performance.now() - startedMs);
  return { first_durable_ms: first ?? NaN, drained_ms, inherited_kb: (to - from) >> 10 };
}

/** The newest file programs of this run's agent. */
function filePins(): string {
  const digest = createHash("sha256").update(data).digest("hex").slice(0, 12);
  const pins = `/sys/fs/bpf/probity-${digest}`;
  const found = readdirSync(pins).filter((each) => /^file-[0-9a-f]{12}-\d+$/.test(each)).sort();
  return join(pins, found.at(-1) ?? "none");
}

function processorMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND * 1000;
  }, 0);
}
