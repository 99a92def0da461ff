import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bpfinkLine } from "../../src/cli/bpfink-line.ts";
import { recordedEvent } from "../../src/client/record.ts";
import { type IntegrityRig, openIntegrityRig } from "../support/integrity-rig.ts";
import { type MountedFilesystem, mountTmpfs } from "../support/mounts.ts";
import { requireCapability } from "../support/require.ts";
import type { Line } from "../support/source-run.ts";

const hasFanotify = requireCapability(
  "fanotify",
  process.getuid?.() === 0,
  "fanotify marks need root",
);

const HASH =
  "$6$saltsalt$Yq2nJbUx8v0Qm4tRzWc6LpEaHdSgKiFoNuVjXyBwTsCrMlPkGhDfAeZbOxIvQnUtYrWsJdLmKpHgEcFaBzXoV/";
const OTHER = HASH.replaceAll("Yq2n", "Zr3o");

describe.runIf(hasFanotify)("account files", () => {
  let filesystem: MountedFilesystem;
  let rig: IntegrityRig;
  let root: string;
  let publicKey: string;
  let printed: string;
  const at = (path: string): string => join(root, path);
  const passwd = (users: string): string => `root:x:0:0:root:/root:/bin/bash\n${users}`;
  const shadow = (hash: string): string => `root:*:1::::::\nalice:${hash}:19000:0:99999:7:::\n`;

  beforeAll(async () => {
    filesystem = mountTmpfs();
    root = filesystem.path;
    mkdirSync(at("etc"));
    mkdirSync(at("home/alice/.ssh"), { recursive: true });
    writeFileSync(at("etc/passwd"), passwd(""));
    writeFileSync(at("etc/shadow"), shadow(HASH));
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "a@b", "-f", at("key")]);
    publicKey = readFileSync(at("key.pub"), "utf8");
    printed = execFileSync("ssh-keygen", ["-lf", at("key.pub")]).toString().split(" ")[1] ?? "";
    rig = openIntegrityRig({ paths: [`${root}/etc/**`, `${root}/home/**`], kind: "accounts" });
    await rig.start();
  });
  afterAll(async () => {
    await rig[Symbol.asyncDispose]();
    filesystem[Symbol.dispose]();
  });

  const lineOf = async (topic: string, path: string, count = 1): Promise<Line> => {
    const found = await rig.waitFor(
      (line) => line.topic === topic && line["path"] === at(path),
      { count },
    );
    const line = found[count - 1];
    if (line === undefined) throw new Error(`Cannot find ${topic} of ${path}`);
    return line;
  };
  const bpfinkOf = (line: Line) =>
    bpfinkLine(recordedEvent({ ...line, id: "0123abcd-1-0" }), { version: "1" });

  it("tell a user who was added, as useradd does it, and who can log in since", async () => {
    const users = `alice:x:1000:1000::${at("home/alice")}:/bin/bash\n`;
    writeFileSync(at("etc/passwd+"), passwd(users));
    renameSync(at("etc/passwd+"), at("etc/passwd"));
    const change = await lineOf("file/change", "etc/passwd");
    expect(change).toMatchObject({ severity: "high" });
    expect(change.detail["semantic"]).toEqual([
      { what: "user/add", who: "alice", after: expect.stringContaining("uid=1000") },
    ]);
    const alice = { user: "alice", passwd: "XXXX", keys: [] };
    expect(bpfinkOf(change)).toMatchObject({
      message: "Users Modified",
      users: [alice],
      add: [alice],
      del: [],
    });
    const { detail, message } = await lineOf("account/user/add", "etc/passwd");
    expect([message, detail["target"]]).toEqual(["user alice was added", "alice"]);
  });

  it("tell a key by the fingerprint that ssh-keygen prints, and whose home it is in", async () => {
    writeFileSync(at("home/alice/.ssh/authorized_keys"), publicKey);
    const change = await lineOf("file/change", "home/alice/.ssh/authorized_keys");
    expect(change.detail["semantic"]).toEqual([
      { what: "key/add", who: "alice", after: `ssh-ed25519 ${printed} a@b` },
    ]);
    expect(bpfinkOf(change)).toMatchObject({
      users: [{ user: "alice", passwd: "XXXX", keys: [printed] }],
      del: [{ user: "alice", passwd: "XXXX", keys: [] }],
    });
  });

  it("tell that a password changed, and neither hash nor key is told or kept", async () => {
    writeFileSync(at("etc/shadow"), shadow(OTHER));
    const change = await lineOf("file/change", "etc/shadow");
    expect(change.detail["semantic"]).toEqual([
      {
        what: "user/password",
        who: "alice",
        before: "sha512crypt",
        after: "sha512crypt, changed",
      },
    ]);
    await rig.stop();
    const kept = readdirSync(rig.dataDirectory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));
    const all = JSON.stringify(rig.lines) + kept.join("");
    expect(kept.length).toBeGreaterThan(0);
    for (const secret of [HASH, OTHER, publicKey.split(" ")[1] ?? ""]) {
      expect(all).not.toContain(secret.slice(20, 60));
    }
  });
});
