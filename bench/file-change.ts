/**
 * How long from a change of a watched file's content to its `file/change` event at the HTTP API, and what does watching
 * many files take?
 *
 * Runs the whole system on this machine with a policy on a folder of `--files` files (default 1,000) and changes one of
 * them `--rate` times a second for `--seconds`: by writing it anew, by appending, by renaming over it. Time is from the
 * end of the change, by the clock of this process, to its event on the live stream; aim: p99 under 500 ms. Baseline in
 * the same run: the `file/write` or `file/rename` event of the same change on the same stream, which no look at contents
 * delays. Then the agent's memory (aim: 120 MB anonymous, with 200,000 files).
 */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient } from "../src/client/client.ts";
import { openProbitySystem } from "../test/support/probity-system.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "1000" },
    rate: { type: "string", default: "20" },
    seconds: { type: "string", default: "30" },
    runtime: { type: "string", default: "node" },
  },
});
const FILES_PER_FOLDER = 1_000;
/** Processor time a second below which the agent has nothing more to look at. */
const QUIET_SECONDS = 0.15;
/** How long the agent may take to look at every file once. */
const SCAN_LIMIT_MS = 600_000;

const folder = mkdtempSync(join(tmpdir(), "probity-file-change-"));
// The services read the configuration as their own user.
chmodSync(folder, 0o755);
const watched = join(folder, "watched");
const paths = makeFiles(Number(values.files));
const config = join(folder, "probity.toml");
writeFileSync(config, `[[files]]\npaths = ["${watched}/**"]\nkind = "content-diff"\n`);
{
  await using system = await openProbitySystem(values.runtime === "deno" ? "deno" : "node", [
    "--config",
    config,
  ]);
  const [agent = 0] = system.pidsOf("agent");
  const startedMs = performance.now();
  await untilQuiet(agent);
  const scannedMs = performance.now() - startedMs;
  const idle = memoryOf(agent);
  const latencies = await measure(system);
  printReport("file-change", {
    files: paths.length,
    scan_seconds: Math.round(scannedMs / 100) / 10,
    ...latencies,
    memory_after_scan: idle,
    memory_at_end: memoryOf(agent),
  });
}
rmSync(folder, { recursive: true, force: true });

function makeFiles(count: number): readonly string[] {
  const made: string[] = [];
  for (let number = 0; number < count; number += 1) {
    const parent = join(watched, String(Math.floor(number / FILES_PER_FOLDER)));
    if (number % FILES_PER_FOLDER === 0) mkdirSync(parent, { recursive: true });
    const path = join(parent, `file-${number}`);
    writeFileSync(path, `line of file ${number}\n`);
    made.push(path);
  }
  return made;
}

/** Waits until the agent uses little of a core for three seconds. */
async function untilQuiet(pid: number): Promise<void> {
  const endMs = performance.now() + SCAN_LIMIT_MS;
  let quiet = 0;
  let before = processorSeconds(pid);
  while (quiet < 3 && performance.now() < endMs) {
    await delay(1_000);
    const now = processorSeconds(pid);
    quiet = now - before < QUIET_SECONDS ? quiet + 1 : 0;
    before = now;
  }
}

function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function memoryOf(pid: number): Readonly<Record<string, number>> {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string): number =>
    Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024);
  return { anonymous_mb: of("RssAnon"), file_mb: of("RssFile") };
}

async function measure(system: { readonly url: string; readonly token: string }) {
  const end = new AbortController();
  const changedMs = new Map<string, number>();
  const changes: number[] = [];
  const plain: number[] = [];
  const client = createClient({ url: system.url, token: system.token });
  const reading = (async () => {
    const wanted = { path: `${watched}/*`, topic: "file/change,file/write,file/rename" };
    for await (const item of client.tail(wanted, { signal: end.signal })) {
      if (item.kind !== "event") continue;
      const madeMs = changedMs.get(String(item.event["path"]));
      if (madeMs === undefined) continue;
      const latencyMs = performance.now() - madeMs;
      (item.event["topic"] === "file/change" ? changes : plain).push(latencyMs);
    }
  })();
  await delay(1_000);
  const [rate, seconds] = [Number(values.rate), Number(values.seconds)];
  const count = Math.min(rate * seconds, paths.length);
  for (let number = 0; number < count; number += 1) {
    const path = paths[Math.floor((number * paths.length) / count)] ?? "";
    change(path, number);
    changedMs.set(path, performance.now());
    await delay(1_000 / rate);
  }
  for (let waits = 0; waits < 50 && changes.length < count; waits += 1) await delay(200);
  end.abort();
  await reading;
  const [change_ms, baseline_ms] = [quantilesOf(changes), quantilesOf(plain)];
  return { changes: count, change_ms, baseline_ms, p99_ratio: change_ms.p99 / baseline_ms.p99 };
}

function change(path: string, number: number): void {
  const text = `line one of change ${number}\nline two\n`;
  if (number % 3 === 0) writeFileSync(path, text);
  else if (number % 3 === 1) writeFileSync(path, text, { flag: "a" });
  else {
    writeFileSync(join(folder, "new"), text);
    renameSync(join(folder, "new"), path);
  }
}

function quantilesOf(latencies: readonly number[]) {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN);
  return { events: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
