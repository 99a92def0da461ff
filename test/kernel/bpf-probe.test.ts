import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openPinnedPrograms } from "../../src/edge-agent/pinned-programs.ts";
import { probeRingFamily, UNSEEN_REASON } from "../../src/edge-agent/probe.ts";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import { NEVER_NS, type ProgramSettings } from "../../src/edge-agent/program-settings.ts";
import { openRingChain } from "../../src/edge-agent/ring-chain.ts";
import type { SourceStatus } from "../../src/edge-agent/source.ts";
import { controlFamily } from "../../src/edge-agent/sources/control/control-family.ts";
import { ENVIRONMENT_NAMES } from "../../src/edge-agent/sources/process/environment.ts";
import { createProcessFamily } from "../../src/edge-agent/sources/process/process-family.ts";
import type { RingFamily } from "../../src/edge-agent/sources/ring-family.ts";
import { openRingSource } from "../../src/edge-agent/sources/ring-source.ts";
import {
  hasBpf,
  openPinFolder,
  openTestSource,
  type PinFolder,
  runAttached,
  TEST_RING_BYTES,
  testContext,
  testLog,
} from "../support/ring-sources.ts";
import { type Line, runSource } from "../support/source-run.ts";

const PROBER = fileURLToPath(new URL("../support/probe-process.ts", import.meta.url));
const BPF_PROG_TYPE_SYSCALL = 31;
const EARLIER_CONNECTIONS = 400;
const FAMILIES = ["process", "control", "network", "flow", "file"] as const;
/** What each proof triggers. */
const HOOKS = {
  process: ["exec", "fork", "exit"],
  control: ["credentials", "ptrace", "signal"],
  network: ["connect", "listen", "accept"],
  flow: ["send", "receive", "bind", "close"],
  file: ["open", "io_uring"],
} as const;

