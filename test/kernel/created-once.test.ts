import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createCreatedFiles } from "../../src/edge-agent/created-files.ts";
import type { ProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { createFilesystemSource } from "../../src/edge-agent/sources/filesystem/filesystem-source.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { mountExt4, mountTmpfs, unmount } from "../support/mounts.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import { type Line, runSource } from "../support/source-run.ts";

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
