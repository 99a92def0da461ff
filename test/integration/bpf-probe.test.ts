import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { probeRingFamily } from "../../src/edge-agent/probe.ts";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import type { SourceStatus } from "../../src/edge-agent/source.ts";
import { controlFamily } from "../../src/edge-agent/sources/control/control-family.ts";
import type { RingFamily } from "../../src/edge-agent/sources/ring-family.ts";
import { openRingSource } from "../../src/edge-agent/sources/ring-source.ts";
import {
  hasBpf,
  openPinFolder,
  openTestSource,
  testContext,
  testLog,
} from "../support/ring-sources.ts";

const PROBER = fileURLToPath(new URL("../support/probe-process.ts", import.meta.url));
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
