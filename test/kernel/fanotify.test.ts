import { execFileSync, spawnSync } from "node:child_process";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCreatedFiles } from "../../src/edge-agent/created-files.ts";
import type { ProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import {
  createFilesystemSource,
  MOUNT_NOTICE_MS,
} from "../../src/edge-agent/sources/filesystem/filesystem-source.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { type MountedFilesystem, mountExt4, mountTmpfs } from "../support/mounts.ts";
import { requireCapability } from "../support/require.ts";
import { type Line, runSource, type SourceRun } from "../support/source-run.ts";

const isRoot = process.getuid?.() === 0;
const hasFanotify = requireCapability("fanotify", isRoot, "fanotify marks need root");

/** What the kernel's queue holds unless an administrator changed it. */
const QUEUE_EVENTS = Number(readFileSync("/proc/sys/fs/fanotify/max_queued_events", "utf8"));

const dataDirectory = mkdtempSync(join(tmpdir(), "probity-data-"));
afterAll(() => rmSync(dataDirectory, { recursive: true }));

const processes: ProcessLookup = {
  catchUp: () => undefined,
  actorOf: (pid) => ({ columns: `"pid":${pid},`, name: `process ${pid}`, escaped: [] }),
  ancestorsOf: () => [],
  isOwn: (pid) => pid === process.pid,
};

function openSource() {
  return createFilesystemSource({
    processes,
    createdFiles: createCreatedFiles(),
    dataDirectory,
    clock: systemClock,
  });
}

describe.runIf(hasFanotify).each([
  ["tmpfs", mountTmpfs],
  ["ext4", mountExt4],
])("the filesystem source on %s", (_type, mount) => {
  let filesystem: MountedFilesystem;
  let run: SourceRun;
  beforeAll(() => {
    filesystem = mount();
    run = runSource(openSource());
  });
  afterAll(async () => {
    await run.stop();
    filesystem[Symbol.dispose]();
  });

  /** A new folder, what happens in it, and the lines about it: topic, how, paths relative to the folder. */
  async function linesOf(
    act: (folder: string) => void,
    count: number,
  ): Promise<{ folder: string; lines: readonly Line[]; told: readonly string[] }> {
    const folder = mkdtempSync(join(filesystem.path, "case-"));
    const before = run.lines.length;
    act(folder);
    const end = join(filesystem.path, `end-${before}-${Math.random()}`);
    mkdirSync(end);
    await run.waitFor((line) => line["path"] === end, { count: 1 });
    const lines = run.lines.filter((line) => String(line["path"]).startsWith(`${folder}/`));
    const short = (path: unknown) => String(path).slice(folder.length + 1);
    const told = lines.map((line) =>
      [
        line.topic,
        line.detail["how"],
        ...(line["old_path"] === undefined ? [] : [short(line["old_path"])]),
        short(line["path"]),
      ].join(" ")
    );
    expect(told, told.join("\n")).toHaveLength(count);
    return { folder, lines, told };
  }

  it("tells directories, symbolic links, nodes, links and files made", async () => {
    const { folder, lines, told } = await linesOf((at) => {
      mkdirSync(join(at, "directory"));
      symlinkSync("/etc/passwd", join(at, "symlink"));
      execFileSync("mknod", [join(at, "fifo"), "p"]);
      execFileSync("mknod", [join(at, "null"), "c", "1", "3"]);
      writeFileSync(join(at, "file"), "text");
      linkSync(join(at, "file"), join(at, "link"));
    }, 6);
    expect(told).toEqual([
      "file/create mkdir directory",
      "file/create symlink symlink",
      "file/create mknod fifo",
      "file/create mknod null",
      "file/create create file",
      "file/link link link",
    ]);
    const [directory, symlink, , , file, link] = lines;
    const { ino, dev, mode } = statSync(join(folder, "file"));
    expect(file?.detail).toMatchObject({
      inode: ino,
      mode: `0${mode.toString(8)}`,
      type: "regular",
      links: 2,
      size: 4,
    });
    expect(file?.detail["device"]).toBe(`${dev >> 8}:${dev & 0xff}`);
    expect(link?.detail["inode"]).toBe(ino);
    expect(directory?.detail["inode"]).toBe(statSync(join(folder, "directory")).ino);
    expect(symlink?.detail["target"]).toBe("/etc/passwd");
    expect(directory?.["pid"]).toBe(process.pid);
    expect(directory?.["outcome"]).toBe("success");
  });

  it("tells removals, with the inode that went", async () => {
    let inode = 0;
    const { lines, told } = await linesOf((at) => {
      writeFileSync(join(at, "file"), "");
      inode = statSync(join(at, "file")).ino;
      mkdirSync(join(at, "directory"));
      unlinkSync(join(at, "file"));
      rmdirSync(join(at, "directory"));
    }, 4);
    expect(told.toSorted()).toEqual([
      "file/create create file",
      "file/create mkdir directory",
      "file/delete rmdir directory",
      "file/delete unlink file",
    ]);
    const removal = lines.find(({ detail }) => detail["how"] === "unlink");
    expect(removal?.detail["inode"]).toBe(inode);
  });

  it("tells renames with both names: of files, directories, over another, exchanged", async () => {
    const { told, lines } = await linesOf((at) => {
      for (const name of ["a", "b", "x", "y"]) writeFileSync(join(at, name), name);
      mkdirSync(join(at, "directory"));
      renameSync(join(at, "a"), join(at, "directory", "c"));
      renameSync(join(at, "directory"), join(at, "moved"));
      renameSync(join(at, "moved", "c"), join(at, "b"));
      const exchange = 'my ($x, $y) = @ARGV; syscall(316, -100, $x, -100, $y, 2) == 0 or die "$!"';
      execFileSync("perl", ["-e", exchange, join(at, "x"), join(at, "y")]);
    }, 10);
    expect(told.slice(5)).toEqual([
      "file/rename rename a directory/c",
      "file/rename rename directory moved",
      "file/rename rename moved/c b",
      "file/rename exchange x y",
      "file/rename exchange y x",
    ]);
    expect(lines[6]?.detail["type"]).toBe("directory");
  });

  it("tells paths as they were, although directories moved or went before anyone looked", async () => {
    const { told } = await linesOf((at) => {
      mkdirSync(join(at, "1/2/3/4"), { recursive: true });
      writeFileSync(join(at, "1/2/3/4/first"), "");
      renameSync(join(at, "1/2"), join(at, "two"));
      writeFileSync(join(at, "two/3/4/second"), "");
      renameSync(join(at, "two"), join(at, "1/again"));
      writeFileSync(join(at, "1/again/3/third"), "");
      rmSync(join(at, "1"), { recursive: true });
    }, 16);
    expect(told.filter((each) => !each.includes("delete"))).toEqual([
      "file/create mkdir 1",
      "file/create mkdir 1/2",
      "file/create mkdir 1/2/3",
      "file/create mkdir 1/2/3/4",
      "file/create create 1/2/3/4/first",
      "file/rename rename 1/2 two",
      "file/create create two/3/4/second",
      "file/rename rename two 1/again",
      "file/create create 1/again/3/third",
    ]);
    // A removal that the kernel merged with the creation bears the path of the creation.
    expect(told.filter((each) => each.includes("delete")).toSorted()).toEqual([
      "file/delete rmdir 1",
      "file/delete rmdir 1/2/3",
      "file/delete rmdir 1/2/3/4",
      "file/delete rmdir 1/again",
      "file/delete unlink 1/2/3/4/first",
      "file/delete unlink 1/again/3/third",
      "file/delete unlink two/3/4/second",
    ]);
  });

  it("tells the paths of a tree that was made before and is removed in one go", async () => {
    const folder = mkdtempSync(join(filesystem.path, "tree-"));
    const names = ["a", "b", "c"];
    for (const one of names) {
      for (const two of names) {
        mkdirSync(join(folder, one, two), { recursive: true });
        writeFileSync(join(folder, one, two, "file"), "");
      }
    }
    const fresh = runSource(openSource());
    try {
      await fresh.waitFor(() => true, { count: 0 });
      mkdirSync(join(folder, "begin"));
      await fresh.waitFor(({ detail }) => detail["how"] === "mkdir", { count: 1 });
      rmSync(folder, { recursive: true });
      const removed = await fresh.waitFor(
        (line) => line.topic === "file/delete" && String(line["path"]).startsWith(folder),
        { count: 23 },
      );
      expect(removed.every(({ detail }) => detail["incomplete"] === undefined)).toBe(true);
      expect(new Set(removed.map((line) => line["path"])).size).toBe(23);
    } finally {
      await fresh.stop();
    }
  });

  it("tells a link apart from a create, also when the first name is gone at once", async () => {
    const { folder, told } = await linesOf((at) => {
      writeFileSync(join(at, "temporary"), "");
      linkSync(join(at, "temporary"), join(at, "lock"));
      unlinkSync(join(at, "temporary"));
    }, 3);
    expect(told).toContain("file/create create temporary");
    expect(told).toContain("file/link link lock");
    const second = await linesOf((at) => {
      linkSync(join(folder, "lock"), join(at, "new"));
      unlinkSync(join(folder, "lock"));
    }, 1);
    expect(second.told).toEqual(["file/link link new"]);
  });

  it("tells names that are not UTF-8, escaped, and deep paths whole", async () => {
    const name = Buffer.from([0x66, 0xff, 0x5c, 0xc3, 0xa9]);
    const deep = Array.from({ length: 300 }, (_each, level) => `d${level}`).join("/");
    const { told, lines } = await linesOf((at) => {
      mkdirSync(Buffer.concat([Buffer.from(`${at}/`), name]));
      mkdirSync(join(at, deep), { recursive: true });
    }, 301);
    expect(told[0]).toBe("file/create mkdir f\\xff\\x5cé");
    expect(lines[0]?.detail["escaped"]).toEqual(["path", "message"]);
    expect(told[300]).toBe(`file/create mkdir ${deep}`);
  });

  it("names the process", async () => {
    const { lines } = await linesOf((at) => {
      const { pid } = spawnSync("mkdir", [join(at, "by-child")]);
      writeFileSync(join(dataDirectory, "pid"), String(pid));
    }, 1);
    expect(lines[0]?.["pid"]).toBeGreaterThan(0);
    expect(lines[0]?.["pid"]).not.toBe(process.pid);
  });

  it("leaves an administrator free to unmount", () => {
    using other = mountTmpfs();
    writeFileSync(join(other.path, "file"), "");
  });
});

if (hasFanotify) {
  const folder = mkdtempSync(join(tmpdir(), "probity-conformance-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  describeSource("filesystem", {
    create: openSource,
    trigger: () => mkdtempSync(join(folder, "made-")),
    isTriggered: (line) => String(line["path"]).startsWith(`${folder}/made-`),
    hasRing: false,
  });
}

describe.runIf(hasFanotify)("the filesystem source", () => {
  it("sees filesystems that are mounted while it runs", async () => {
    await using run = runSource(openSource());
    await run.waitFor(() => true, { count: 0 });
    for (const mount of [mountTmpfs, mountExt4, mountTmpfs]) {
      using filesystem = mount();
      await new Promise((resolve) => setTimeout(resolve, 100));
      const path = join(filesystem.path, "made");
      mkdirSync(path);
      await run.waitFor((line) => line["path"] === path, { count: 1 });
    }
  });

  it("says so when a filesystem was mounted while it was too busy to notice", async () => {
    const source = openSource();
    await using run = runSource(source);
    await new Promise((resolve) => setTimeout(resolve, 100));
    source.losses();
    execFileSync("sleep", [String(MOUNT_NOTICE_MS / 1000 + 0.2)]);
    using filesystem = mountTmpfs();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(source.losses()).toEqual([
      { class: "unwatched", count: null, reason: expect.stringContaining("too busy") },
    ]);
    mkdirSync(join(filesystem.path, "made"));
    await run.waitFor((line) => line["path"] === join(filesystem.path, "made"), { count: 1 });
  });

  it("tells a link to a file that is older than the agent", async () => {
    const folder = mkdtempSync(join(tmpdir(), "probity-link-"));
    try {
      const old = ["/etc/passwd", process.execPath, import.meta.filename].find((path) =>
        statSync(path).dev === statSync(folder).dev
      );
      if (old === undefined) throw new Error(`Cannot link: no old file is beside "${folder}"`);
      await using run = runSource(openSource());
      linkSync(old, join(folder, "link"));
      const [line] = await run.waitFor((each) => each["path"] === join(folder, "link"), {
        count: 1,
      });
      expect(line?.topic).toBe("file/link");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("leaves out what own processes do in the data folder, and counts it", async () => {
    const source = openSource();
    await using run = runSource(source);
    using filesystem = mountTmpfs();
    await new Promise((resolve) => setTimeout(resolve, 100));
    mkdirSync(join(dataDirectory, "own"));
    execFileSync("mkdir", [join(dataDirectory, "foreign")]);
    renameSync(join(dataDirectory, "own"), join(dataDirectory, "own-moved"));
    mkdirSync(join(filesystem.path, "outside"));
    await run.waitFor((line) => line["path"] === join(filesystem.path, "outside"), { count: 1 });
    const told = run.lines.map((line) => String(line["path"])).filter((path) =>
      path.startsWith(dataDirectory)
    );
    expect(told).toEqual([join(dataDirectory, "foreign")]);
    expect(source.counters().filtered).toBe(2);
  });

  it("learns of processes again before it asks who did what was reported meanwhile", async () => {
    using filesystem = mountTmpfs();
    const at = (name: string) => join(filesystem.path, name);
    for (const name of ["one", "two", "three"]) mkdirSync(at(name));
    let [isMade, isLearned] = [false, false];
    const asked: boolean[] = [];
    const source = createFilesystemSource({
      processes: { ...processes, catchUp: () => void (isLearned = isMade) },
      certainty: {
        nowNs: () => 0,
        since(pid) {
          if (pid !== process.pid) return {}; // others make folders too
          asked.push(isLearned);
          if (!isMade) mkdirSync(at("three/late"));
          isMade = true;
          return {};
        },
      },
      filters: [{ uid: 1 }],
      createdFiles: createCreatedFiles(),
      dataDirectory,
      clock: systemClock,
    });
    await using run = runSource(source);
    await new Promise((resolve) => setTimeout(resolve, 100));
    // Looking for the second one's folder reads what the first one's doer did meanwhile.
    for (const name of ["one/a", "two/b"]) mkdirSync(at(name));
    await run.waitFor(({ path }) => String(path).startsWith(at("")), { count: 3 });
    expect(asked).toEqual([false, true, true]);
  });

  it("says that names are missing when the kernel's queue overflows", async () => {
    const source = openSource();
    await using run = runSource(source);
    using filesystem = mountTmpfs();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(source.losses()).toEqual([
      { class: "absent", count: null, reason: expect.stringContaining("no agent was there") },
    ]);
    for (let number = 0; number < QUEUE_EVENTS + 2000; number += 1) {
      mkdirSync(join(filesystem.path, `directory-${number}`));
    }
    const missed = join(filesystem.path, "missed");
    mkdirSync(missed);
    const after = join(filesystem.path, "after");
    for (let round = 0; source.counters().ringFull === 0; round += 1) {
      if (round > 1000) throw new Error("Cannot see the overflow");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(source.losses()).toEqual([
      { class: "overflow", count: null, reason: expect.stringContaining("queue was full") },
    ]);
    expect(source.losses()).toEqual([]);
    mkdirSync(after);
    await run.waitFor((line) => line["path"] === after, { count: 1 });
    expect(run.lines.some((line) => line["path"] === missed)).toBe(false);
  });
});
