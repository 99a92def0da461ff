import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { loadLibbpf } from "../../src/edge-agent/libbpf.ts";
import {
  openPinnedPrograms,
  type PinnedPrograms,
  removePinFolder,
} from "../../src/edge-agent/pinned-programs.ts";
import type { Ownership } from "../../src/edge-agent/program-settings.ts";
import { openRingChain } from "../../src/edge-agent/ring-chain.ts";
import { openRingReader } from "../../src/edge-agent/ring-reader.ts";
import type {
  Source,
  SourceChunk,
  SourceCounters,
  SourceLoss,
} from "../../src/edge-agent/source.ts";
import { fileFamilyNoting } from "../../src/edge-agent/sources/file/file-family.ts";
import type { RingPosition } from "../../src/producer/producer.ts";
import {
  hasBpf,
  openPinFolder,
  openTestSource,
  type PinFolder,
  runAttached,
  testContext,
  testLog,
} from "../support/ring-sources.ts";
import { parseLine } from "../support/source-run.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-continuity-")));
afterAll(() => rmSync(folder, { recursive: true }));

/** Makes numbered files in a new folder, as fast as a shell can. */
function startStorm(name: string, count: number): { path: string; done: Promise<unknown> } {
  const path = join(folder, name);
  mkdirSync(path);
  const script = `for ((n = 0; n < ${count}; n++)); do : > ${path}/$n; done`;
  return { path, done: once(spawn("/bin/bash", ["-c", script], { stdio: "ignore" }), "exit") };
}

/** The only programs of a folder, ended, so that counters and records stand still. */
function openEnded(pins: PinFolder): PinnedPrograms {
  const [name = ""] = readdirSync(pins.path);
  const programs = openPinnedPrograms(loadLibbpf(), join(pins.path, name));
  programs.setSettings({ ...programs.settings(), untilNs: 1n });
  return programs;
}

/** Reads ended programs to the end. */
function readEnded(pins: PinFolder, position: RingPosition | undefined): ReadRing {
  using reader = openRingReader({
    context: testContext(),
    chain: { programs: [openEnded(pins)], damaged: 0 },
    family: fileFamilyNoting(undefined),
    position,
    log: testLog,
  });
  const losses = reader.losses();
  const paths: string[] = [];
  let reached = position;
  for (let chunk = reader.read(); chunk !== undefined; chunk = reader.read()) {
    paths.push(...pathsOf(chunk));
    reached = chunk.position;
    if (chunk.position !== undefined) reader.release(chunk.position);
  }
  return { paths, losses, position: reached, counters: reader.counters() };
}

interface ReadRing {
  readonly paths: readonly string[];
  readonly losses: readonly SourceLoss[];
  readonly position: RingPosition | undefined;
  readonly counters: SourceCounters;
}

const pathsOf = (chunk: SourceChunk): string[] =>
  chunk.fields.map((fields) => String(parseLine(fields)["path"]));

function sumOf(counters: SourceCounters): number {
  const { submitted, ringFull, filtered, throttled, readFault, recursion = 0 } = counters;
  return submitted + ringFull + filtered + throttled + readFault + recursion;
}

const countOf = (losses: readonly SourceLoss[], kind: string): number =>
  losses.filter((loss) => loss.class === kind).reduce((sum, loss) => sum + (loss.count ?? 0), 0);

interface AttachOptions {
  readonly pins: PinFolder;
  readonly ringBytes: number;
  readonly ownership?: Ownership;
}

/** Attaches the programs and leaves; what happens then stays in the ring. */
function attachOnly({ pins, ringBytes, ownership }: AttachOptions): void {
  const chain = openRingChain({
    libbpf: loadLibbpf(),
    bootClock: testContext().bootClock,
    pinFolder: pins.path,
    family: "file",
    variant: "tp_btf",
    ringBytes,
    ownership,
  });
  for (const programs of chain.programs) programs[Symbol.dispose]();
}

/** Reads for a time, or until the paths are enough; paths, and the last position. */
async function readFor(
  source: Source,
  timeMs: number,
  isEnough: (paths: readonly string[]) => boolean = () => false,
): Promise<{ paths: string[]; position: RingPosition | undefined }> {
  const paths: string[] = [];
  const enough = new AbortController();
  let position: RingPosition | undefined;
  const timer = setTimeout(() => enough.abort(), timeMs);
  for await (const chunk of source.start(enough.signal)) {
    paths.push(...pathsOf(chunk));
    position = chunk.position;
    if (chunk.position !== undefined) source.release(chunk.position);
    if (isEnough(paths)) enough.abort();
  }
  clearTimeout(timer);
  return { paths, position };
}

