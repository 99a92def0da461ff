import { execFile, execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { probeSources } from "../../src/edge-agent/doctor.ts";
import {
  openSources,
  type OpenSourcesOptions,
  SOURCE_NAMES,
  type Sources,
} from "../../src/edge-agent/sources.ts";
import type { RingPosition } from "../../src/producer/producer.ts";
import { CRYPTO_PROVIDER } from "../../src/edge-agent/sources/crypto/crypto-settings.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { hasBpf, openPinFolder, type PinFolder, testLog } from "../support/ring-sources.ts";
import { type Line, runSource, type SourceRun } from "../support/source-run.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

function open(dataDirectory: string, more: Partial<OpenSourcesOptions>): Sources {
  const crypto = { libraries: [], discover: true, provider: CRYPTO_PROVIDER };
  const fixed = { positions: {}, clock: systemClock, log: testLog, crypto };
  return openSources({ dataDirectory, ...fixed, ...more });
}

interface Running extends AsyncDisposable {
  readonly named: (name: string) => SourceRun;
}

/** Runs the sources that are on, once their programs are attached. */
async function runAll(sources: Sources): Promise<Running> {
  const statuses = await sources.probe();
  const on = sources.all.filter(({ name }) => statuses.get(name)?.state === "on");
  const runs = new Map(on.map((source) => [source.name, runSource(source)]));
  await delay(500);
  return {
    named(name) {
      const run = runs.get(name);
      if (run === undefined) throw new Error(`Source "${name}" is off`);
      return run;
    },
    async [Symbol.asyncDispose]() {
      for (const run of runs.values()) await run.stop();
    },
  };
}

/** Does not stop this process, in which the sources run. */
const run = promisify(execFile);

const small = { process: 1 << 20, network: 1 << 20, flow: 1 << 20, file: 1 << 20 };

describe.runIf(hasBpf)("the sources of an agent together", () => {
  it("are all on here, and name a process that is gone when its event is read", async () => {
    await using folder = await openTemporaryFolder("sources");
    using pins: PinFolder = openPinFolder();
    const data = await dataIn(folder);
    await using sources = open(data, { pinDirectory: pins.path, ringBytes: small });
    expect([...await sources.probe()].map(([name, { state }]) => [name, state])).toEqual(
      SOURCE_NAMES.map((name) => [name, "on"]),
    );
    await using running = await runAll(sources);
    const names = running.named("filesystem");
    const pids: number[] = [];
    for (let number = 0; number < 20; number += 1) {
      pids.push(spawnSync("mkdir", [join(folder.path, `made-${number}`)]).pid);
    }
    const made = await names.waitFor(isMadeIn(folder.path), { count: 20 });
    const exe = execFileSync("sh", ["-c", "readlink -f $(command -v mkdir)"]).toString().trim();
    expect(made.map((line) => line["pid"])).toEqual(pids);
    for (const line of made) {
      expect(line).toMatchObject({
        exe,
        comm: "mkdir",
        uid: 0,
        euid: 0,
        gid: 0,
        user: "root",
        ppid: process.pid,
        process_id: expect.stringMatching(new RegExp(`^[0-9a-f]{8}-${line["pid"]}-[0-9]+$`)),
        parent_process_id: expect.stringMatching(new RegExp(`^[0-9a-f]{8}-${process.pid}-`)),
        message: `${exe} created directory ${line["path"]}`,
      });
    }
    const execs = await running.named("process").waitFor(
      (line) => line.topic === "process/exec" && pids.includes(Number(line["pid"])),
      { count: 20 },
    );
    expect(made.map((line) => line["process_id"]).toSorted()).toEqual(
      execs.map((line) => line["process_id"]).toSorted(),
    );
  });

  it("tell a change of image of one process apart, and credentials that changed", async () => {
    await using folder = await openTemporaryFolder("sources");
    using pins = openPinFolder();
    await using sources = open(await dataIn(folder), { pinDirectory: pins.path, ringBytes: small });
    await using running = await runAll(sources);
    const at = (name: string): string => join(folder.path, name);
    const script = `mkdir($ARGV[0]); select(undef, undef, undef, 0.5); exec("mkdir", $ARGV[1])`;
    await run("perl", ["-e", script, at("by-perl"), at("by-mkdir")]);
    const drop = `$) = "65534 65534"; $( = 65534; $< = $> = 65534; mkdir($ARGV[0])`;
    execFileSync("chmod", ["777", folder.path]);
    await run("perl", ["-e", drop, at("by-nobody")]);
    const made = await running.named("filesystem").waitFor(isMadeIn(folder.path), { count: 3 });
    const [byPerl, byMkdir, byNobody] = made;
    expect(String(byPerl?.["exe"])).toMatch(/perl/);
    expect(String(byMkdir?.["exe"])).toMatch(/mkdir$/);
    expect(byMkdir?.["process_id"]).toBe(byPerl?.["process_id"]);
    expect(statSync(at("by-nobody")).uid).toBe(65534);
    expect(byNobody?.["uid"]).toBe(65534);
  });

  it("leave out what the supervisor's children do in the data folder", async () => {
    await using folder = await openTemporaryFolder("sources");
    using pins = openPinFolder();
    const data = await dataIn(folder);
    await using sources = open(data, {
      pinDirectory: pins.path,
      ringBytes: small,
      supervisorPid: process.pid,
    });
    await using running = await runAll(sources);
    const touch = (path: string) =>
      spawnSync("sh", ["-c", `mkdir "$1"; : > "$1/file"`, "sh", path]);
    touch(join(data, "own"));
    touch(join(folder.path, "outside"));
    const filesystem = running.named("filesystem");
    await filesystem.waitFor((line) => line["path"] === join(folder.path, "outside"), { count: 1 });
    await running.named("file").waitFor(
      (line) => line["path"] === join(folder.path, "outside/file"),
      { count: 1 },
    );
    const inData = (line: Line): boolean => String(line["path"]).startsWith(`${data}/`);
    expect(filesystem.lines.filter(inData).map((line) => line["path"])).toEqual([
      // Made by a grandchild: only the supervisor's own children are ours.
      join(data, "own"),
    ]);
    expect(running.named("file").lines.filter(inData)).toEqual([]);
  });

  it("that are disabled stay off and say so", async () => {
    await using folder = await openTemporaryFolder("sources");
    using pins = openPinFolder();
    const disabledSources = ["network", "filesystem"] as const;
    await using sources = open(await dataIn(folder), { pinDirectory: pins.path, disabledSources });
    const statuses = await sources.probe();
    expect(statuses.get("network")).toMatchObject({ state: "off", reason: "it was turned off" });
    expect(statuses.get("filesystem")?.state).toBe("off");
    expect(statuses.get("process")?.state).toBe("on");
  });

  it("do not read rings that another agent reads, and say what that one made of them", async () => {
    await using folder = await openTemporaryFolder("sources");
    using pins = openPinFolder();
    const data = await dataIn(folder);
    const settings = { pinDirectory: pins.path, ringBytes: small };
    let position: RingPosition | undefined;
    {
      await using first = open(data, settings);
      await using running = await runAll(first);
      await run("true", []);
      const { chunks } = running.named("process");
      await running.named("process").waitFor(({ topic }) => topic === "process/exec", { count: 1 });
      position = chunks.findLast((chunk) => chunk.position !== undefined)?.position;
      await using second = open(data, settings);
      const statuses = await second.probe();
      for (const name of ["process", "control", "network", "flow", "file"]) {
        expect(statuses.get(name)).toMatchObject({
          state: "off",
          reason: `another agent uses the programs pinned in "${pins.path}"`,
        });
      }
      expect(statuses.get("filesystem")?.state).toBe("on");
    }
    {
      // New programs of processes have to be proven: none is read before, whose lines would lack what they tell.
      const other = { ...settings, ringBytes: { ...small, process: 1 << 21 } };
      await using without = open(data, other);
      expect(without.inherited()).toEqual([]);
      await using second = open(data, settings);
      expect(second.inherited().map(({ name }) => name)).toContain("file");
      await using running = await runAll(second);
      await run("true", []);
      await running.named("process").waitFor(({ topic }) => topic === "process/exec", { count: 1 });
    }
    if (position === undefined) throw new Error("The first agent has no position");
    await using third = open(data, { ...settings, positions: { process: position } });
    await using running = await runAll(third);
    await run("true", []);
    await running.named("process").waitFor(({ topic }) => topic === "process/exec", { count: 1 });
    const source = third.all.find(({ name }) => name === "process");
    expect(source?.losses()).toEqual([
      { class: "absent", count: null, reason: "another agent read the ring meanwhile" },
    ]);
  });

  it("name processes from /proc when the process source is off", async () => {
    await using folder = await openTemporaryFolder("sources");
    using pins = openPinFolder();
    const disabledSources = ["process", "control", "network", "flow", "file"] as const;
    await using sources = open(await dataIn(folder), { pinDirectory: pins.path, disabledSources });
    await using running = await runAll(sources);
    mkdirSync(join(folder.path, "made"));
    const [line] = await running.named("filesystem").waitFor(isMadeIn(folder.path), { count: 1 });
    expect(line).toMatchObject({
      pid: process.pid,
      uid: 0,
      user: "root",
      exe: readlinkSync("/proc/self/exe"),
    });
  });
});

async function dataIn(folder: TemporaryFolder): Promise<string> {
  const data = join(folder.path, "data");
  await mkdir(data);
  return data;
}

function isMadeIn(folder: string): (line: Line) => boolean {
  return (line) => line.topic === "file/create" && String(line["path"]).startsWith(`${folder}/`);
}

describe.runIf(hasBpf)("the doctor", () => {
  it("proves every source beside a running agent and leaves nothing behind", async () => {
    await using folder = await openTemporaryFolder("doctor");
    using pins = openPinFolder();
    await using sources = open(await dataIn(folder), { pinDirectory: pins.path, ringBytes: small });
    await using running = await runAll(sources);
    const pinned = readdirSync(pins.path);
    const before = readdirSync("/sys/fs/bpf");
    const probed = await probeSources({ log: testLog });
    expect(probed.map(({ name, status }) => [name, status.state])).toEqual(
      SOURCE_NAMES.map((name) => [name, "on"]),
    );
    expect(readdirSync("/sys/fs/bpf").toSorted()).toEqual(before.toSorted());
    expect(readdirSync(pins.path)).toEqual(pinned);
    mkdirSync(join(folder.path, "after"));
    await running.named("filesystem").waitFor(isMadeIn(folder.path), { count: 1 });
  });
});
