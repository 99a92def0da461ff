import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { createCreatedFiles } from "../../src/edge-agent/created-files.ts";
import { createProcessCertainty } from "../../src/edge-agent/process-certainty.ts";
import { createProcessLookup, type ProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { DEFAULT_RULES } from "../../src/edge-agent/rules.ts";
import { createFilesystemSource } from "../../src/edge-agent/sources/filesystem/filesystem-source.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { mountExt4, mountTmpfs, unmount } from "../support/mounts.ts";
import {
  hasBpf,
  openPinFolder,
  openTestSource,
  runAttached,
  testContext,
} from "../support/ring-sources.ts";
import { type Line, runSource } from "../support/source-run.ts";

/** While the sources go on: what was done during a pause of theirs may have been done at any time of it. */
const run = promisify(execFile);

const dataDirectory = mkdtempSync(join(tmpdir(), "probity-data-"));
afterAll(() => rmSync(dataDirectory, { recursive: true }));

const processes: ProcessLookup = {
  catchUp: () => undefined,
  actorOf: (pid) => ({ columns: `"pid":${pid},`, name: `process ${pid}`, escaped: [] }),
  ancestorsOf: () => [],
  isOwn: () => false,
};

describe.runIf(hasBpf).each([
  ["tmpfs", mountTmpfs],
  ["ext4", mountExt4],
])("file and filesystem source together on %s", (_type, mount) => {
  it("leave out what a filter takes, and nothing that was done before it held", async () => {
    using filesystem = mount();
    using pins = openPinFolder();
    const path = (name: string) => `${filesystem.path}/${name}`;
    copyFileSync("/usr/bin/perl", path("quiet"));
    chmodSync(path("quiet"), 0o755);
    const filters = [{ topics: ["file"], exe: path("quiet") }];
    const createdFiles = createCreatedFiles();
    createdFiles.settle(0);
    await using execs = openTestSource({ family: "process", pins });
    await using _execs = await runAttached(execs, pins);
    await using files = openTestSource({
      family: "file",
      pins,
      createdFiles,
      rules: { ...DEFAULT_RULES, filters },
    });
    await using opens = await runAttached(files, pins);
    const { processes: table, userNames } = testContext();
    await using names = runSource(createFilesystemSource({
      processes: createProcessLookup({ context: { processes: table, userNames }, ownPids: [] }),
      certainty: createProcessCertainty({ processes: table }),
      createdFiles,
      filters,
      dataDirectory,
      clock: systemClock,
    }));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = files.counters().filtered;
    const mknod = "syscall(133, $ARGV[0], 0100644, 0) == 0 or die $!;";
    // Done by another executable, which becomes the filtered one at once.
    const hide = "exec $ARGV[1], '-e', 'select(undef, undef, undef, 0.2)';";
    await run("perl", ["-e", mknod + hide, path("hidden"), path("quiet")]);
    // Made by an open of the filtered one, just begun; and by name, when it has been that for a while.
    await run(path("quiet"), ["-e", "open(my $f, '>', $ARGV[0]) or die $!", path("opened")]);
    const wait = "select(undef, undef, undef, 0.3);";
    await run(path("quiet"), ["-e", wait + mknod, path("steady")]);
    mkdirSync(path("end"));
    await names.waitFor((line) => line["path"] === path("end"), { count: 1 });
    const told = [...opens.lines, ...names.lines]
      .map((line) => String(line["path"]))
      .filter((each) => each.startsWith(path("")));
    expect(told).toEqual([path("hidden"), path("end")]);
    expect(files.counters().filtered).toBeGreaterThan(before);
  });

  it("tell each create once", async () => {
    using filesystem = mount();
    using pins = openPinFolder();
    const createdFiles = createCreatedFiles();
    createdFiles.settle(0);
    await using files = openTestSource({ family: "file", pins, createdFiles });
    await using opens = await runAttached(files, pins);
    await using names = runSource(createFilesystemSource({
      processes,
      createdFiles,
      dataDirectory,
      clock: systemClock,
    }));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const path = (name: string) => `${filesystem.path}/${name}`;
    for (let number = 0; number < 200; number += 1) writeFileSync(path(`opened-${number}`), "");
    // The same inode numbers again, of files that are gone before anyone looks.
    for (let number = 0; number < 200; number += 1) {
      writeFileSync(path("brief"), "");
      unlinkSync(path("brief"));
    }
    const mknod = "syscall(133, $ARGV[0], 0100644, 0) == 0 or die $!";
    execFileSync("perl", ["-e", mknod, path("node")]);
    execFileSync("mknod", [path("fifo"), "p"]);
    linkSync(path("opened-0"), path("link"));
    const isHere = (line: Line) => String(line["path"]).startsWith(path(""));
    await names.waitFor((line) => line["path"] === path("link"), { count: 1 });
    await opens.waitFor((line) => isHere(line) && line.topic === "file/create", { count: 400 });
    const told = [...opens.lines, ...names.lines].filter(isHere);
    const made = told.filter(({ topic }) => topic === "file/create");
    expect(made.filter((line) => line["path"] === path("brief"))).toHaveLength(200);
    expect(new Set(made.map((line) => line["path"])).size).toBe(203);
    expect(made).toHaveLength(402);
    const others = names.lines.filter(isHere).filter(({ topic }) => topic !== "file/delete");
    expect(others.map(({ topic, detail }) => [topic, detail["how"], detail["type"]])).toEqual([
      ["file/create", "create", "regular"],
      ["file/create", "mknod", "fifo"],
      ["file/link", "link", "regular"],
    ]);
  });
});

describe.runIf(hasBpf)("file and filesystem source on an overlay", () => {
  it("tell a create once, by the path seen in it, and a removal in a lower layer as one", async () => {
    using filesystem = mountTmpfs();
    const at = (name: string) => join(filesystem.path, name);
    for (const name of ["lower", "upper", "work", "merged"]) mkdirSync(at(name));
    writeFileSync(at("lower/old"), "old");
    const layers = `lowerdir=${at("lower")},upperdir=${at("upper")},workdir=${at("work")}`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, at("merged")]);
    try {
      using pins = openPinFolder();
      const createdFiles = createCreatedFiles();
      createdFiles.settle(0);
      await using files = openTestSource({ family: "file", pins, createdFiles });
      await using opens = await runAttached(files, pins);
      await using names = runSource(createFilesystemSource({
        processes,
        createdFiles,
        dataDirectory,
        clock: systemClock,
      }));
      await new Promise((resolve) => setTimeout(resolve, 100));
      writeFileSync(at("merged/new"), "");
      unlinkSync(at("merged/old"));
      mkdirSync(at("merged/end"));
      await names.waitFor((line) => line["path"] === at("upper/end"), { count: 1 });
      await opens.waitFor((line) => line["path"] === at("merged/new"), { count: 1 });
      const told = [...opens.lines, ...names.lines].filter((line) =>
        String(line["path"]).startsWith(at(""))
      );
      expect(told.map(({ topic, path, detail }) => [topic, path, detail["how"]])).toEqual([
        ["file/create", at("merged/new"), "open"],
        ["file/delete", at("upper/old"), "whiteout"],
        ["file/create", at("upper/end"), "mkdir"],
      ]);
    } finally {
      unmount(at("merged"));
    }
  });

  it("tell the name that a file without one is given", async () => {
    using filesystem = mountTmpfs();
    using pins = openPinFolder();
    const createdFiles = createCreatedFiles();
    createdFiles.settle(0);
    await using files = openTestSource({ family: "file", pins, createdFiles });
    await using _opens = await runAttached(files, pins);
    await using names = runSource(createFilesystemSource({
      processes,
      createdFiles,
      dataDirectory,
      clock: systemClock,
    }));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const named = join(filesystem.path, "named");
    // openat(…, O_TMPFILE | O_RDWR), then linkat("/proc/self/fd/N", …, AT_SYMLINK_FOLLOW).
    const script = `my ($d, $n) = @ARGV; my $f = syscall(257, -100, $d, 0x410002, 0600);
      my $p = "/proc/self/fd/$f"; syscall(265, -100, $p, -100, $n, 0x400) == 0 or die $!`;
    execFileSync("perl", ["-e", script, filesystem.path, named]);
    const found = await names.waitFor((line) => line["path"] === named, { count: 1 });
    expect(found.map(({ topic, detail }) => [topic, detail["type"]])).toEqual([
      ["file/create", "regular"],
    ]);
  });
});
