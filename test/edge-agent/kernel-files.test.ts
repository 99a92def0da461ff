import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  filesystemMagic,
  isKernelPath,
  listKernelFolder,
  makeKernelFolder,
  readKernelLink,
  readKernelText,
  removeKernelFile,
  removeKernelFolder,
  renameKernelPath,
} from "../../src/edge-agent/kernel-files.ts";

describe("files that the kernel makes up", () => {
  let folder: string;
  beforeEach(() => folder = mkdtempSync(join(tmpdir(), "probity-kernel-files-")));
  afterEach(() => rmSync(folder, { recursive: true }));

  it("are read as node:fs reads them", () => {
    for (const path of ["/proc/self/limits", "/proc/sys/kernel/random/boot_id", "/proc/version"]) {
      expect(readKernelText(path)).toBe(readFileSync(path, "utf8"));
    }
    expect(readKernelLink("/proc/self/exe")).toBe(readlinkSync("/proc/self/exe"));
    expect(listKernelFolder("/proc/sys/kernel")?.toSorted()).toEqual(
      readdirSync("/proc/sys/kernel").toSorted(),
    );
    expect(filesystemMagic("/proc")).toBe(statfsSync("/proc").type);
  });

  it("may be long, and folders full", () => {
    const text = "żółw\n".repeat(50_000);
    writeFileSync(join(folder, "long"), text);
    expect(readKernelText(join(folder, "long"))).toBe(text);
    mkdirSync(join(folder, "full"));
    const names = Array.from({ length: 600 }, (_each, place) => `${"long-".repeat(40)}${place}`);
    for (const name of names) writeFileSync(join(folder, "full", name), "");
    expect(listKernelFolder(join(folder, "full"))?.toSorted()).toEqual(names.toSorted());
  });

  it("that are not there are no error to read", () => {
    expect(readKernelText("/proc/0/stat")).toBeUndefined();
    expect(readKernelText(folder)).toBeUndefined();
    expect(readKernelLink("/proc/version")).toBeUndefined();
    expect(listKernelFolder("/proc/version")).toBeUndefined();
    expect(filesystemMagic(join(folder, "none"))).toBeUndefined();
    expect([isKernelPath("/proc/self"), isKernelPath("/proc/0")]).toEqual([true, false]);
  });

  it("are made, renamed and removed, and say why not", () => {
    const deep = join(folder, "a/b/c");
    makeKernelFolder(deep);
    makeKernelFolder(deep);
    expect(existsSync(deep)).toBe(true);
    renameKernelPath(deep, join(folder, "d"));
    expect(existsSync(deep)).toBe(false);
    writeFileSync(join(folder, "d/file"), "");
    expect(() => removeKernelFolder(join(folder, "d"))).toThrow(/^Cannot remove folder ".*d": /);
    removeKernelFile(join(folder, "d/file"));
    removeKernelFolder(join(folder, "d"));
    expect(existsSync(join(folder, "d"))).toBe(false);
    expect(() => removeKernelFile(join(folder, "none"))).toThrow(/: ENOENT$/);
    expect(() => renameKernelPath(join(folder, "none"), folder)).toThrow(/: ENOENT$/);
    writeFileSync(join(folder, "file"), "");
    expect(() => makeKernelFolder(join(folder, "file/below"))).toThrow(/^Cannot make folder /);
  });
});
