import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type DataFolder,
  dataFolderAt,
  ensureAdminToken,
  giveAgentFolder,
  prepareDataFolder,
} from "../../src/cli/up/data-folder.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const isRoot = requireCapability("root", process.getuid?.() === 0, "it gives files to others");
const ACCOUNT = { name: "nobody", uid: 12_345, gid: 12_346 };

describe.runIf(isRoot)("a data folder in which the account of the services may make files", () => {
  let outer: TemporaryFolder;
  let folder: DataFolder;
  let victim: string;
  beforeEach(async () => {
    outer = await openTemporaryFolder("data-folder");
    folder = dataFolderAt(join(outer.path, "data"));
    victim = join(outer.path, "victim");
    mkdirSync(victim, { mode: 0o755 });
    writeFileSync(join(victim, "shadow"), "text", { mode: 0o640 });
    prepareDataFolder(folder, ACCOUNT);
    ensureAdminToken(folder, ACCOUNT);
  });
  afterEach(() => outer[Symbol.asyncDispose]());

  /** As the account would: what it makes is its own. */
  function linkByAccount(target: string, path: string): void {
    symlinkSync(target, path);
    lchownSync(path, ACCOUNT.uid, ACCOUNT.gid);
  }
  const standing = (path: string) => {
    const { uid, gid, mode } = statSync(path);
    return { uid, gid, mode: mode & 0o7777 };
  };

  it("gives the account what is its own, each time", () => {
    chownSync(folder.adminToken, 0, 0);
    prepareDataFolder(folder, ACCOUNT);
    ensureAdminToken(folder, ACCOUNT);
    const own = { uid: ACCOUNT.uid, gid: ACCOUNT.gid };
    expect(standing(folder.path)).toEqual({ uid: 0, gid: ACCOUNT.gid, mode: 0o1770 });
    expect(standing(folder.bucket)).toEqual({ ...own, mode: 0o700 });
    expect(standing(folder.cache)).toEqual({ ...own, mode: 0o700 });
    expect(standing(folder.adminToken)).toEqual({ ...own, mode: 0o600 });
  });

  it.each(["bucket", "cache"] as const)("refuses a link of the account's at %s", (name) => {
    const before = standing(victim);
    rmdirSync(folder[name]);
    linkByAccount(victim, folder[name]);
    const path = JSON.stringify(folder[name]);
    expect(() => prepareDataFolder(folder, ACCOUNT)).toThrow(`${path} is a link`);
    expect(standing(victim)).toEqual(before);
  });

  it("refuses a link of the account's, or a second name of a file, at the token", () => {
    const file = join(victim, "shadow");
    const before = standing(file);
    unlinkSync(folder.adminToken);
    linkByAccount(file, folder.adminToken);
    const path = JSON.stringify(folder.adminToken);
    expect(() => ensureAdminToken(folder, ACCOUNT)).toThrow(`${path} is a link`);
    unlinkSync(folder.adminToken);
    linkSync(file, folder.adminToken);
    expect(() => ensureAdminToken(folder, ACCOUNT)).toThrow(`${path} has another name`);
    expect(standing(file)).toEqual(before);
  });

  it("puts a token in the place of a link that leads nowhere, and writes nothing through it", () => {
    unlinkSync(folder.adminToken);
    linkByAccount(join(victim, "new"), folder.adminToken);
    ensureAdminToken(folder, ACCOUNT);
    expect(lstatSync(folder.adminToken).isFile()).toBe(true);
    expect(readFileSync(folder.adminToken, "utf8")).toMatch(/^[\w-]{43}$/);
    expect(lstatSync(join(victim, "new"), { throwIfNoEntry: false })).toBeUndefined();
  });

  it("leaves alone what a link of root's leads to, and takes one to itself", () => {
    const before = standing(victim);
    rmdirSync(folder.bucket);
    symlinkSync(victim, folder.bucket);
    const alias = join(outer.path, "alias");
    symlinkSync(folder.path, alias);
    chmodSync(folder.path, 0o700);
    prepareDataFolder(dataFolderAt(alias), ACCOUNT);
    expect(standing(victim)).toEqual(before);
    expect(standing(folder.path).mode).toBe(0o1770);
    lchownSync(alias, ACCOUNT.uid, ACCOUNT.gid);
    expect(() => prepareDataFolder(dataFolderAt(alias), ACCOUNT)).toThrow("is a link that user");
  });

  it("is given to an agent's account with all that an agent keeps there, and not with other files", () => {
    const own = dataFolderAt(join(outer.path, "own"));
    const names = ["agent.db", "agent.db-wal", "agent.json", "integrity.canary", "redaction.key"];
    mkdirSync(own.spool("agent"), { recursive: true });
    mkdirSync(own.agentCache);
    for (const name of names) writeFileSync(join(own.path, name), "");
    expect(giveAgentFolder(own, ACCOUNT)).toBe(true);
    for (const path of [own.path, own.agentCache, ...names.map((name) => join(own.path, name))]) {
      expect(lstatSync(path).uid, path).toBe(ACCOUNT.uid);
    }
    const foreign = dataFolderAt(join(outer.path, "foreign"));
    mkdirSync(foreign.path);
    writeFileSync(join(foreign.path, "report.txt"), "");
    expect(giveAgentFolder(foreign, ACCOUNT)).toBe(false);
    expect(lstatSync(foreign.path).uid).toBe(0);
  });
});
