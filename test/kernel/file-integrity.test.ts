import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openInodeHook } from "../../src/edge-agent/sources/file-integrity/pinned-inode-hook.ts";
import { type MountedFilesystem, mountExt4, mountTmpfs } from "../support/mounts.ts";
import { type IntegrityRig, openIntegrityRig } from "../support/integrity-rig.ts";
import { requireCapability } from "../support/require.ts";
import { openPinFolder, type PinFolder, testContext, testLog } from "../support/ring-sources.ts";
import type { Line } from "../support/source-run.ts";

const isRoot = process.getuid?.() === 0;
const hasFanotify = requireCapability("fanotify", isRoot, "fanotify marks need root");

/** Stores one byte through a mapping, and another one when it is told to. */
const MAP = `
import mmap, sys
with open(sys.argv[1], "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
m[0] = ord("b")
sys.stdin.readline()
m[1] = ord("b")
sys.stdin.readline()
`;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

describe.runIf(hasFanotify).each([
  ["tmpfs", mountTmpfs],
  ["ext4", mountExt4],
])("file integrity on %s", (_type, mount) => {
  let filesystem: MountedFilesystem;
  let rig: IntegrityRig;
  let watched: string;
  let pins: PinFolder;
  beforeAll(async () => {
    filesystem = mount();
    watched = join(filesystem.path, "watched");
    mkdirSync(watched);
    writeFileSync(join(watched, "old"), "one\ntwo\n");
    pins = openPinFolder();
    const openHook = () =>
      Promise.resolve(openInodeHook({
        context: testContext(),
        pinFolder: pins.path,
        variant: "tp_btf",
        ownership: undefined,
        log: testLog,
      }));
    rig = openIntegrityRig({ paths: [`${watched}/**`], openHook });
    await rig.start();
  });
  afterAll(async () => {
    await rig[Symbol.asyncDispose]();
    pins[Symbol.dispose]();
    filesystem[Symbol.dispose]();
  });
  const at = (name: string): string => join(watched, name);
  const changeOf = async (path: string, count = 1): Promise<Line> => {
    const found = await rig.waitFor(
      (line) => line.topic === "file/change" && line["path"] === path,
      { count },
    );
    const line = found[count - 1];
    if (line === undefined) throw new Error(`Cannot find change ${count} of ${path}`);
    return line;
  };

  it("tells a plain write with diff, digests and writer", async () => {
    const { pid } = spawnSync("sh", ["-c", `echo three >> ${at("old")}`]);
    const line = await changeOf(at("old"));
    const { ino, dev } = statSync(at("old"));
    expect(line).toMatchObject({
      pid,
      outcome: "success",
      detail: {
        kind: "content-diff",
        how: "write",
        inode: ino,
        device: `${dev >> 8}:${dev & 0xff}`,
        size: 14,
        links: 1,
        mode: "0100644",
        sha256_before: sha256("one\ntwo\n"),
        sha256_after: sha256("one\ntwo\nthree\n"),
      },
    });
    expect(line.detail["diff"]).toContain("+three\n");
    expect(line.detail["offline"]).toBeUndefined();
  });

  it("tells of a change within a second", async () => {
    const tookMs: number[] = [];
    for (let change = 1; change <= 4; change += 1) {
      const beganMs = performance.now();
      writeFileSync(at("timed"), `text ${change}\n`);
      await changeOf(at("timed"), change);
      tookMs.push(performance.now() - beganMs);
    }
    // One at least: what else the machine does makes others late.
    expect(Math.min(...tookMs), String(tookMs)).toBeLessThan(1000);
  });

  it("tells a file that is made, and then removed", async () => {
    writeFileSync(at("new"), "text\n");
    const made = await changeOf(at("new"));
    expect(made.detail).toMatchObject({ how: "create", sha256_after: sha256("text\n") });
    expect(made.detail["sha256_before"]).toBeUndefined();
    expect(made.detail["diff"]).toContain("--- /dev/null");
    unlinkSync(at("new"));
    const gone = await changeOf(at("new"), 2);
    expect(gone.detail).toMatchObject({ how: "delete", sha256_before: sha256("text\n") });
    expect(gone.detail["sha256_after"]).toBeUndefined();
  });

  it("compares what is put over a path with what was there", async () => {
    writeFileSync(at("config"), "a\nb\n");
    await changeOf(at("config"));
    writeFileSync(join(filesystem.path, "staged"), "a\nc\n");
    renameSync(join(filesystem.path, "staged"), at("config"));
    const line = await changeOf(at("config"), 2);
    expect(line).toMatchObject({
      old_path: join(filesystem.path, "staged"),
      detail: { how: "rename", sha256_before: sha256("a\nb\n"), sha256_after: sha256("a\nc\n") },
    });
    expect(line.detail["diff"]).toContain("-b\n+c\n");
    appendFileSync(at("config"), "d\n");
    expect((await changeOf(at("config"), 3)).detail["diff"]).toContain("+d\n");
  });

  it("tells an editor's way of saving as one change of the name", async () => {
    writeFileSync(at("edited"), "1\n");
    await changeOf(at("edited"));
    renameSync(at("edited"), at("edited~"));
    writeFileSync(at("edited"), "2\n");
    unlinkSync(at("edited~"));
    const line = await changeOf(at("edited"), 2);
    expect(line.detail["diff"]).toContain("-1\n+2\n");
  });

  it("follows a file that is renamed, and a directory", async () => {
    mkdirSync(at("from"));
    writeFileSync(at("from/file"), "x\n");
    await changeOf(at("from/file"));
    renameSync(at("from/file"), at("from/other"));
    const moved = await changeOf(at("from/other"));
    expect(moved).toMatchObject({
      old_path: at("from/file"),
      detail: { how: "rename", sha256_before: sha256("x\n"), sha256_after: sha256("x\n") },
    });
    renameSync(at("from"), at("to"));
    expect(await changeOf(at("to/other"))).toMatchObject({ old_path: at("from/other") });
    renameSync(at("to"), join(filesystem.path, "away"));
    const away = await changeOf(at("to/other"), 2);
    expect(away.detail).toMatchObject({
      how: "rename",
      new_path: join(filesystem.path, "away/other"),
    });
    renameSync(join(filesystem.path, "away"), at("back"));
    expect((await changeOf(at("back/other"))).detail).toMatchObject({ how: "rename" });
  });

  it("tells both sides of an exchange", async () => {
    for (const name of ["left", "right"]) {
      writeFileSync(at(name), `${name}\n`);
      await changeOf(at(name));
    }
    const exchange = 'syscall(316, -100, $ARGV[0], -100, $ARGV[1], 2) == 0 or die "$!"';
    execFileSync("perl", [
      "-e",
      exchange.replaceAll("$ARGV[0]", "my $x = $ARGV[0]").replaceAll(
        "$ARGV[1]",
        "my $y = $ARGV[1]",
      ),
      at("left"),
      at("right"),
    ]);
    expect((await changeOf(at("left"), 2)).detail).toMatchObject({
      how: "exchange",
      sha256_before: sha256("left\n"),
      sha256_after: sha256("right\n"),
    });
    expect((await changeOf(at("right"), 2)).detail["sha256_after"]).toBe(sha256("left\n"));
  });

  it("sees a write through another name of the file", async () => {
    writeFileSync(at("linked"), "1\n");
    await changeOf(at("linked"));
    linkSync(at("linked"), join(filesystem.path, "outside"));
    await rig.waitFor(
      (line) => line.topic === "file/attribute" && line["path"] === at("linked"),
      { count: 1 },
    );
    appendFileSync(join(filesystem.path, "outside"), "2\n");
    expect((await changeOf(at("linked"), 2)).detail["diff"]).toContain("+2\n");
  });

  it("sees a file made without a name when it gets one", async () => {
    const script = `use Fcntl; sysopen(my $f, $ARGV[0], 020200000 | O_WRONLY) or die "$!";` +
      ` syswrite($f, "hidden\\n");` +
      ` my $from = "/proc/self/fd/" . fileno($f); my $to = $ARGV[1];` +
      ` syscall(265, -100, $from, -100, $to, 0x400) == 0 or die "$!";`;
    execFileSync("perl", ["-e", script, watched, at("linkat")]);
    expect((await changeOf(at("linkat"))).detail["sha256_after"]).toBe(sha256("hidden\n"));
  });

  it("tells rights that change", async () => {
    writeFileSync(at("rights"), "");
    await changeOf(at("rights"));
    chmodSync(at("rights"), 0o4777);
    const [line] = await rig.waitFor(
      (each) => each.topic === "file/attribute" && each["path"] === at("rights"),
      { count: 1 },
    );
    expect(line?.detail).toMatchObject({
      mode: "0104777",
      mode_before: "0100644",
      changed: ["mode"],
    });
  });

  it("tells what takes a file's place without opening it: directory, FIFO, link in a circle", async () => {
    for (const name of ["dir", "fifo", "loop"]) {
      writeFileSync(at(name), "x");
      await changeOf(at(name));
    }
    for (const name of ["dir", "fifo", "loop"]) unlinkSync(at(name));
    mkdirSync(at("dir"));
    execFileSync("mkfifo", [at("fifo")]);
    symlinkSync("loop", at("loop"));
    expect((await changeOf(at("dir"), 2)).detail["diff_missing"]).toContain("directory");
    const fifo = await rig.waitFor(
      (line) => line["path"] === at("fifo") && line.detail["type"] === "fifo",
      { count: 1 },
    );
    expect(fifo[0]?.detail["diff_missing"]).toContain("fifo");
    const loop = await rig.waitFor(
      (line) => line["path"] === at("loop") && line.detail["type"] === "symlink",
      { count: 1 },
    );
    expect(loop[0]?.detail["sha256_after"]).toBe(sha256("loop"));
  });

  it("takes names that are no text, and paths as long as they come", async () => {
    const name = Buffer.from([0x0a, 0xff, 0x5c]);
    writeFileSync(Buffer.concat([Buffer.from(`${watched}/`), name]), "x");
    const escaped = `${watched}/\n\\xff\\x5c`;
    expect((await changeOf(escaped)).detail["escaped"]).toContain("path");
    const part = "p".repeat(250);
    const script = `for (1..20) { mkdir($ARGV[0]); chdir($ARGV[0]) or die "$!" }` +
      ` open(my $f, ">", "deep") or die "$!"; print $f "deep";`;
    execFileSync("perl", ["-e", script, part], { cwd: watched });
    const deep = `${watched}/${Array.from({ length: 20 }, () => part).join("/")}/deep`;
    expect(deep.length).toBeGreaterThan(4096);
    expect((await changeOf(deep)).detail["sha256_after"]).toBe(sha256("deep"));
  });

  it("sees a store through a mapping, of a file that nobody closes, and who made it", async () => {
    writeFileSync(at("mapped"), "aaaa\n");
    await changeOf(at("mapped"));
    const child = spawn("python3", ["-c", MAP, at("mapped")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    try {
      const line = await changeOf(at("mapped"), 2);
      expect(line).toMatchObject({ pid: child.pid, detail: { how: "mmap" } });
      expect(line.detail["diff"]).toContain("-aaaa\n+baaa\n");
      child.stdin.write("\n");
      const later = await changeOf(at("mapped"), 3);
      expect(later.detail["diff"]).toContain("-baaa\n+bbaa\n");
    } finally {
      child.kill();
    }
  });

  it("tells who writes to a file that stays open, while it is written", async () => {
    writeFileSync(at("open"), "");
    await changeOf(at("open"));
    const script = `$| = 1; open(my $f, ">>", $ARGV[0]); syswrite($f, "first\n"); <STDIN>`;
    const child = spawn("perl", ["-e", script, at("open")], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    try {
      const line = await changeOf(at("open"), 2);
      expect(line).toMatchObject({ pid: child.pid, detail: { how: "write" } });
      expect(line.detail["ancestors"]).toContainEqual(
        expect.objectContaining({ pid: process.pid, process_id: expect.any(String) }),
      );
    } finally {
      child.kill();
    }
  });

  it("tells, after it was away, what changed meanwhile, and nothing twice", async () => {
    writeFileSync(at("kept"), "1\n");
    writeFileSync(at("going"), "going\n");
    writeFileSync(at("moving"), "moving\n");
    for (const name of ["kept", "going", "moving"]) await changeOf(at(name));
    await rig.stop();
    const told = rig.lines.length;
    appendFileSync(at("kept"), "2\n");
    unlinkSync(at("going"));
    renameSync(at("moving"), at("moved"));
    writeFileSync(at("fresh"), "fresh\n");
    await rig.start();
    const since = rig.lines.slice(told).filter(({ topic }) => topic === "file/change");
    expect(since.map((line) => [line["path"], line.detail["offline"]]).toSorted()).toEqual(
      [at("fresh"), at("going"), at("kept"), at("moved")].map((path) => [path, true]),
    );
    const moved = since.find((line) => line["path"] === at("moved"));
    expect(moved?.["old_path"]).toBe(at("moving"));
    const kept = since.find((line) => line["path"] === at("kept"));
    expect(kept?.detail["diff"]).toContain("+2\n");
    // The kernel's programs went on, and noted who it was.
    expect(kept?.["pid"]).toBe(process.pid);
    await rig.stop();
    const again = rig.lines.length;
    await rig.start();
    expect(rig.lines.slice(again)).toEqual([]);
  });
});
