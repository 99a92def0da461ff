import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCreatedFiles } from "../../src/edge-agent/created-files.ts";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import type { Source } from "../../src/edge-agent/source.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { unmount } from "../support/mounts.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-file-")));
afterAll(() => rmSync(folder, { recursive: true }));
const dataFolder = join(folder, "data");
mkdirSync(dataFolder);

describe.runIf(hasBpf).each(PROGRAM_VARIANTS)("the file source as %s", (variant) => {
  let source: Source;
  let run: SourceRun;
  const pins = openPinFolder();
  const createdFiles = createCreatedFiles();
  const at = (name: string): string => join(folder, `${variant}-${name}`);
  beforeAll(async () => {
    source = openTestSource({
      family: "file",
      pins,
      variants: [variant],
      createdFiles,
      ownership: { pids: [process.pid], dataFolder },
    });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run.stop();
    await source[Symbol.asyncDispose]();
    pins[Symbol.dispose]();
  });

  /** What the source tells about paths in the test's folder while `act` runs. */
  async function linesOf(act: () => void): Promise<readonly Line[]> {
    const from = await markedPlace();
    act();
    const to = await markedPlace();
    return run.lines.slice(from + 1, to).filter((line) => String(line["path"]).startsWith(folder));
  }

  let marks = 0;
  /** Place of a line that is made now. */
  async function markedPlace(): Promise<number> {
    const path = at(`mark-${marks += 1}`);
    writeFileSync(path, "");
    const [line] = await run.waitFor((each) => each["path"] === path, { count: 1 });
    return line === undefined ? -1 : run.lines.indexOf(line);
  }

  it("tells a file made, with its identity and who made it", async () => {
    const path = at("made");
    const [line, ...more] = await linesOf(() => writeFileSync(path, "text", { mode: 0o640 }));
    const stat = statSync(path);
    expect(more).toEqual([]);
    expect(line).toMatchObject({
      topic: "file/create",
      outcome: "success",
      path,
      pid: process.pid,
      ppid: process.ppid,
      user: "root",
      exe: realpathSync(process.execPath),
      message: `${realpathSync(process.execPath)} created ${path}`,
      detail: {
        inode: stat.ino,
        device: deviceText(stat.dev),
        mode: "0100640",
        size: 0,
        links: 1,
        flags: "O_WRONLY",
        how: "open",
      },
    });
    expect(line?.detail["generation"]).toEqual(expect.any(Number));
    const device = kernelDevice(stat.dev);
    const generation = Number(line?.detail["generation"]);
    expect(createdFiles.take({ device, inode: stat.ino, generation, pid: process.pid })).toBe(true);
    expect(createdFiles.settledMs).toBeGreaterThan(performance.now() - 5000);
  });

  it("tells a file opened for writing, and no reading", async () => {
    const path = at("written");
    writeFileSync(path, "one");
    const lines = await linesOf(() => {
      readFileSync(path);
      appendFileSync(path, "two");
      closeSync(openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
    });
    expect(
      lines.map((line) => [line.topic, line["path"], line.detail["flags"], line.detail["how"]]),
    )
      .toEqual([
        ["file/write", path, "O_WRONLY|O_APPEND", "write"],
        ["file/write", path, "O_RDWR|O_NOFOLLOW", "write"],
      ]);
    expect(lines[0]?.["message"]).toMatch(/ opened .*-written for writing$/);
    expect(lines[0]?.detail["size"]).toBe(3);
  });

  it("tells the path that a link leads to", async () => {
    const target = at("target");
    writeFileSync(target, "");
    symlinkSync(target, at("link"));
    mkdirSync(at("directory"));
    const lines = await linesOf(() => {
      appendFileSync(at("link"), "x");
      appendFileSync(`/proc/self/root${at("directory")}/../${variant}-target`, "x");
    });
    expect(lines.map((line) => line["path"])).toEqual([target, target]);
  });

  it("tells the path through a bind mount, with the inode of the file", async () => {
    const [original, alias] = [at("original"), at("alias")];
    mkdirSync(original);
    mkdirSync(alias);
    writeFileSync(join(original, "file"), "");
    execFileSync("mount", ["--bind", original, alias]);
    try {
      const lines = await linesOf(() => {
        appendFileSync(join(alias, "file"), "x");
        appendFileSync(join(original, "file"), "x");
      });
      expect(lines.map((line) => line["path"])).toEqual([
        join(alias, "file"),
        join(original, "file"),
      ]);
      const inode = statSync(join(original, "file")).ino;
      expect(lines.map((line) => line.detail["inode"])).toEqual([inode, inode]);
    } finally {
      unmount(alias);
    }
  });

  it("tells each name of a file that has two", async () => {
    writeFileSync(at("name"), "");
    linkSync(at("name"), at("other-name"));
    const [line] = await linesOf(() => appendFileSync(at("other-name"), "x"));
    expect(line).toMatchObject({ path: at("other-name"), detail: { links: 2 } });
  });

  it("knows files without a name", async () => {
    const { O_TMPFILE } = { O_TMPFILE: 0o20200000 };
    const lines = await linesOf(() =>
      closeSync(openSync(folder, O_TMPFILE | constants.O_RDWR, 0o600))
    );
    expect(lines).toHaveLength(1);
    expect(lines[0]?.detail).toMatchObject({ deleted: true, links: 0 });
  });

  it("writes the bytes of a name that are no text as \\xNN", async () => {
    const name = Buffer.concat([Buffer.from(at("odd-")), Buffer.from([0xff, 0x22, 0x0a])]);
    const [line] = await linesOf(() => writeFileSync(name, ""));
    expect(line?.["path"]).toBe(`${at("odd-")}\\xff"\n`);
    expect(line?.detail["escaped"]).toEqual(["path", "message"]);
  });

  it("cuts no path that a system call takes", async () => {
    const deep = join(at("deep"), ...Array.from({ length: 15 }, () => "d".repeat(250)));
    mkdirSync(deep, { recursive: true });
    const [line] = await linesOf(() => writeFileSync(join(deep, "file"), ""));
    expect(line?.["path"]).toBe(join(deep, "file"));
    expect(line?.detail["truncated"]).toBeUndefined();
  });

  it("keeps the end of a longer path and says so", async () => {
    const script = `for i in $(seq 20); do mkdir ${"e".repeat(250)}; cd ${"e".repeat(250)}; done;` +
      ` : > end-of-path`;
    mkdirSync(at("deeper"));
    spawnSync("/bin/bash", ["-c", script], { cwd: at("deeper") });
    const [line] = await run.waitFor(
      (each) => String(each["path"]).endsWith("/end-of-path"),
      { count: 1 },
    );
    expect(line?.["path"]).toBe(`${`/${"e".repeat(250)}`.repeat(16)}/end-of-path`.slice(-4028));
    expect(line?.detail["truncated"]).toBe(true);
    spawnSync("rm", ["-rf", at("deeper")]);
  });

  it("tells no open that gives no way to the content, and what is opened by way of it", async () => {
    const path = at("path-only");
    writeFileSync(path, "");
    // O_PATH | O_RDWR, then the same file for writing by way of that descriptor.
    const script = "sysopen(my $p, $ARGV[0], 0x200002) or die $!; exit if $ARGV[1] eq 'path';" +
      "open(my $f, '>>', '/proc/self/fd/' . fileno($p)) or die $!";
    const lines = await linesOf(() => {
      execFileSync("perl", ["-e", script, path, "path"]);
      execFileSync("perl", ["-e", script, path, "both"]);
    });
    expect(lines.map(({ topic, path: told }) => [topic, told])).toEqual([["file/write", path]]);
  });

  it("filters and counts what says nothing: /proc, devices without memory, pipes", async () => {
    const before = source.counters();
    execFileSync("mkfifo", [at("fifo")]);
    const lines = await linesOf(() => {
      writeFileSync("/dev/null", "x");
      writeFileSync("/proc/self/comm", "name");
      closeSync(openSync(at("fifo"), constants.O_RDWR));
    });
    expect(lines).toEqual([]);
    expect(run.lines.some((line) => String(line["path"]).startsWith("/proc/"))).toBe(false);
    expect(run.lines.some((line) => line["path"] === "/dev/null")).toBe(false);
    expect(source.counters().filtered).toBeGreaterThanOrEqual(before.filtered + 3);
  });

  it("filters what own processes do in the data folder, and nothing else", async () => {
    const inside = (name: string): string => join(dataFolder, `${variant}-${name}`);
    const sub = join(dataFolder, variant, "below");
    mkdirSync(sub, { recursive: true });
    const before = source.counters();
    const lines = await linesOf(() => {
      writeFileSync(inside("own"), "");
      writeFileSync(join(sub, "own"), "");
      // A child is own, a grandchild is not.
      spawnSync("/bin/sh", [
        "-c",
        `: > ${inside("child")}; /bin/sh -c ': > ${inside("other")}'; :`,
      ]);
      writeFileSync(at("outside"), "");
    });
    expect(lines.map((line) => line["path"])).toEqual([inside("other"), at("outside")]);
    expect(source.counters().filtered).toBeGreaterThanOrEqual(before.filtered + 3);
  });
});

function deviceText(device: number): string {
  const number = kernelDevice(device);
  return `${number >>> 20}:${number & 0xfffff}`;
}

function kernelDevice(device: number): number {
  const major = (device >> 8) & 0xfff;
  return major * 2 ** 20 + ((device & 0xff) | ((device >> 12) & 0xfff00));
}

if (hasBpf) {
  const pins = openPinFolder();
  afterAll(() => pins[Symbol.dispose]());
  const path = join(folder, "conformance");
  describeSource("file", {
    create: () => openTestSource({ family: "file", pins }),
    trigger: () => writeFileSync(path, ""),
    isTriggered: (line) => line["path"] === path,
    hasRing: true,
  });
}