describe.runIf(hasBpf)("a probe", () => {
  it.each(
    FAMILIES.flatMap((family) =>
      (family === "flow" ? ["cgroup"] as const : PROGRAM_VARIANTS)
        .map((variant) => [family, variant] as const)
    ),
  )(
    "proves %s as %s by what comes back, and leaves nothing running",
    async (family, variant) => {
      using pins = openPinFolder();
      const before = heldObjects();
      await using source = openTestSource({ family, pins, variants: [variant] });
      expect(await source.probe()).toEqual({
        state: "on",
        how: variant,
        hooks: HOOKS[family].map((name) => ({ name, state: "on" })),
      });
      expect(existsSync(pins.path) ? readdirSync(pins.path) : []).toEqual([]);
      expect(heldObjects()).toBe(before);
    },
  );

  it("keeps what it proved when asked, and of what that met before nothing is told or counted", async () => {
    using pins = openPinFolder();
    const before = heldObjects();
    const ringBytes = 65_536;
    {
      await using source = openTestSource({
        family: "network",
        pins,
        ringBytes,
        keepsProven: true,
      });
      expect(await source.probe()).toMatchObject({ state: "on" });
      const proven = heldPrograms();
      expect(proven.size).toBeGreaterThan(0);
      // More than the ring holds: of each connection four events, of more than 100 bytes each.
      const earlier = await connectOften(EARLIER_CONNECTIONS);
      await using run = await runAttached(source, pins);
      expect(heldPrograms()).toEqual(proven);
      const later = await connectOften(1);
      await run.waitFor((line) => line.topic === "network/connect" && isAt(later, line), {
        count: 1,
      });
      expect(run.lines.filter((line) => isAt(earlier, line))).toEqual([]);
      expect(source.losses()).toEqual([]);
      const { attempted, submitted } = source.counters();
      expect(submitted).toBeGreaterThan(0);
      // Others connect, too.
      expect(attempted).toBeLessThan(EARLIER_CONNECTIONS);
    }
    expect(heldObjects()).toBe(before);
  });

  it("keeps nothing where programs are pinned, where it was closed, nor what does not tell twice", async () => {
    using pins = openPinFolder();
    const before = heldObjects();
    const asked = { pins, ringBytes: 1 << 20, keepsProven: true };
    await using flow = openTestSource({ ...asked, family: "flow" });
    expect(await flow.probe()).toMatchObject({ state: "on" });
    expect(heldObjects()).toBe(before);
    {
      await using closed = openTestSource({ ...asked, family: "file" });
      const probed = closed.probe();
      await closed[Symbol.asyncDispose]();
      expect(await probed).toMatchObject({ state: "on" });
      expect(heldObjects()).toBe(before);
    }
    {
      await using first = openTestSource({ ...asked, family: "file" });
      await using _run = await runAttached(first, pins);
    }
    await using second = openTestSource({ ...asked, family: "file" });
    expect(await second.probe()).toMatchObject({ state: "on" });
    expect(heldObjects()).toBe(before);
  });

  it.each(FAMILIES)("proves %s by programs that an agent left, and loads none", async (family) => {
    using pins = openPinFolder();
    const left = leavePrograms(family, pins);
    await using source = openTestSource({ family, pins });
    expect(source.isInherited?.()).toBe(true);
    const { result, used } = await programsWhile(() => source.probe());
    expect(result).toEqual({
      state: "on",
      how: family === "flow" ? "cgroup" : "tp_btf",
      hooks: HOOKS[family].map((name) => ({ name, state: "on" })),
    });
    expect(used).toEqual(left);
    await using other = openTestSource({ family, pins, ringBytes: 1 << 20 });
    expect(other.isInherited?.()).toBe(false);
  });

  it("proves new programs where those that an agent left are blind", async () => {
    using pins = openPinFolder();
    const left = leavePrograms("network", pins, { untilNs: 1n });
    await using source = openTestSource({ family: "network", pins });
    const { result, used } = await programsWhile(() => source.probe());
    expect(result).toMatchObject({ state: "on", how: "tp_btf" });
    expect(used.difference(left).size).toBeGreaterThan(0);
  });

  it("says that the programs that it goes on with are blind, not that others would see", async () => {
    using pins = openPinFolder();
    leavePrograms("network", pins);
    await using source = openTestSource({ family: "network", pins });
    await using _run = runSource(source);
    blind(pins);
    expect(await source.probe()).toEqual({
      state: "on",
      how: "tp_btf",
      hooks: HOOKS.network.map((name) => ({ name, state: "off", reason: UNSEEN_REASON })),
    });
  });

  it("is not put off by a record that makes no sense", async () => {
    using pins = openPinFolder();
    let records = 0;
    const family: RingFamily = {
      ...controlFamily,
      createDecoder(context) {
        const decoder = controlFamily.createDecoder(context);
        return {
          ...decoder,
          line(record) {
            records += 1;
            if (records === 1) throw new RangeError("Cannot read a record");
            return records === 2 ? '"topic":' : decoder.line(record);
          },
        };
      },
    };
    const { status } = await probeRingFamily(testContext(), { family, pinFolder: pins.path });
    expect(status).toMatchObject({ state: "on" });
    expect(records).toBeGreaterThan(2);
  });

  it("says who may load programs, when this process may not", () => {
    using pins = openPinFolder();
    const output = execFileSync("setpriv", [
      "--bounding-set=-all",
      "--inh-caps=-all",
      process.execPath,
      PROBER,
      pins.path,
    ], { encoding: "utf8" });
    const statuses: SourceStatus[] = JSON.parse(output);
    expect(statuses).toHaveLength(FAMILIES.length);
    for (const status of statuses) {
      expect(status).toEqual({
        state: "off",
        reason: expect.stringMatching(/^not allowed to load kernel programs: (tp_btf|cgroup): /),
        remedy: expect.stringMatching(/as root, or with CAP_BPF/),
      });
    }
  });

  it("says which hook is off and why, while the others are on", async () => {
    using pins = openPinFolder();
    const context = testContext();
    const { libbpf } = context;
    if (libbpf === undefined) throw new Error(context.libbpfError);
    const EPERM = 1;
    const without = { ...context, libbpf: { ...libbpf, io_uring_setup: () => -EPERM } };
    const options = {
      family: "file",
      context: without,
      log: testLog,
      pinFolder: pins.path,
    } as const;
    await using source = openRingSource(options);
    expect(await source.probe()).toMatchObject({
      state: "on",
      hooks: [
        { name: "open", state: "on" },
        { name: "io_uring", state: "off", reason: "io_uring is not to be had here: errno 1" },
      ],
    });
  });

  it("says when programs cannot be kept", async () => {
    const context = testContext();
    const pinFolder = join(tmpdir(), "probity-no-bpf-filesystem");
    await using source = openRingSource({ family: "file", context, log: testLog, pinFolder });
    expect(await source.probe()).toEqual({
      state: "off",
      reason: expect.stringContaining(`Cannot pin programs in "${pinFolder}"`),
      remedy: expect.stringMatching(/^mount the BPF filesystem/),
    });
    expect(existsSync(pinFolder)).toBe(false);
  });

  it("says when libbpf is missing, and start then fails", async () => {
    const context = { ...testContext(), libbpf: undefined, libbpfError: "no libbpf.so.1" };
    await using source = openRingSource({ family: "file", context, log: testLog });
    const status = await source.probe();
    expect(status).toMatchObject({ state: "off", reason: "no libbpf.so.1" });
    const chunks = source.start(new AbortController().signal)[Symbol.asyncIterator]();
    await expect(chunks.next()).rejects.toThrow(/Cannot start source "file": no libbpf.so.1/);
  });
});

