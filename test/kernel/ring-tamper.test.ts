import { execFile } from "node:child_process";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { loadLibbpf } from "../../src/edge-agent/libbpf.ts";
import { openPinnedPrograms } from "../../src/edge-agent/pinned-programs.ts";
import type { SourceLoss } from "../../src/edge-agent/source.ts";
import { kernelDevice } from "../../src/edge-agent/program-settings.ts";
import { openInodeHook } from "../../src/edge-agent/sources/file-integrity/pinned-inode-hook.ts";
import {
  hasBpf,
  openPinFolder,
  openTestSource,
  runAttached,
  testContext,
  testLog,
} from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
/** A ring that is mapped cannot be frozen. */
const OPEN_MAPS = ["map_events"];
const MOVER = fileURLToPath(new URL("../support/ring-mover.ts", import.meta.url));

describe.runIf(hasBpf)("the position of a pinned ring", () => {
  it("moved on or back by another process becomes a loss of its own class, and reading goes on", async () => {
    using pins = openPinFolder();
    const source = openTestSource({ family: "process", pins });
    const running = await runAttached(source, pins);
    const lost: SourceLoss[] = [];
    const tampered = () => {
      lost.push(...source.losses().filter((loss) => loss.class === "tampered"));
      return lost.length;
    };
    const [name = ""] = readdirSync(pins.path);
    const ring = join(pins.path, name, "map_events");
    await run("/bin/true", ["before"]);
    await running.waitFor((line) => line["cmdline"] === "/bin/true before", { count: 1 });
    expect(tampered()).toBe(0);
    for (const [place, bytes] of ["8", "-64", "1000000000000", "4611686018427387904"].entries()) {
      await run(process.execPath, [MOVER, ring, bytes]);
      await expect.poll(tampered, { timeout: 10_000 }).toBe(place + 1);
      await run("/bin/true", [`after ${bytes}`]);
      await running.waitFor((line) => line["cmdline"] === `/bin/true after ${bytes}`, { count: 1 });
    }
    // Nobody wrote a ring's length of records in between.
    expect(lost.map(({ count }) => count)).toEqual([0, 0, 0, 0]);
    await running.stop();
  });
});

describe.runIf(hasBpf)("the maps of pinned programs", () => {
  it("are written by nobody but the agent, also the next one", async () => {
    using pins = openPinFolder();
    const source = openTestSource({ family: "process", pins });
    const running = await runAttached(source, pins);
    const [name = ""] = readdirSync(pins.path);
    await expectFrozen(join(pins.path, name));
    await running.stop();
    await source[Symbol.asyncDispose]();

    // As an agent does that is started again: through its own gate.
    const libbpf = loadLibbpf();
    using programs = openPinnedPrograms(libbpf, join(pins.path, name));
    const before = programs.settings();
    programs.setSettings({ ...before, dataInode: 4711n });
    expect(programs.settings()).toEqual({ ...before, dataInode: 4711n });
    programs.setLedger("carried", { ring_full: 3 });
    programs.setLedger("carried", { ring_full: 4 });
    expect(programs.ledger("carried")).toMatchObject({ ring_full: 4 });
    const folders = [{ inode: 7n, device: 8, filters: 3 }, { inode: 9n, device: 8, filters: 1 }];
    const bytes = new Uint8Array(await valueBytesOf(join(pins.path, name, "map_rules"))).fill(0);
    // Each of the two sets is filled, then emptied.
    for (const each of [folders, folders, [], []]) programs.setRules({ bytes, folders: each });
    const { stdout } = await run("bpftool", [
      "--json",
      "map",
      "dump",
      "pinned",
      join(pins.path, name, "map_folders"),
    ]);
    expect(JSON.parse(stdout)).toEqual([]);
    expect(programs.settings().generation).toBe(before.generation + 4);
  });
});

describe.runIf(hasBpf)("the map of watched inodes", () => {
  it("is written by nobody but the agent", async () => {
    using pins = openPinFolder();
    await using folder = await openTemporaryFolder("watched");
    const path = join(folder.path, "file");
    writeFileSync(path, "");
    const { dev, ino } = statSync(path, { bigint: true });
    const device = kernelDevice(dev);
    const file = {
      device: `${device >>> 20}:${device & 0xfffff}`,
      inode: Number(ino),
      type: "regular",
      generation: undefined,
    } as const;
    using hook = openInodeHook({
      context: testContext(),
      pinFolder: pins.path,
      variant: "tp_btf",
      ownership: undefined,
      log: testLog,
    });
    const [name = ""] = readdirSync(pins.path);
    await expectFrozen(join(pins.path, name));
    const hits = (): number => hook.read().filter(({ inode }) => inode === file.inode).length;
    hook.watch(file);
    writeFileSync(path, "stored");
    expect(hits()).toBeGreaterThan(0);
    hook.unwatch(file);
    // Of one process and way there is one record a second.
    await run("sh", ["-c", `echo stored >> ${path}`]);
    expect(hits()).toBe(0);
    hook.watch(file);
    await run("sh", ["-c", `echo stored >> ${path}`]);
    expect(hits()).toBe(1);
    expect(hook.losses()).toEqual([]);
  });
});

/** No tool may write the maps of pinned programs. */
async function expectFrozen(folder: string): Promise<void> {
  const maps = readdirSync(folder).filter((each) => each.startsWith("map_"));
  expect(maps.length).toBeGreaterThan(5);
  for (const map of maps.filter((each) => !OPEN_MAPS.includes(each))) {
    const path = join(folder, map);
    const { stdout } = await run("bpftool", ["--json", "map", "show", "pinned", path]);
    const { bytes_key: keyBytes, bytes_value: valueBytes } = JSON.parse(stdout);
    const zeros = (count: number) => Array.from({ length: count }, () => "0");
    const entry = ["key", ...zeros(keyBytes), "value", ...zeros(valueBytes)];
    const edit = run("bpftool", ["map", "update", "pinned", path, ...entry]);
    await expect(edit, map).rejects.toThrow(/Operation not permitted/);
    const remove = run("bpftool", ["map", "delete", "pinned", path, "key", ...zeros(keyBytes)]);
    await expect(remove, map).rejects.toThrow(/not permitted|Invalid argument/);
  }
}

async function valueBytesOf(path: string): Promise<number> {
  const { stdout } = await run("bpftool", ["--json", "map", "show", "pinned", path]);
  return JSON.parse(stdout).bytes_value;
}
