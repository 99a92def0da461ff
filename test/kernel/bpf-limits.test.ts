/** Limits, filters and lanes in the kernel itself, by the counters and lines of real programs. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cgroupMounts } from "../../src/edge-agent/cgroup-root.ts";
import { loadLibbpf } from "../../src/edge-agent/libbpf.ts";
import { RULES_GRACE_MS } from "../../src/edge-agent/pinned-programs.ts";
import { KIND } from "../../src/edge-agent/record-layout.ts";
import { openRingChain } from "../../src/edge-agent/ring-chain.ts";
import { DEFAULT_RULES, type RuleSettings } from "../../src/edge-agent/rules.ts";
import type { Source, Throttling } from "../../src/edge-agent/source.ts";
import {
  hasBpf,
  openPinFolder,
  openTestSource,
  type PinFolder,
  runAttached,
  testContext,
} from "../support/ring-sources.ts";
import type { SourceRun } from "../support/source-run.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const NOBODY = 65534;
const UNLIMITED: RuleSettings = { ...DEFAULT_RULES, limits: {} };

describe.runIf(hasBpf)("the ring of processes", () => {
  it("keeps its last quarter for execs when starts and ends fill it", () => {
    using pins = openPinFolder();
    const { programs: [programs] } = openRingChain({
      libbpf: loadLibbpf(),
      bootClock: testContext().bootClock,
      pinFolder: pins.path,
      family: "process",
      variant: "tp_btf",
      ringBytes: 512 * 1024,
      ownership: undefined,
    });
    spawnSync("/bin/bash", ["-c", "for ((n = 0; n < 2500; n++)); do ( : ); done; exec true"]);
    spawnSync("/bin/bash", ["-c", "for ((n = 0; n < 20; n++)); do /bin/true; done"]);
    const parts = programs?.counters() ?? [];
    programs?.[Symbol.dispose]();
    const lost = (kind: number): number =>
      parts.filter(({ place }) => place === kind).reduce((sum, part) => sum + part.ringFull, 0);
    expect(lost(KIND.fork)).toBeGreaterThan(0);
    expect(lost(KIND.exit)).toBeGreaterThan(0);
    expect(lost(KIND.exec)).toBe(0);
    for (const part of parts.filter(({ ringFull }) => ringFull > 0)) {
      expect(part.lostFromNs).toBeGreaterThan(0);
      expect(part.lostToNs).toBeGreaterThanOrEqual(part.lostFromNs);
    }
  });
});

const [cgroups] = cgroupMounts(readFileSync("/proc/self/mountinfo", "utf8"));

describe.runIf(hasBpf)("rules of the kernel's programs", () => {
  const cgroupName = `probity-limits-${process.pid}`;
  const cgroup = join(cgroups ?? "", cgroupName);
  let folder: TemporaryFolder;
  let pins: PinFolder;
  let source: Source;
  let run: SourceRun;
  const at = (name: string): string => join(folder.path, name);
  /** Makes files in the cgroup, each with `touch` under another name, in its turn. */
  const touchInCgroup = (names: readonly string[], tools: readonly string[]): void => {
    const commands = names.map((name, turn) => `${tools[turn % tools.length]} ${at(name)}`);
    spawnSync("/bin/sh", ["-c", `echo $$ > ${cgroup}/cgroup.procs; ${commands.join("; ")}`]);
  };
  const pathsLike = (prefix: string): readonly string[] =>
    run.lines.map((line) => String(line["path"])).filter((path) => path.startsWith(at(prefix)));
  /** Everything before it was read when this file is. */
  const mark = async (name: string): Promise<void> => {
    spawnSync("touch", [at(name)]);
    await run.waitFor(({ path }) => path === at(name), { count: 1, timeoutMs: 20_000 });
  };
  const use = async (rules: RuleSettings): Promise<void> => {
    await source.reconfigure?.({ rules });
  };

  beforeAll(async () => {
    folder = await openTemporaryFolder("limits");
    pins = openPinFolder();
    mkdirSync(cgroup);
    source = openTestSource({
      family: "file",
      pins,
      rules: {
        ...UNLIMITED,
        filters: [
          { topics: ["file"], cgroup: `/${cgroupName}` },
          { topics: ["file"], uid: NOBODY, path: folder.path },
        ],
      },
    });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run[Symbol.asyncDispose]();
    await source[Symbol.asyncDispose]();
    pins[Symbol.dispose]();
    rmdirSync(cgroup);
    await folder[Symbol.asyncDispose]();
  });

  it("filter by cgroup, and by user below a folder, from the first moment on", async () => {
    spawnSync("chmod", ["1777", folder.path]);
    touchInCgroup(["cgroup-1", "cgroup-2"], ["touch"]);
    spawnSync("touch", [at("user-1")], { uid: NOBODY, gid: NOBODY });
    spawnSync("touch", [join("/tmp", `probity-user-${process.pid}`)], { uid: NOBODY });
    await mark("mark-1");
    expect(pathsLike("cgroup-")).toEqual([]);
    expect(pathsLike("user-")).toEqual([]);
    expect(run.lines.some((line) => line["path"] === `/tmp/probity-user-${process.pid}`)).toBe(
      true,
    );
    spawnSync("rm", [`/tmp/probity-user-${process.pid}`]);
    await use(UNLIMITED);
    touchInCgroup(["cgroup-3"], ["touch"]);
    await mark("mark-2");
    expect(pathsLike("cgroup-")).toEqual([at("cgroup-3")]);
  });

  it("limit a cgroup whose executables keep their own limits, and nobody outside it", async () => {
    const tools = ["touch-a", "touch-b", "touch-c", "touch-d"].map((name) => {
      copyFileSync("/usr/bin/touch", at(name));
      return at(name);
    });
    source.throttling?.();
    await use({
      ...UNLIMITED,
      limits: { file: 10 },
      burstMs: 2000,
      sampleEvery: 5,
      cgroupFactor: 1,
    });
    // Each executable stays within what it may save up; together they go beyond what the cgroup may.
    const names = Array.from({ length: 72 }, (_each, number) => `limited-${number}`);
    touchInCgroup(names, tools);
    const throttling = await throttlingOf(source, statSync(cgroup).ino);
    await use(UNLIMITED);
    await mark("mark-3");
    expect(throttling).toMatchObject({ phase: "begin", scope: "cgroup", kind: "file_open" });
    const told = run.lines.filter(({ path }) => String(path).startsWith(at("limited-")));
    const samples = told.filter(({ detail }) => detail["sample"] === 5);
    const withheld = names.length - told.length;
    expect(withheld).toBeGreaterThan(10);
    expect(samples.length).toBe(Math.floor((withheld + samples.length) / 5));
    expect(source.losses().find((loss) => loss.class === "throttled")?.count)
      .toBeGreaterThanOrEqual(withheld);
  });

  it("hold at once when they are raised, also from nothing", async () => {
    const touch = (prefix: string): void => {
      for (const number of [1, 2, 3, 4, 5]) spawnSync("touch", [at(`${prefix}-${number}`)]);
    };
    await use({ ...UNLIMITED, limits: { file: 0 }, sampleEvery: 2 });
    touch("none");
    await use({ ...UNLIMITED, limits: { file: 1000 }, sampleEvery: 2 });
    touch("raised");
    await use(UNLIMITED);
    await mark("mark-raised");
    expect(pathsLike("none-").length).toBeLessThan(5);
    const raised = run.lines.filter(({ path }) => String(path).startsWith(at("raised-")));
    expect(raised.map(({ path }) => path)).toEqual([1, 2, 3, 4, 5].map((n) => at(`raised-${n}`)));
    for (const { detail } of raised) expect(detail).not.toHaveProperty("sample");
  });

  it("are filled only long after they were left, however often they change", async () => {
    const rules = [1, 2, 3].map((uid): RuleSettings => ({
      ...UNLIMITED,
      filters: [{ topics: ["file"], uid }],
    }));
    const beganMs = performance.now();
    await Promise.all(rules.map(use));
    // Before the second and before the third; what a timer takes less is not counted.
    expect(performance.now() - beganMs).toBeGreaterThan(2 * (RULES_GRACE_MS - 2));
    await use(UNLIMITED);
  });

  it("go on in the programs when the reader is gone, with what they count", async () => {
    await use({ ...UNLIMITED, filters: [{ topics: ["file"], cgroup: `/${cgroupName}` }] });
    const before = source.counters().filtered;
    await run.stop();
    await source[Symbol.asyncDispose]();
    touchInCgroup(["away-1", "away-2"], ["touch"]);
    source = openTestSource({ family: "file", pins, rules: UNLIMITED });
    run = await runAttached(source, pins);
    await mark("mark-4");
    expect(pathsLike("away-")).toEqual([]);
    expect(source.counters().filtered).toBeGreaterThanOrEqual(before + 2);
  });
});

/** What is told of a cgroup, within a while. */
async function throttlingOf(source: Source, cgroup: number): Promise<Throttling | undefined> {
  const untilMs = performance.now() + 5000;
  while (performance.now() < untilMs) {
    const found = source.throttling?.().find(({ id, scope }) =>
      scope === "cgroup" && id === cgroup
    );
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return undefined;
}