/** Connects to a port of its own and hangs up, one connection after the other; the port. */
async function connectOften(count: number): Promise<number> {
  const server = createServer((socket) => socket.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  for (let place = 0; place < count; place += 1) {
    const socket = connect(port, "127.0.0.1");
    socket.resume();
    await once(socket, "close");
  }
  server.close();
  await once(server, "close");
  return port;
}

function isAt(port: number, line: Line): boolean {
  return line["dst_port"] === port || line["src_port"] === port;
}

/** Ids of the programs that this process holds, but for those that write maps. */
function heldPrograms(): ReadonlySet<string> {
  const folder = "/proc/self/fdinfo";
  const ids = readdirSync(folder).flatMap((fd) => {
    try {
      const text = readFileSync(join(folder, fd), "utf8");
      const isGate = text.includes(`prog_type:\t${BPF_PROG_TYPE_SYSCALL}\n`);
      return isGate ? [] : /^prog_id:\s*(\d+)$/m.exec(text)?.[1] ?? [];
    } catch {
      return []; // the descriptor through which the folder was read
    }
  });
  return new Set(ids);
}

/** Ids of the programs that go on when this has ended, as an agent leaves them. */
function leavePrograms(
  family: typeof FAMILIES[number],
  pins: PinFolder,
  settings: Partial<ProgramSettings> = {},
): ReadonlySet<string> {
  const { libbpf, bootClock } = testContext();
  if (libbpf === undefined) throw new Error("no libbpf");
  const { programs } = openRingChain({
    ...{ libbpf, bootClock, family, pinFolder: pins.path },
    // What happens to this process is told as an agent's; it writes into no such folder.
    ownership: { pids: [process.pid], dataFolder: import.meta.dirname },
    variant: family === "flow" ? "cgroup" : "tp_btf",
    ringBytes: TEST_RING_BYTES,
    ...(family === "process"
      ? { values: createProcessFamily(ENVIRONMENT_NAMES).values ?? {} }
      : {}),
  });
  try {
    for (const each of programs) each.setSettings({ ...each.settings(), ...settings });
    return heldPrograms();
  } finally {
    for (const each of programs) each[Symbol.dispose]();
  }
}

/** Nothing that happens is of the time of these programs any more. */
function blind(pins: PinFolder): void {
  const { libbpf } = testContext();
  const [name] = readdirSync(pins.path);
  if (libbpf === undefined || name === undefined) throw new Error("Cannot blind: no programs");
  using programs = openPinnedPrograms(libbpf, join(pins.path, name));
  programs.setSettings({ ...programs.settings(), fromNs: NEVER_NS });
}

/** The programs that this process held meanwhile. */
async function programsWhile<T>(
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly used: ReadonlySet<string> }> {
  const used = new Set<string>();
  const looking = setInterval(() => heldPrograms().forEach((id) => used.add(id)), 1);
  try {
    return { result: await work(), used };
  } finally {
    clearInterval(looking);
  }
}

/** Programs, links and maps that this process holds. */
function heldObjects(): number {
  const folder = "/proc/self/fd";
  return readdirSync(folder).map((fd) => linkText(join(folder, fd)))
    .filter((text) => /^anon_inode:bpf/.test(text)).length;
}

function linkText(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // the descriptor through which the folder was read
  }
}
