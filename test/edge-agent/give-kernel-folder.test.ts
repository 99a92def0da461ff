import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  giveKernelFolder,
  putForeignFolderAside,
} from "../../src/edge-agent/give-kernel-folder.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const isRoot = requireCapability("root", process.getuid?.() === 0, "it gives files to others");
const ACCOUNT = { uid: 12_345, gid: 12_346 };
const STRANGER = 12_347;
const uidOf = (path: string): number => lstatSync(path).uid;

describe.runIf(isRoot)("a folder that root gives to the account of the agent", () => {
  let folder: TemporaryFolder;
  let pins: string;
  let victim: string;
  beforeEach(async () => {
    folder = await openTemporaryFolder("give");
    pins = join(folder.path, "pins");
    victim = join(folder.path, "victim");
    mkdirSync(join(pins, "set"), { recursive: true });
    writeFileSync(join(pins, "set", "map"), "");
    mkdirSync(victim);
    writeFileSync(join(victim, "shadow"), "");
  });
  afterEach(() => folder[Symbol.asyncDispose]());

  it("is given with all that root made in it", () => {
    giveKernelFolder(pins, ACCOUNT);
    for (const path of [pins, join(pins, "set"), join(pins, "set", "map")]) {
      expect(lstatSync(path), path).toMatchObject(ACCOUNT);
    }
  });

  it("gives nothing that a link in it leads to, nor what has another name elsewhere", () => {
    symlinkSync(victim, join(pins, "link"));
    symlinkSync(join(victim, "shadow"), join(pins, "set", "link"));
    linkSync(join(victim, "shadow"), join(pins, "set", "second"));
    giveKernelFolder(pins, ACCOUNT);
    expect(uidOf(join(pins, "set", "map"))).toBe(ACCOUNT.uid);
    expect([uidOf(victim), uidOf(join(victim, "shadow"))]).toEqual([0, 0]);
  });

  it("gives nothing in it that is another user's", () => {
    chownSync(join(pins, "set", "map"), STRANGER, STRANGER);
    giveKernelFolder(pins, ACCOUNT);
    expect(uidOf(join(pins, "set", "map"))).toBe(STRANGER);
  });

  it("is no link, and no other user's where anyone may make folders", () => {
    symlinkSync(victim, join(folder.path, "link"));
    expect(() => giveKernelFolder(join(folder.path, "link"), ACCOUNT)).toThrow("it is no folder");
    chownSync(pins, STRANGER, STRANGER);
    chmodSync(folder.path, 0o1777);
    expect(() => giveKernelFolder(pins, ACCOUNT)).toThrow(`user ${STRANGER} made it`);
    expect([uidOf(victim), uidOf(pins)]).toEqual([0, STRANGER]);
    // Where only root makes folders it is that of an account of before.
    chmodSync(folder.path, 0o755);
    giveKernelFolder(pins, ACCOUNT);
    expect(uidOf(pins)).toBe(ACCOUNT.uid);
  });

  it("is put aside when another user made it where anyone may, so that there can be one", () => {
    expect(putForeignFolderAside(join(folder.path, "none"), ACCOUNT)).toBeUndefined();
    chmodSync(folder.path, 0o1777);
    for (const uid of [0, ACCOUNT.uid]) {
      chownSync(pins, uid, 0);
      expect(putForeignFolderAside(pins, ACCOUNT)).toBeUndefined();
    }
    chownSync(pins, STRANGER, STRANGER);
    const aside = putForeignFolderAside(pins, ACCOUNT);
    expect(aside).toMatch(/^.*\/pins-foreign-[0-9a-f]{8}$/);
    expect([existsSync(pins), uidOf(aside ?? "")]).toEqual([false, STRANGER]);
    symlinkSync(victim, pins);
    expect(putForeignFolderAside(pins, ACCOUNT)).toBeDefined();
    expect([existsSync(pins), existsSync(victim)]).toEqual([false, true]);
  });
});
