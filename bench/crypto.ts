/**
 * Whether every hit of a probe in a tight loop arrives or is counted, and what a hit costs the program.
 *
 * A program hits `word_data` two million times, with the source of a real agent reading in this process; the same loop runs
 * before without the probes attached. And what it costs to map a file, of which the kernel tells the agent. Prints one line of JSON. Needs root, gcc and sys/sdt.h.
 *
 * `node bench/crypto.ts [hits] [ring bytes]`
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createKernelContext } from "../src/edge-agent/kernel-context.ts";
import { removePinFolder } from "../src/edge-agent/pinned-programs.ts";
import { CRYPTO_PROVIDER } from "../src/edge-agent/sources/crypto/crypto-settings.ts";
import {
  CRYPTO_RING_BYTES,
  openCryptoSource,
} from "../src/edge-agent/sources/crypto/crypto-source.ts";
import { createLog } from "../src/runtime/log.ts";

const HITS = Number(process.argv[2] ?? 2_000_000);
const RING_BYTES = Number(process.argv[3] ?? CRYPTO_RING_BYTES);
const SOURCE = fileURLToPath(new URL("../test/fixtures/crypto/probes.c", import.meta.url));
/** Where the topic stands in a line. */
const TOPIC_AT = '"time":"2026-01-01T00:00:00.000000Z",'.length;
/** Of several runs the quickest counts: mapping is short, and others run beside it. */
const MAPPINGS = 50_000;
const MAP_RUNS = 9;
/** Long enough for a reader that was behind. */
const SETTLE_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), "probity-bench-crypto-"));
const pinFolder = `/sys/fs/bpf/probity-bench-${process.pid}`;
const program = join(folder, "probed");
execFileSync("gcc", ["-O2", "-Wl,--build-id", "-o", program, SOURCE, "-ldl"]);

/** Nanoseconds that one turn of a loop takes: of hits, or of mapping a file to execute and unmapping it. */
async function loopNs(hits: number, what: "loop" | "map" = "loop"): Promise<number> {
  const startedMs = performance.now();
  const child = spawn(program, [what, String(hits)], { stdio: "ignore" });
  await once(child, "exit");
  return ((performance.now() - startedMs) * 1e6) / hits;
}

async function bestMapNs(): Promise<number> {
  let bestNs = Infinity;
  for (let run = 0; run < MAP_RUNS; run += 1) {
    bestNs = Math.min(bestNs, await loopNs(MAPPINGS, "map"));
  }
  return bestNs;
}

const source = openCryptoSource({
  settings: { libraries: [program], discover: false, provider: CRYPTO_PROVIDER },
  dataDirectory: folder,
  context: createKernelContext(),
  pinFolder,
  ringBytes: RING_BYTES,
  log: createLog({ level: "error" }),
});
try {
  const unattachedNs = await loopNs(HITS);
  const mapBeforeNs = await bestMapNs();
  const status = await source.probe();
  if (status.state === "off") throw new Error(`Cannot measure: ${status.reason}`);
  const abort = new AbortController();
  let arrived = 0;
  let isAttached = false;
  const reading = (async () => {
    for await (const { fields, position } of source.start(abort.signal)) {
      for (const line of fields) {
        // Every time takes the same room.
        if (line.startsWith('"topic":"crypto/test/loop"', TOPIC_AT)) arrived += 1;
        else if (line.includes('"topic":"agent/config"')) isAttached = true;
      }
      if (position !== undefined) source.release(position);
    }
  })();
  while (!isAttached) await delay(10);
  const attachedNs = await loopNs(HITS);
  const counted = (): number => {
    const { parts = [], unreadable = 0 } = source.counters();
    return parts.filter(({ kind }) => kind === "crypto_datum").reduce(
      (sum, { ringFull, throttled, filtered, readFault, recursion = 0 }) =>
        sum + ringFull + throttled + filtered + readFault + recursion,
      unreadable,
    );
  };
  for (let waitedMs = 0; waitedMs < SETTLE_MS && arrived + counted() < HITS; waitedMs += 50) {
    await delay(50);
  }
  const mapNs = await bestMapNs();
  abort.abort();
  await reading;
  const { ringFull, recursion = 0, readFault } = source.counters();
  process.stdout.write(`${
    JSON.stringify({
      bench: "crypto",
      hits: HITS,
      arrived,
      counted: counted(),
      missing: HITS - arrived - counted(),
      ring_bytes: RING_BYTES,
      ring_full: ringFull,
      recursion,
      read_fault: readFault,
      unattached_ns: Number(unattachedNs.toFixed(1)),
      attached_ns: Number(attachedNs.toFixed(1)),
      hit_ns: Number((attachedNs - unattachedNs).toFixed(1)),
      map_before_ns: Number(mapBeforeNs.toFixed(1)),
      map_ns: Number(mapNs.toFixed(1)),
    })
  }\n`);
  if (arrived + counted() !== HITS) process.exitCode = 1;
} finally {
  await source[Symbol.asyncDispose]();
  removePinFolder(pinFolder);
  rmSync(folder, { recursive: true, force: true });
}
