import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { createNameFeed } from "../../src/edge-agent/sources/filesystem/name-feed.ts";
import { contentKinds } from "../../src/edge-agent/sources/file-integrity/content-kinds.ts";
import { createIntegritySource } from "../../src/edge-agent/sources/file-integrity/integrity-source.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { openIntegrityRig, plainPolicies, plainProcesses } from "../support/integrity-rig.ts";
import { mountTmpfs, unmount } from "../support/mounts.ts";
import { requireCapability } from "../support/require.ts";
import { testLog } from "../support/ring-sources.ts";
import type { Line } from "../support/source-run.ts";

const isRoot = process.getuid?.() === 0;
const hasFanotify = requireCapability("fanotify", isRoot, "fanotify marks need root");
const folder = mkdtempSync(join(tmpdir(), "probity-places-"));
afterAll(() => rmSync(folder, { recursive: true }));

const isChangeOf = (path: string) => (line: Line): boolean =>
  line.topic === "file/change" && line["path"] === path;

describe.runIf(hasFanotify)("a watched path", () => {
  it("is followed through links above it, other mounts, and parents that come later", async () => {
    using filesystem = mountTmpfs();
    const at = (name: string): string => join(filesystem.path, name);
    for (const name of ["real", "other", "aliased", "bound"]) mkdirSync(at(name));
    for (const name of ["real", "aliased"]) writeFileSync(join(at(name), "file"), "1\n");
    symlinkSync(at("real"), at("link"));
    execFileSync("mount", ["--bind", at("aliased"), at("bound")]);
    try {
      await using rig = openIntegrityRig({
        paths: [`${at("link")}/**`, `${at("bound")}/**`, `${at("later/deep")}/**`],
      });
      await rig.start();
      const changed = async (path: string, count = 1): Promise<Line | undefined> =>
        (await rig.waitFor(isChangeOf(path), { count }))[count - 1];
      appendFileSync(at("real/file"), "2\n");
      expect((await changed(at("link/file")))?.detail["diff"]).toContain("+2\n");
      appendFileSync(at("aliased/file"), "2\n");
      expect((await changed(at("bound/file")))?.detail["diff"]).toContain("+2\n");
      mkdirSync(at("later"));
      mkdirSync(at("later/deep"));
      writeFileSync(at("later/deep/file"), "new\n");
      expect((await changed(at("later/deep/file")))?.detail["how"]).toBe("create");
      // The link now leads somewhere else: what is there is compared with what was.
      writeFileSync(at("other/file"), "3\n");
      symlinkSync(at("other"), at("next"));
      renameSync(at("next"), at("link"));
      expect((await changed(at("link/file"), 2))?.detail["diff"]).toContain("-1\n-2\n+3\n");
      appendFileSync(at("other/file"), "4\n");
      expect((await changed(at("link/file"), 3))?.detail["diff"]).toContain("+4\n");
    } finally {
      unmount(at("bound"));
    }
  });

  it("of a user who comes later is watched from then on, and what is there already is news", async () => {
    const homes = join(folder, "homes");
    mkdirSync(join(homes, "new"), { recursive: true });
    const keys = join(homes, "new", "authorized_keys");
    writeFileSync(keys, "one\n");
    const paths = [join(homes, "old", "authorized_keys")];
    await using rig = openIntegrityRig({ paths });
    await rig.start();
    paths.push(keys);
    const [line] = await rig.waitFor(isChangeOf(keys), { count: 1 });
    expect(line?.detail["diff"]).toContain("+one\n");
    // The agent was there: it says since when it may have been.
    expect(line?.detail["offline"]).toBeUndefined();
    expect(line?.detail["reconciled"]).toMatchObject({ from: expect.any(String) });
    appendFileSync(keys, "two\n");
    await rig.waitFor(isChangeOf(keys), { count: 2 });
  });

  it("of the source's own proves that it sees", async () => {
    await using rig = openIntegrityRig({ paths: [join(folder, "none")] });
    const source = await rig.start();
    for (let count = 1; count <= 2; count += 1) {
      const action = await source.prove?.();
      const proven = (line: Line): boolean => action?.check(line) === "proven";
      const [line] = await rig.waitFor(proven, { count: 1 });
      expect(line?.["path"]).toBe(join(rig.dataDirectory, "integrity.canary"));
      expect(rig.lines).toHaveLength(count);
    }
  });

  it("in an overlay is seen in the layer that takes its changes", async () => {
    using filesystem = mountTmpfs();
    const at = (name: string): string => join(filesystem.path, name);
    for (const name of ["lower", "upper", "work", "merged"]) mkdirSync(at(name));
    writeFileSync(at("lower/file"), "1\n");
    const layers = `lowerdir=${at("lower")},upperdir=${at("upper")},workdir=${at("work")}`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, at("merged")]);
    try {
      await using rig = openIntegrityRig({ paths: [`${at("upper")}/**`] });
      await rig.start();
      appendFileSync(at("merged/file"), "2\n");
      await rig.waitFor(isChangeOf(at("upper/file")), { count: 1 });
      appendFileSync(at("merged/file"), "3\n");
      const found = await rig.waitFor(
        (line) =>
          isChangeOf(at("upper/file"))(line) && String(line.detail["diff"]).includes("+3\n"),
        { count: 1 },
      );
      expect(found[0]?.["pid"]).toBe(process.pid);
    } finally {
      unmount(at("merged"));
    }
  });

  it("is told once disk space is back, when agent.db could take nothing", async () => {
    using disk = mountTmpfs({ sizeMiB: 1 });
    using filesystem = mountTmpfs();
    const path = join(filesystem.path, "file");
    writeFileSync(path, "before\n");
    await using rig = openIntegrityRig({ paths: [path], dataDirectory: join(disk.path, "data") });
    await rig.start();
    const filler = join(disk.path, "filler");
    fill(filler);
    writeFileSync(path, `${"after\n".repeat(20_000)}`);
    await expect(rig.waitFor(isChangeOf(path), { count: 1, timeoutMs: 700 })).rejects.toThrow();
    unlinkSync(filler);
    const [line] = await rig.waitFor(isChangeOf(path), { count: 1, timeoutMs: 10_000 });
    expect(line?.detail["sha256_after"]).toBe(sha256(readFileSync(path)));
  });

  it("is compared when the kernel dropped reports, and the interval is told", async () => {
    using filesystem = mountTmpfs();
    const path = join(filesystem.path, "watched");
    const noise = join(filesystem.path, "noise");
    writeFileSync(path, "1\n");
    mkdirSync(noise);
    await using rig = openIntegrityRig({ paths: [path] });
    const source = await rig.start();
    const files = Number(readFileSync("/proc/sys/fs/fanotify/max_queued_events", "utf8")) + 2000;
    // Nothing is read while this process works: closes of that many files fill the queue.
    for (let number = 0; number < files; number += 1) writeFileSync(join(noise, `${number}`), "");
    appendFileSync(path, "2\n");
    const [line] = await rig.waitFor(isChangeOf(path), { count: 1, timeoutMs: 20_000 });
    expect(line?.detail["diff"]).toContain("+2\n");
    expect(line?.detail["reconciled"]).toEqual({
      from: expect.any(String),
      to: expect.any(String),
    });
    expect(source.losses().map((loss) => loss.class)).toContain("overflow");
  }, 60_000);
});

