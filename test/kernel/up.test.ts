import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { SOURCE_NAMES } from "../../src/edge-agent/sources.ts";
import { MAIN_FILE, runProbity } from "../support/command-line.ts";
import { canRunNats, openNatsServer } from "../support/nats-server.ts";
import { openProbitySystem, type ProbitySystem, removePins } from "../support/probity-system.ts";
import type { Role } from "../support/probity-system.ts";

const ROLES: readonly Role[] = ["nats-server", "rollup", "serve", "agent"];

describe.runIf(canRunNats())("up", () => {
  it("runs everything, says where, and leaves nothing running when it is stopped", async () => {
    await using system = await openProbitySystem("node");
    const { dataDirectory: data, token, url } = system;
    expect(await announcement(system)).toMatchObject({
      url,
      data,
      tokenFile: join(data, "admin.token"),
      broker: expect.stringMatching(/^nats:\/\/127\.0\.0\.1:\d+$/),
      host: expect.any(String),
      sources: expect.any(Array),
    });
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    for (const name of ["admin.token", "nats/server.conf", "nats/agent.nk", "nats/query.nk"]) {
      expect((await stat(join(data, name))).mode & 0o777, name).toBe(0o600);
    }
    expect((await stat(data)).mode & 0o007).toBe(0);
    const sql = "SELECT count(*) > 0 AS found FROM events WHERE topic = 'agent/start'";
    await until(async () => {
      const { code, stdout } = await runProbity(["sql", sql, "--data", data]);
      return code === 0 && stdout === '{"found":true}\n';
    });
    // Without a configuration file nothing can change, which is told as well.
    process.kill(system.upPid(), "SIGHUP");
    const reloaded = sql.replace("agent/start", "agent/config");
    await until(async () =>
      (await runProbity(["sql", reloaded, "--data", data])).stdout === '{"found":true}\n'
    );
    // What it does to answer is no event that makes it do more: payloads lie in files that are kept.
    const own = `SELECT count(*) AS n FROM events WHERE pid IN (${system.pidsOf("serve")}) ` +
      "AND (topic = 'file/delete' OR topic = 'file/rename') AND path LIKE '/dev/shm/%'";
    expect((await runProbity(["sql", own, "--data", data])).stdout).toBe('{"n":0}\n');
    expect(await system.stop()).toBe(0);
    expect(startedPids(system.output()).filter(isAlive)).toEqual([]);
    expect(existsSync(join(data, "server.url"))).toBe(false);
  });

  it("refuses a second one on the same data folder, and the first goes on", async () => {
    await using system = await openProbitySystem("node");
    const data = system.dataDirectory;
    const second = await runProbity(["up", "--data", data, "--port", "0"]);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toContain(`another "probity up" uses data folder "${data}"`);
    expect(await isReady(system)).toBe(true);
  });

  it("starts each process again when it is killed, at the same addresses", async () => {
    await using system = await openProbitySystem("node");
    const { url } = system;
    for (const role of ROLES) {
      const [pid = 0] = system.pidsOf(role);
      process.kill(pid, "SIGKILL");
      await until(() => Promise.resolve(system.pidsOf(role).some((each) => each !== pid)));
      await until(() => isReady(system));
    }
    expect(system.url).toBe(url);
    expect(system.output().split("was killed by SIGKILL")).toHaveLength(ROLES.length + 1);
  });

  it("leaves no orphan when it is killed itself, and starts again on what it left", async () => {
    await using system = await openProbitySystem("node");
    const before = { token: system.token, broker: (await announcement(system))["broker"] };
    await system.killUp();
    const orphans = startedPids(system.output());
    await system.startUp();
    await until(() => Promise.resolve(orphans.every((pid) => !isAlive(pid))));
    expect({ token: system.token, broker: (await announcement(system))["broker"] }).toEqual(before);
    expect(await isReady(system)).toBe(true);
  });

  it("spreads the log over shards, of which the agent uses the one it is told", async () => {
    const shards = ["--rollup-shards", "3"];
    await using system = await openProbitySystem("node", [...shards, "--agent-shard", "2"]);
    const data = system.dataDirectory;
    const logged = async () => {
      const { stdout } = await runProbity(["rollup", "status", "--data", data, ...shards]);
      const lines = stdout.split("\n").filter((line) => line !== "");
      return lines.map((line): number => JSON.parse(line).lastSequence);
    };
    await until(async () => {
      const [, second, third] = await logged();
      return second === 0 && third !== undefined && third > 0;
    });
    const sql = "SELECT count(DISTINCT incarnation) AS streams FROM events " +
      "WHERE topic = 'agent/start' OR topic = 'audit/query'";
    await until(async () => (await runProbity(["sql", sql, "--data", data])).stdout.includes("2"));
  });

  it("uses a broker that it is given, and starts none", async () => {
    await using server = await openNatsServer();
    await using system = await openProbitySystem("node", ["--nats", server.url]);
    expect(await announcement(system)).toMatchObject({ broker: server.url });
    expect(system.output()).not.toContain('"started broker"');
  });

  it("ends when a part says that its configuration is wrong, and stops what it had started", async () => {
    const data = await mkdtemp(join(tmpdir(), "probity-refused-"));
    const words = ["up", "--data", data, "--port", "0", "--agent-listen", "127.0.0.1:0"];
    const files = ["cert", "key"].flatMap((each) => [`--server-tls-${each}`, join(data, each)]);
    const { code, stderr } = await runProbity([...words, ...files]);
    expect(code).toBe(2);
    expect(stderr).toContain(`probity: Cannot use file "${join(data, "key")}" for TLS: ENOENT`);
    expect(stderr).toContain("probity: Cannot start serve: ended with code 2");
    const pids = startedPids(stderr);
    expect(pids.length).toBeGreaterThan(2);
    expect(pids.filter(isAlive)).toEqual([]);
    removePins(data);
    await rm(data, { recursive: true, force: true });
  });

  it("is refused with both --port and --listen", async () => {
    const folder = await mkdtemp(join(tmpdir(), "probity-twice-"));
    const data = join(folder, "data");
    const words = ["--port", "1", "--listen", "127.0.0.1:2", "--data", data];
    expect(await runProbity(["up", ...words])).toMatchObject({ code: 2, stdout: "" });
    expect(existsSync(data)).toBe(false);
    await rm(folder, { recursive: true, force: true });
  });

  it("is refused with a wrong configuration, before it touches anything", async () => {
    const folder = await mkdtemp(join(tmpdir(), "probity-wrong-"));
    const path = join(folder, "wrong.toml");
    await writeFile(path, '[agent]\nflush = "1s"\nhots = "x"\n');
    const data = join(folder, "data");
    const { code, stderr } = await runProbity(["up", "--config", path, "--data", data]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("line 3: [agent] hots is unknown")]);
    expect(existsSync(data)).toBe(false);
    await rm(folder, { recursive: true, force: true });
  });

  it("runs without any right, says which sources are off, and does everything else", async () => {
    const data = await mkdtemp(join(tmpdir(), "probity-powerless-"));
    const words = [MAIN_FILE, "up", "--data", data, "--port", "0", "--agent-listen", "127.0.0.1:0"];
    const node = [process.execPath, ...words];
    // Root without capabilities may do no more than anyone else.
    const [command = "", ...rest] = process.getuid?.() === 0
      ? ["setpriv", "--bounding-set=-all", "--inh-caps=-all", ...node]
      : node;
    const child = spawn(command, rest, { stdio: ["ignore", "pipe", "pipe"] });
    const ended = once(child, "exit");
    const [line] = await once(createInterface({ input: child.stdout }), "line");
    const { sources } = JSON.parse(String(line));
    const seeing = new Set<string>(SOURCE_NAMES);
    const powerless = sources.filter(({ name }: { readonly name: string }) => seeing.has(name));
    expect(powerless.length).toBeGreaterThan(3);
    for (const source of powerless) {
      expect(source).toMatchObject({
        state: "off",
        reason: expect.stringMatching(/\S/),
        remedy: expect.stringMatching(/root/),
      });
    }
    await until(async () => {
      const { stdout } = await runProbity(["search", "--topic", "agent/start", "--data", data]);
      return stdout.includes('"topic":"agent/start"');
    });
    child.kill("SIGTERM");
    expect((await ended)[0]).toBe(0);
    await rm(data, { recursive: true, force: true });
  });

  it("as root lets all but itself run as user probity, and keeps its own files apart", async () => {
    const account = accountUid();
    await using system = await openProbitySystem("node");
    const own = process.getuid?.() ?? 0;
    const other = own === 0 ? account ?? own : own;
    const owner = async (path: string) => (await stat(path)).uid;
    const ownerOf = (role: Role) => owner(`/proc/${system.pidsOf(role)[0]}`);
    expect(await owner(`/proc/${system.upPid()}`)).toBe(own);
    for (const role of ["nats-server", "rollup", "serve", "agent"] as const) {
      expect(await ownerOf(role), role).toBe(other);
    }
    const data = system.dataDirectory;
    for (const name of [".", "nats", "spool", "server.url"]) {
      expect(await owner(join(data, name)), name).toBe(own);
    }
    // Whoever may make files in the data folder may not remove those of others.
    if (other !== own) expect((await stat(data)).mode & 0o7777).toBe(0o1770);
    const others = ["bucket", "nats/store", "nats/query.nk", "nats/agent.nk", "spool/query"];
    for (const name of [...others, "spool/agent", "admin.token"]) {
      expect(await owner(join(data, name)), name).toBe(other);
    }
    const isWarned = system.output().includes("so everything runs as root");
    expect(isWarned).toBe(own === 0 && account === undefined);
  });
});

/** The last line that `up` printed on standard output. */
async function announcement(system: ProbitySystem): Promise<Readonly<Record<string, unknown>>> {
  const said = () => system.output().split("\n").filter((line) => line.startsWith("{")).at(-1);
  await until(() => Promise.resolve(said() !== undefined));
  return JSON.parse(said() ?? "");
}

/** Process ids of everything that was ever started. */
function startedPids(output: string): number[] {
  return [...output.matchAll(/"started [a-z]+" .*pid=(\d+)/g)].map(([, pid]) => Number(pid));
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

/** Whether the service answers that it is ready; while it is being started again it does not answer. */
async function isReady(system: ProbitySystem): Promise<boolean> {
  try {
    return (await system.fetch("/readyz")).ok;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`Cannot wait any longer until ${holds}`);
    await delay(50);
  }
}

/** The user that ./setup makes, if there is one. */
function accountUid(): number | undefined {
  const { stdout, status } = spawnSync("id", ["-u", "probity"], { encoding: "utf8" });
  return status === 0 ? Number(stdout) : undefined;
}