describe.runIf(hasBpf)("a ring", () => {
  it("that is too small loses nothing without counting it", async () => {
    using pins = openPinFolder();
    attachOnly({ pins, ringBytes: 4096 });
    await startStorm("tiny", 5000).done;
    const { paths, losses, position, counters } = readEnded(pins, undefined);
    expect(counters.attempted).toBe(sumOf(counters));
    expect(counters.attempted).toBeGreaterThanOrEqual(5000);
    expect(counters.ringFull).toBeGreaterThan(4500);
    expect(paths.length).toBe(counters.submitted);
    expect(countOf(losses, "ring_full")).toBe(counters.ringFull);
    expect(position?.lost?.["ring_full"]).toBe(counters.ringFull);
  });

  it("reports what was lost while nobody read once, also after another start", async () => {
    using pins = openPinFolder();
    attachOnly({ pins, ringBytes: 4096 });
    await startStorm("unread", 2000).done;
    const { position, losses } = readEnded(pins, undefined);
    expect(countOf(losses, "ring_full")).toBeGreaterThan(1500);
    // With the spool's newest position, and without: then the programs' own ledger counts.
    expect(readEnded(pins, position).losses).toEqual([]);
    expect(readEnded(pins, undefined).losses).toEqual([]);
  });

  it("reports again what was lost when the report did not become durable", async () => {
    using pins = openPinFolder();
    attachOnly({ pins, ringBytes: 4096 });
    await startStorm("undurable", 500).done;
    using reader = openRingReader({
      context: testContext(),
      chain: { programs: [openEnded(pins)], damaged: 0 },
      family: fileFamilyNoting(undefined),
      position: undefined,
      log: testLog,
    });
    const lost = countOf(reader.losses(), "ring_full");
    expect(lost).toBeGreaterThan(300);
    expect(reader.read()?.position?.lost?.["ring_full"]).toBe(lost);
    expect(countOf(readEnded(pins, undefined).losses, "ring_full")).toBe(lost);
  });

  it("that was removed is said to be absent", async () => {
    using pins = openPinFolder();
    attachOnly({ pins, ringBytes: 65_536 });
    await using before = openTestSource({ family: "file", pins, ringBytes: 65_536 });
    await startStorm("absent", 3).done;
    const { position } = await readFor(before, 300);
    expect(position?.ring).toMatch(/^[0-9a-f]{8}-[0-9]+$/);
    pins[Symbol.dispose]();
    await using source = openTestSource({ family: "file", pins, ringBytes: 65_536, position });
    await using _run = await runAttached(source, pins);
    await delay(100);
    expect(source.losses()).toEqual([
      { class: "absent", count: null, reason: expect.stringMatching(/removed/) },
    ]);
    expect(source.losses()).toEqual([]);
  });

  it("whose programs are removed under its reader is opened anew, and the loss is told", async () => {
    using pins = openPinFolder();
    await using source = openTestSource({ family: "file", pins, ringBytes: 1024 * 1024 });
    const run = await runAttached(source, pins);
    await startStorm("before-removal", 1).done;
    await run.waitFor(({ path }) => path === join(folder, "before-removal/0"), { count: 1 });
    removePinFolder(pins.path);
    await expect(run.waitFor(() => false, { count: 1 })).rejects.toThrow(/programs were removed/);
    await using again = await runAttached(source, pins);
    await startStorm("after-removal", 1).done;
    await again.waitFor(({ path }) => path === join(folder, "after-removal/0"), { count: 1 });
    expect(again.lines.some(({ path }) => path === join(folder, "before-removal/0"))).toBe(false);
    expect(source.losses()).toMatchObject([{ class: "absent", count: null }]);
  });

  it("of which a pin is missing is replaced, and the loss is told", async () => {
    using pins = openPinFolder();
    attachOnly({ pins, ringBytes: 65_536 });
    const [name = ""] = readdirSync(pins.path);
    unlinkSync(join(pins.path, name, "link_call_exit_open_1of5"));
    await using source = openTestSource({ family: "file", pins, ringBytes: 65_536 });
    await using run = await runAttached(source, pins);
    await startStorm("damaged", 1).done;
    await run.waitFor(({ path }) => path === join(folder, "damaged/0"), { count: 1 });
    expect(source.losses()).toMatchObject([{
      class: "absent",
      reason: expect.stringMatching(/damaged/),
    }]);
  });

  it("that was only half pinned by a killed agent is removed", async () => {
    using pins = openPinFolder();
    const draft = `${pins.path}/file-0123456789ab-0-draft`;
    const others = `${pins.path}/network-0123456789ab-0-draft`;
    for (const each of [draft, others]) mkdirSync(each, { recursive: true });
    await using source = openTestSource({ family: "file", pins, ringBytes: 4096 });
    await using _run = await runAttached(source, pins);
    expect([existsSync(draft), existsSync(others)]).toEqual([false, true]);
  });

  it("of an agent whose data folder is gone is removed by the next agent, others are not", async () => {
    using gone = openPinFolder();
    using kept = openPinFolder();
    using own = openPinFolder();
    const [goneData, keptData] = [join(folder, "gone-data"), join(folder, "kept-data")];
    const ended = spawn("/bin/true");
    await once(ended, "exit");
    for (const [pins, dataFolder] of [[gone, goneData], [kept, keptData]] as const) {
      mkdirSync(dataFolder);
      attachOnly({ pins, ringBytes: 4096, ownership: { pids: [ended.pid ?? 0], dataFolder } });
    }
    using living = openPinFolder();
    attachOnly({
      pins: living,
      ringBytes: 4096,
      ownership: { pids: [process.pid], dataFolder: goneData },
    });
    rmSync(goneData, { recursive: true });
    await using source = openTestSource({ family: "file", pins: own, ringBytes: 4096 });
    await using _run = await runAttached(source, own);
    expect(existsSync(gone.path)).toBe(false);
    expect(existsSync(kept.path)).toBe(true);
    expect(existsSync(living.path)).toBe(true);
  });

  it("loses and doubles nothing when its reader is killed, again and again", async () => {
    using pins = openPinFolder();
    const spool = join(folder, "spool");
    const [kills, perKill] = [10, 2000];
    let child: ChildProcess | undefined;
    const start = (): ChildProcess =>
      spawn(process.execPath, [READER, pins.path, spool], {
        stdio: ["ignore", "inherit", "inherit"],
      });
    const storms: string[] = [];
    for (let kill = 0; kill < kills; kill += 1) {
      child = start();
      if (kill === 0) await untilTrue(() => existsSync(pins.path) && isPinned(pins));
      const storm = startStorm(`kill-${kill}`, perKill);
      storms.push(storm.path);
      await delay(20 + 40 * kill);
      child.kill("SIGKILL");
      await Promise.all([once(child, "exit"), storm.done]);
    }
    child = start();
    const isStorm = (path: string): boolean => storms.some((storm) => path.startsWith(`${storm}/`));
    const seen = (): string[] => spooledPaths(spool).filter(isStorm);
    await untilTrue(() => seen().length >= kills * perKill);
    await delay(200);
    child.kill("SIGKILL");
    await once(child, "exit");
    const paths = seen();
    expect(paths.length).toBe(kills * perKill);
    expect(new Set(paths).size).toBe(kills * perKill);
  });

  it("hands over to a ring of another size without a hole or a double", async () => {
    using pins = openPinFolder();
    const count = 120_000;
    attachOnly({ pins, ringBytes: 16 * 1024 * 1024 });
    const storm = startStorm("handover", count);
    let paths: readonly string[] = [];
    let position: RingPosition | undefined;
    let isStorming = true;
    const losses: SourceLoss[] = [];
    void storm.done.then(() => isStorming = false);
    for (const ringBytes of [16, 32, 16, 32].map((size) => size * 1024 * 1024)) {
      await using source = openTestSource({ family: "file", pins, ringBytes, position });
      const read = await readFor(source, 400);
      paths = paths.concat(read.paths);
      position = read.position ?? position;
      losses.push(...source.losses());
    }
    expect(isStorming).toBe(true);
    await storm.done;
    await using source = openTestSource({
      family: "file",
      pins,
      ringBytes: 32 * 1024 * 1024,
      position,
    });
    // The last file that the shell makes is the last that can be missing.
    const last = `${storm.path}/${count - 1}`;
    const isAll = (read: readonly string[]): boolean => read.includes(last);
    if (!isAll(paths)) paths = paths.concat((await readFor(source, 60_000, isAll)).paths);
    const made = paths.filter((path) => path.startsWith(`${storm.path}/`));
    losses.push(...source.losses());
    expect(made.length, `with ${JSON.stringify(losses)}`).toBe(count);
    expect(new Set(made).size).toBe(count);
    expect(readdirSync(pins.path)).toHaveLength(1);
  });
});

const READER = fileURLToPath(new URL("../support/ring-reader-process.ts", import.meta.url));

function isPinned(pins: PinFolder): boolean {
  return readdirSync(pins.path).some((name) => /-[0-9a-f]{12}-[0-9]+$/.test(name));
}

function spooledPaths(spool: string): string[] {
  const lines = readFileSync(spool, "utf8").split("\n").slice(0, -1);
  return lines.flatMap((line): string[] => {
    try {
      return JSON.parse(line).paths;
    } catch {
      return [];
    }
  });
}

async function untilTrue(holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 60_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error("Cannot wait any longer: 60 s are over");
    await delay(50);
  }
}
