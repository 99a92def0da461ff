import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createProcessIds } from "../../src/edge-agent/process-identity.ts";
import { createProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { createProcessTable } from "../../src/edge-agent/process-table.ts";
import { type IntegrityRig, openIntegrityRig } from "../support/integrity-rig.ts";
import { type MountedFilesystem, mountTmpfs } from "../support/mounts.ts";
import { requireCapability } from "../support/require.ts";
import type { Line } from "../support/source-run.ts";

const hasFanotify = requireCapability(
  "fanotify",
  process.getuid?.() === 0,
  "fanotify marks need root",
);

const run = promisify(execFile);
const NAME = "probity-fold-fixture";

/** Processes as /proc has them while they live. */
function liveProcesses() {
  const processes = createProcessTable({
    ids: createProcessIds("0123abcd-x"),
    nowNs: () => performance.now() * 1e6,
  });
  const userNames = { version: 0, nameOf: () => undefined, refresh: () => undefined };
  return createProcessLookup({ context: { processes, userNames }, ownPids: [] });
}

describe.runIf(hasFanotify)("changes by dpkg", () => {
  let filesystem: MountedFilesystem;
  let root: string;
  let rig: IntegrityRig;
  const at = (path: string): string => join(root, path);
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), text);
  };
  /** Installs a version with these files; its script runs while dpkg waits for it. */
  const install = async (
    version: string,
    files: Readonly<Record<string, string>>,
    script: string,
  ): Promise<void> => {
    const folder = `build-${version}`;
    const sums = Object.entries(files).map(([path, text]) => {
      put(`${folder}${at(path)}`, text);
      return `${createHash("md5").update(text).digest("hex")}  ${at(path).slice(1)}\n`;
    });
    put(`${folder}/DEBIAN/md5sums`, sums.join(""));
    put(
      `${folder}/DEBIAN/control`,
      `Package: ${NAME}\nVersion: ${version}\nArchitecture: all\nMaintainer: none <a@b>\nDescription: x\n`,
    );
    put(`${folder}/DEBIAN/postinst`, `#!/bin/sh\n${script}\n`);
    chmodSync(at(`${folder}/DEBIAN/postinst`), 0o755);
    const file = at(`${NAME}_${version}.deb`);
    await run("dpkg-deb", ["--build", "-Znone", at(folder), file]);
    rmSync(at(folder), { recursive: true });
    await run("dpkg", [`--admindir=${at("var/lib/dpkg")}`, "-i", file]);
  };
  const packageLines = (version: string, count = 1): Promise<readonly Line[]> =>
    rig.waitFor(({ detail }) => detail["package"] === NAME && detail["version"] === version, {
      count,
      timeoutMs: 20_000,
    });

  beforeAll(async () => {
    filesystem = mountTmpfs();
    root = filesystem.path;
    for (const folder of ["info", "updates", "triggers"]) {
      mkdirSync(at(`var/lib/dpkg/${folder}`), { recursive: true });
    }
    put("var/lib/dpkg/status", "");
    put("var/lib/dpkg/available", "");
    mkdirSync(at("etc"));
    rig = openIntegrityRig({
      paths: [`${root}/etc/**`],
      processes: liveProcesses(),
      packageRoot: root,
    });
    await rig.start();
  });
  afterAll(async () => {
    await rig[Symbol.asyncDispose]();
    filesystem[Symbol.dispose]();
  });

  it("fold into one event of the package; what its script writes is told alone, as grave", async () => {
    const files = { "etc/fold/one": "1\n", "etc/fold/two": "2\n", "etc/fold/three": "3\n" };
    await install("1.0", files, `echo x > "${root}/etc/fold/stray"; sleep 2`);
    const [folded] = await packageLines("1.0");
    expect(folded).toMatchObject({
      topic: "file/change",
      severity: "info",
      exe: "/usr/bin/dpkg",
      message: `dpkg changed 3 files of ${NAME} 1.0`,
      detail: { count: 3, manager: "dpkg", arch: "all" },
    });
    expect([...Object(folded?.detail["paths"])].toSorted())
      .toEqual(Object.keys(files).map(at).toSorted());
    const [stray] = await rig.waitFor((line) => line["path"] === at("etc/fold/stray"), {
      count: 1,
      timeoutMs: 20_000,
    });
    expect(stray).toMatchObject({
      severity: "high",
      detail: { diff: expect.stringContaining("+x\n") },
    });
    expect(rig.lines.filter((line) => Object.keys(files).map(at).includes(String(line["path"]))))
      .toEqual([]);
  });

  it("of an upgrade are those of the new version, and what it removes is the old one's", async () => {
    const files = { "etc/fold/one": "1.1\n", "etc/fold/two": "2\n" };
    await install("2.0", files, `echo y >> "${root}/etc/fold/two"; sleep 2`);
    const [folded] = await packageLines("2.0");
    // The other file may be looked at before the script writes to it, and then is the package's, too.
    expect(folded?.detail["paths"]).toContain(at("etc/fold/one"));
    const removed = await packageLines("1.0", 2);
    expect(removed[1]?.detail).toMatchObject({ count: 1, paths: [at("etc/fold/three")] });
    const [foreign] = await rig.waitFor((line) => line["path"] === at("etc/fold/two"), {
      count: 1,
      timeoutMs: 20_000,
    });
    expect(foreign).toMatchObject({ severity: "high" });
  });

  it("are not what somebody else does at the same time", async () => {
    writeFileSync(at("etc/fold/one"), "foreign\n");
    const [line] = await rig.waitFor(({ path }) => path === at("etc/fold/one"), { count: 1 });
    expect(line).toMatchObject({ severity: "info" });
  });
});
