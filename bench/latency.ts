/**
 * How long from an event in the kernel to an SSE client, and to being found by `/v1/events`?
 * Runs the whole system on this machine; `--rate` opens for writing a second (default 5,000) for `--seconds` (20).
 * Baseline in the same run: the same path at 100 a second. Times are the difference of wall clocks on one machine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient } from "../src/client/client.ts";
import { openProbitySystem, type ProbitySystem } from "../test/support/probity-system.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "5000" },
    seconds: { type: "string", default: "20" },
    runtime: { type: "string", default: "node" },
  },
});
const LOOKUPS = 20;
const BASELINE_PER_SECOND = 100;

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

/** Latencies of all events of one generator run, seen by one SSE client. */
async function measureStream(
  system: ProbitySystem,
  perSecond: number,
  seconds: number,
): Promise<Quantiles> {
  const target = mkdtempSync(join(folder, "rate-"));
  const count = perSecond * seconds;
  const end = new AbortController();
  const latencies: number[] = [];
  const client = createClient({ url: system.url, token: system.token });
  const reading = (async () => {
    for await (
      const item of client.tail({ path: `${target}/*`, topic: "file/create" }, {
        signal: end.signal,
      })
    ) {
      if (item.kind !== "event") continue;
      latencies.push(
        performance.timeOrigin + performance.now() - Date.parse(String(item.event["time"])),
      );
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
  await once(generator, "exit");
  for (let waits = 0; waits < 50 && latencies.length < count; waits++) await delay(200);
  end.abort();
  await reading;
  return quantilesOf(latencies);
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