describe.runIf(hasFanotify)("what a package manager writes", () => {
  it("is one event per package where it is what packages deliver, and else grave", async () => {
    using filesystem = mountTmpfs();
    const root = join(filesystem.path, "root");
    const watched = join(filesystem.path, "watched");
    mkdirSync(join(root, "var/lib/dpkg/info"), { recursive: true });
    mkdirSync(watched);
    const names = ["a", "b", "c"].map((name) => join(watched, name));
    const md5 = (text: string): string => createHash("md5").update(text).digest("hex");
    writeFileSync(
      join(root, "var/lib/dpkg/status"),
      "Package: sample\nStatus: install ok installed\nVersion: 1.2\nArchitecture: all\n",
    );
    writeFileSync(
      join(root, "var/lib/dpkg/info/sample.md5sums"),
      names.map((name) => `${md5(`${name}\n`)}  ${name.slice(1)}\n`).join(""),
    );
    const manager = spawn("sleep", ["60"]);
    const ticks = readFileSync(`/proc/${manager.pid}/stat`, "utf8").split(") ")[1]?.split(" ")[19];
    const id = `00000000-${manager.pid}-${ticks}`;
    const processes: ProcessLookup = {
      ...plainProcesses,
      actorOf: (pid) => ({
        columns: `"pid":${pid},"exe":"/usr/bin/tar",`,
        name: "/usr/bin/tar",
        escaped: [],
      }),
      ancestorsOf: () => [{ pid: manager.pid ?? 0, process_id: id, exe: "/usr/bin/dpkg" }],
    };
    await using rig = openIntegrityRig({ paths: [`${watched}/**`], processes, packageRoot: root });
    await rig.start();
    for (const name of names) writeFileSync(name, `${name}\n`);
    writeFileSync(join(watched, "stray"), "of a script\n");
    // Nothing is told while the manager works.
    await expect(rig.waitFor(() => true, { count: 1, timeoutMs: 600 })).rejects.toThrow();
    manager.kill();
    const lines = await rig.waitFor(({ topic }) => topic === "file/change", { count: 2 });
    expect(lines.find(({ detail }) => detail["package"] === "sample")).toMatchObject({
      severity: "info",
      exe: "/usr/bin/tar",
      detail: { how: "package", version: "1.2", manager: "dpkg", count: 3, paths: names },
    });
    expect(lines.find((line) => line["path"] === join(watched, "stray"))).toMatchObject({
      severity: "high",
      detail: { how: "create" },
    });
    expect(rig.lines.filter(({ topic }) => topic === "file/change")).toHaveLength(2);
  });
});

describe.runIf(hasFanotify)("file integrity", () => {
  const watched = join(folder, "conformance");
  let number = 0;
  beforeAll(() => {
    mkdirSync(watched);
    writeFileSync(join(watched, "file"), "0");
  });
  describeSource("integrity", {
    create: () => {
      const dataDirectory = mkdtempSync(join(folder, "data-"));
      chmodSync(dataDirectory, 0o700);
      const policies = plainPolicies([`${watched}/**`], "content-diff");
      return createIntegritySource({
        processes: plainProcesses,
        names: createNameFeed(),
        policies,
        compile: () => policies,
        parsePolicies: () => policies,
        kinds: contentKinds(Buffer.alloc(32)),
        openHook: () => Promise.resolve(undefined),
        probe: () => Promise.resolve({ state: "on", how: "fanotify" }),
        dataDirectory,
        position: undefined,
        clock: systemClock,
        log: testLog,
      });
    },
    trigger: () => writeFileSync(join(watched, "file"), String(number += 1)),
    isTriggered: (line) => line["path"] === join(watched, "file"),
    hasRing: true,
  });
});

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Writes until the disk takes no more. */
function fill(path: string): void {
  for (const size of [65_536, 4096, 512]) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(size, 1));
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    }
  }
}
