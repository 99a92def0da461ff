import { execFile } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import { SOCKET_VARIABLE } from "../../src/edge-agent/privilege/socket-variable.ts";
import { type LogStream, openLogStream } from "../support/log-stream.ts";
import { type NatsServer, openNatsServer } from "../support/nats-server.ts";
import {
  capabilitiesOf,
  type DividedAgent,
  sourcesOff,
  startDividedAgent,
  statusOf,
} from "../support/privileged-agent.ts";
import { hasBpf } from "../support/ring-sources.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const HANG_UP_LIMIT_MS = 60_000;
/** What both processes' C library is told, so that it keeps little. */
const MEMORY_VARIABLES = ["MALLOC_ARENA_MAX=1", "MALLOC_TRIM_THRESHOLD_=131072"];
const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));

describe.runIf(hasBpf)("an agent that root starts", () => {
  let nats: NatsServer;
  let log: LogStream;
  let folder: TemporaryFolder;
  let secret: TemporaryFolder;
  let agent: DividedAgent;
  const data = () => join(folder.path, "data");
  const pinsOf = (name: string) =>
    `/sys/fs/bpf/probity-${
      createHash("sha256").update(join(folder.path, name)).digest("hex").slice(0, 12)
    }`;
  beforeAll(async () => {
    nats = await openNatsServer();
    log = await openLogStream(nats.url);
    folder = await openTemporaryFolder("privilege");
    await run("chmod", ["755", folder.path]);
    secret = await openTemporaryFolder("privilege-secret");
    const config = join(folder.path, "probity.toml");
    writeFileSync(config, `[[files]]\npaths = ["${secret.path}/watched/*"]\n`);
    mkdirSync(join(secret.path, "watched"), { mode: 0o700 });
    agent = await startDividedAgent({
      data: data(),
      natsUrl: nats.url,
      words: [`--config=${config}`],
    });
  });
  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
    await nats[Symbol.asyncDispose]();
    removePinFolder(pinsOf("data"));
    await folder[Symbol.asyncDispose]();
    await secret[Symbol.asyncDispose]();
  });

  it("has every source, and no right in any of its threads", () => {
    expect(agent.log()).not.toContain("runs as root");
    expect(sourcesOff(agent)).toEqual([]);
    const threads = readdirSync(`/proc/${agent.pid}/task`);
    expect(threads.length).toBeGreaterThan(1);
    for (const thread of threads) {
      const path = `${agent.pid}/task/${thread}`;
      for (const set of ["Prm", "Eff", "Inh", "Bnd", "Amb"]) {
        expect(capabilitiesOf(path, set), `${set} of ${thread}`).toBe(0n);
      }
      expect(statusOf(path, "NoNewPrivs")).toBe("1");
      expect(statusOf(path, "Uid").split("\t")).not.toContain("0");
      expect(statusOf(path, "Gid").split("\t")).not.toContain("0");
      expect(statusOf(path, "Groups").trim()).toBe("");
    }
    const environ = readFileSync(`/proc/${agent.pid}/environ`, "utf8").split("\0");
    expect(environ).toEqual(expect.arrayContaining(MEMORY_VARIABLES));
  });

  it("keeps four capabilities in a process that shares nothing but a socket", () => {
    const { privilegedPid } = agent;
    const kept = (1n << 21n) | (1n << 2n) | (1n << 19n) | (1n << 37n);
    for (const set of ["Prm", "Eff", "Bnd"]) expect(capabilitiesOf(privilegedPid, set)).toBe(kept);
    expect(statusOf(privilegedPid, "Uid").split("\t")).not.toContain("0");
    // No variable, and no argument but a number: nothing of who started the agent reaches it.
    const environ = readFileSync(`/proc/${privilegedPid}/environ`, "utf8").split("\0");
    const own = ["LANG=C.UTF-8", "HOME=/nonexistent", ...MEMORY_VARIABLES];
    expect(environ.filter(Boolean)).toEqual(own);
    expect(readFileSync(`/proc/${privilegedPid}/cmdline`, "utf8").split("\0").at(-2)).toMatch(
      /^\d+$/,
    );
  });

  it("is closed to other processes of its user", async () => {
    for (const pid of [agent.pid, agent.privilegedPid]) {
      const look = run("setpriv", [
        "--reuid=probity",
        "--regid=probity",
        "--clear-groups",
        "ls",
        `/proc/${pid}/fd`,
      ]);
      await expect(look).rejects.toThrow("Permission denied");
    }
  });

  it("sees files in folders that only root may enter, and older processes of others", async () => {
    const path = join(secret.path, "made");
    writeFileSync(path, "");
    const [made] = await log.waitFor(
      (line) => line.topic === "file/create" && line["path"] === path,
      { count: 1 },
    );
    expect(made?.line).toMatchObject({ user: "root", pid: process.pid, exe: process.execPath });
    const inside = join(secret.path, "inside");
    await run("mkdir", ["-m", "700", inside]);
    await run("bash", ["-c", `: > ${inside}/one; mv ${inside}/one ${inside}/two`]);
    const [moved] = await log.waitFor(
      (line) => line.topic === "file/rename" && line["path"] === `${inside}/two`,
      { count: 1 },
    );
    expect(moved?.line["old_path"]).toBe(`${inside}/one`);
  });

  it("tells what changed in watched files that only root may read", async () => {
    const path = join(secret.path, "watched", "file");
    writeFileSync(path, "one\n", { mode: 0o600 });
    await log.waitFor((line) => line.topic === "file/change" && line["path"] === path, {
      count: 1,
    });
    writeFileSync(path, "two\n");
    const changes = await log.waitFor(
      (line) => line.topic === "file/change" && line["path"] === path,
      { count: 2 },
    );
    expect(JSON.stringify(changes.at(-1)?.line.detail)).toContain("+two");
  });

  it("tells the digest of what only root may read", async () => {
    const tool = join(secret.path, "tool");
    copyFileSync("/bin/true", tool);
    chmodSync(tool, 0o700);
    await run(tool, []);
    // With the exec or, where the processor is wanted by others, soon after it.
    const topics = ["process/exec", "process/hash"];
    const [told] = await log.waitFor(
      ({ topic, exe, detail }) => topics.includes(topic) && exe === tool && "sha256" in detail,
      { count: 1 },
    );
    const sha256 = createHash("sha256").update(readFileSync(tool)).digest("hex");
    expect(told?.line.detail).toMatchObject({ sha256 });
  });

  it("takes 48 MiB of memory at most for the process with rights", () => {
    const kilobytes = Number.parseInt(statusOf(agent.privilegedPid, "RssAnon"), 10);
    expect(kilobytes).toBeLessThan(48 * 1024);
  });

  it("mounts the BPF filesystem for root alone where it is missing", async () => {
    const module = new URL("../../src/edge-agent/bpf-filesystem.ts", import.meta.url).href;
    const program = `
      const { makePinFolder } = await import(${JSON.stringify(module)});
      makePinFolder("/sys/fs/bpf/probity-mode");
      const { mode } = (await import("node:fs")).statSync("/sys/fs/bpf");
      console.log((mode & 0o777).toString(8));`;
    const unmounted = "while umount -l /sys/fs/bpf 2>/dev/null; do :; done";
    const words = ["-m", "sh", "-ec", `${unmounted}; exec "$@"`, "sh", process.execPath];
    const { stdout } = await run("unshare", [...words, "--input-type=module", "-e", program]);
    expect(stdout.trim()).toBe("700");
  });

  it("is divided in Deno too", async () => {
    await using other = await startDividedAgent({
      data: join(folder.path, "deno"),
      natsUrl: nats.url,
      runtime: [DENO, "run", "-q", "-P=agent"],
    });
    expect(sourcesOff(other)).toEqual([]);
    expect(capabilitiesOf(other.pid, "Prm")).toBe(0n);
    expect(capabilitiesOf(other.privilegedPid, "Prm")).not.toBe(0n);
    expect(await other.stop()).toBe(0);
    removePinFolder(pinsOf("deno"));
  });

  it("ends when the process with rights does, and says why", async () => {
    process.kill(agent.privilegedPid, "SIGKILL");
    expect(await agent.ended).toBe(1);
    expect(agent.log()).toContain("the process with the agent's rights has ended");
    // What its account leaves in the folder of its pins gives it nothing at the next start.
    const kept = join(secret.path, "watched");
    symlinkSync(kept, join(pinsOf("data"), "link"));
    // Started again it goes on: nothing was lost of what its rings hold.
    await run("/bin/true", ["while-no-agent-runs"]);
    let hangups: Promise<number> | undefined;
    agent = await startDividedAgent({
      data: data(),
      natsUrl: nats.url,
      onStarted: (pid) => hangups = hangUpWhileItStarts(pid),
    });
    expect(await hangups).toBe(2);
    expect(statSync(kept).uid).toBe(0);
    await log.waitFor((line) => line["cmdline"] === "/bin/true while-no-agent-runs", { count: 1 });
    expect(await agent.stop()).toBe(0);
    await expect.poll(() => isAlive(agent.privilegedPid)).toBe(false);
  });
});

function isAlive(pid: number): boolean {
  try {
    return statusOf(pid, "State").startsWith("Z") === false;
  } catch {
    return false;
  }
}

/**
 * Sends SIGHUP to each of the two programs that an agent is while it starts, with rights and without, once it listens:
 * how many were sent. It is stopped meanwhile: the first becomes the second, and that listens a moment later.
 */
async function hangUpWhileItStarts(pid: number): Promise<number> {
  const deadlineMs = performance.now() + HANG_UP_LIMIT_MS;
  let sent = 0;
  while (sent < 2 && performance.now() < deadlineMs) {
    process.kill(pid, "SIGSTOP");
    while (!statusOf(pid, "State").startsWith("T")) {
      if (performance.now() > deadlineMs) return sent;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const listens = (BigInt(`0x${statusOf(pid, "SigCgt")}`) & 1n) !== 0n;
    const isSecond = readFileSync(`/proc/${pid}/environ`, "utf8").includes(SOCKET_VARIABLE);
    if (listens && isSecond === (sent === 1)) {
      process.kill(pid, "SIGHUP");
      sent += 1;
    }
    process.kill(pid, "SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return sent;
}
