import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { cacheFolder } from "../../src/cli/compile-cache.ts";
import { MAIN_FILE } from "../support/command-line.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-caches-")));
  folders.push(folder);
  return folder;
}

describe("the folder of compiled code", () => {
  it("is one of this user alone", () => {
    const caches = newFolder();
    expect(cacheFolder({ XDG_CACHE_HOME: caches })).toBe(join(caches, "probity", "compiled"));
  });

  it.each([
    ["itself may be written by all", "probity/compiled", 0o777],
    ["itself may be written by all, though nobody may remove", "probity/compiled", 0o1777],
    ["may be replaced by all", "probity", 0o777],
    ["lies where a group may replace it", "", 0o770],
  ])("is not used when it %s", (_what, path, mode) => {
    const caches = newFolder();
    mkdirSync(join(caches, "probity", "compiled"), { recursive: true });
    chmodSync(join(caches, path), mode);
    expect(cacheFolder({ XDG_CACHE_HOME: caches })).toBeUndefined();
  });

  it("is not made where none can be", () => {
    expect(cacheFolder({ XDG_CACHE_HOME: "/proc/nowhere" })).toBeUndefined();
  });

  it("has the program's code after it ran once", () => {
    const caches = newFolder();
    const { status } = spawnSync(process.execPath, [MAIN_FILE, "--version"], {
      env: { XDG_CACHE_HOME: caches },
    });
    expect(status).toBe(0);
    const [ofRuntime = ""] = readdirSync(join(caches, "probity", "compiled"));
    expect(readdirSync(join(caches, "probity", "compiled", ofRuntime)).length).toBeGreaterThan(20);
  });
});
