import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import { SOURCE_NAMES } from "../../src/edge-agent/sources.ts";
import { isCommand } from "../support/capabilities.ts";
import { openLogStream } from "../support/log-stream.ts";
import { openNatsServer } from "../support/nats-server.ts";
import { capabilitiesOf, sourcesOff, startDividedAgent } from "../support/privileged-agent.ts";
import { requireCapability } from "../support/require.ts";
import { hasBpf } from "../support/ring-sources.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { confined, readUnitFile } from "../support/unit-file.ts";

const run = promisify(execFile);
const UNIT = fileURLToPath(
  new URL("../../infra/systemd/probity-agent.service", import.meta.url),
);
const GUIDE = fileURLToPath(new URL("../../docs/operations.md", import.meta.url));
const PROOF = fileURLToPath(new URL("../support/proof-script.ts", import.meta.url));
const unit = readUnitFile(UNIT);
const [user = ""] = unit.words("User");
const capabilities = unit.words("AmbientCapabilities");
const hasUser = requireCapability(
  "root",
  hasBpf && isUser(user),
  `only root starts the agent as the system user "${user}", which ./setup makes`,
);
const hasSystemd = requireCapability(
  "systemd",
  isCommand("systemd-analyze"),
  "no systemd-analyze: apt-get install systemd",
);

describe("the agent's unit", () => {
  it("names one user other than root, one set of capabilities, and no way to more", () => {
    expect(user).toMatch(/^[a-z-]+$/);
    expect(user).not.toBe("root");
    expect(unit.words("CapabilityBoundingSet")).toEqual(capabilities);
    expect(unit.words("NoNewPrivileges")).toEqual(["yes"]);
  });

  it("makes the pin folder that an agent on its data folder uses", () => {
    const start = unit.words("ExecStart");
    const data = start[start.indexOf("--data") + 1] ?? "";
    const folder = pinFolderOf(data);
    expect(unit.words("ExecStartPre").at(-1)).toBe(folder);
    expect(unit.words("ReadWritePaths")).toEqual([`-${folder}`, "-/var/spool/probity"]);
  });

  it.runIf(hasSystemd)("is exposed by 3.0 at most", async () => {
    const words = ["security", "--offline=true", "--threshold=30", "--no-pager", UNIT];
    const { stdout } = await run("systemd-analyze", words);
    const exposure = /exposure level for [^:]*: ([0-9.]+)/.exec(stdout)?.[1];
    expect(Number(exposure)).toBeLessThanOrEqual(3.0);
    expect(readFileSync(GUIDE, "utf8")).toContain(`probity-agent.service\` gives ${exposure}.`);
  });
});

describe.runIf(hasUser)("with the capabilities of the unit", () => {
  it("an agent that is not root sees what happens", async () => {
    await using nats = await openNatsServer();
    await using log = await openLogStream(nats.url);
    await using folder = await openTemporaryFolder("least-privilege");
    // What systemd and ExecStartPre make.
    const pins = pinFolderOf(folder.path);
    using _pins = { [Symbol.dispose]: () => removePinFolder(pins) };
    for (const path of [folder.path, pins]) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      giveTo(user, path);
    }
    await using agent = await startDividedAgent({
      data: folder.path,
      natsUrl: nats.url,
      runtime: [...confined(user, capabilities), process.execPath],
    });
    expect(sourcesOff(agent)).toEqual([]);
    // It hands on all of them, and keeps none.
    expect(capabilitiesOf(agent.pid, "Prm")).toBe(0n);
    expect(capabilitiesOf(agent.privilegedPid, "Prm")).not.toBe(0n);
    await using secret = await openTemporaryFolder("least-privilege-secret");
    chmodSync(secret.path, 0o700);
    writeFileSync(join(secret.path, "made"), "");
    await run("/bin/true", ["least-privilege"]);
    const { line: made } = await first(log.waitFor(
      (line) => line.topic === "file/create" && line["path"] === join(secret.path, "made"),
      { count: 1 },
    ));
    // This process was there before the agent: its executable is read from /proc.
    expect(made).toMatchObject({ user: "root", pid: process.pid, exe: process.execPath });
    await first(log.waitFor(
      (line) => line.topic === "process/exec" && line["cmdline"] === "/bin/true least-privilege",
      { count: 1 },
    ));
    expect(await agent.stop()).toBe(0);
  });

  it("each of them is needed: without one, something is not seen", async () => {
    const everything = [...SOURCE_NAMES, "executables"];
    // Audit is heard by the socket that the unit beside it passes (audit-activation.test.ts).
    expect(await proven(capabilities)).toEqual(everything);
    const missing = await Promise.all(capabilities.map(async (left) => {
      const works = await proven(capabilities.filter((each) => each !== left));
      return [left, everything.filter((each) => !works.includes(each))] as const;
    }));
    expect(Object.fromEntries(missing)).toEqual({
      CAP_SYS_ADMIN: SOURCE_NAMES,
      CAP_DAC_READ_SEARCH: ["control", "file", "filesystem", "integrity", "crypto"],
      CAP_SYS_PTRACE: ["executables"],
    });
  });
});

/** Where an agent pins its programs. */
function pinFolderOf(data: string): string {
  return `/sys/fs/bpf/probity-${createHash("sha256").update(data).digest("hex").slice(0, 12)}`;
}

/**
 * What works with these capabilities. Folders for pins are made by the unit before the agent starts: here, whoever mounted
 * the BPF filesystem of this machine, anyone may make one in a filesystem of their own.
 */
async function proven(names: readonly string[]): Promise<readonly string[]> {
  const mounted = 'mount -t bpf -o mode=1777 bpf /sys/fs/bpf && exec "$@"';
  const words = ["--mount", "sh", "-c", mounted, "sh", ...confined(user, names)];
  const { stdout } = await run("unshare", [...words, process.execPath, PROOF]);
  return JSON.parse(stdout);
}

async function first<T>(found: Promise<readonly T[]>): Promise<T> {
  const [one] = await found;
  if (one === undefined) throw new Error("nothing was found");
  return one;
}

function isUser(name: string): boolean {
  try {
    execFileSync("id", ["-u", name], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function giveTo(name: string, path: string): void {
  const id = (flag: string): number =>
    Number(execFileSync("id", [flag, name], { encoding: "utf8" }));
  chownSync(path, id("-u"), id("-g"));
}
