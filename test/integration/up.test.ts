import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, expect, it } from "vitest";
import { runProbity } from "../support/command-line.ts";
import { canRunNats, openNatsServer } from "../support/nats-server.ts";
import {
  isAlive,
  PROCESS_NAMES,
  removePins,
  startSystem,
  waitFor,
} from "../support/running-system.ts";
import type { RunningSystem } from "../support/running-system.ts";

/** Whether the service answers; while it is being started again it does not. */
async function answers({ said, token }: RunningSystem): Promise<boolean> {
  try {
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(`${said.url}/readyz`, { headers })).ok;
  } catch {
    return false;
  }
}

describe.runIf(canRunNats())("up", () => {
  it("runs everything, says where, and leaves nothing running when it is stopped", async () => {
    await using system = await startSystem({ runtime: "node" });
    const { said, token } = system;
    expect(said).toMatchObject({
      host: expect.any(String),
      tokenFile: join(said.data, "admin.token"),
    });
    expect(await readFile(join(said.data, "server.url"), "utf8")).toBe(`${said.url}\n`);
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    const secrets = ["admin.token", "nats/server.conf", "nats/agent.nk", "nats/query.nk"];
    for (const name of secrets) {
      expect((await stat(join(said.data, name))).mode & 0o777, name).toBe(0o600);
    }
    expect((await stat(said.data)).mode & 0o007).toBe(0);
    const sql = "SELECT count(*) > 0 AS found FROM events WHERE topic = 'agent/start'";
    await waitFor(async () => {
      const { code, stdout } = await runProbity(["sql", sql, "--data", said.data]);
      return code === 0 && stdout === '{"found":true}\n';
    }, "the agent's start to be found");
    expect(await system.stop()).toBe(0);
    expect(system.pids().filter(isAlive)).toEqual([]);
    await expect(stat(join(said.data, "server.url"))).rejects.toThrow("ENOENT");
  });

  it("refuses a second one on the same data folder, and the first goes on", async () => {
    await using system = await startSystem({ runtime: "node" });
    const second = await runProbity(["up", "--data", system.said.data, "--port", "0"]);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`another "probity up" uses data folder "${system.said.data}"`);
    expect(second.stdout).toBe("");
    expect(await answers(system)).toBe(true);
  });

  it("starts each process again when it is killed, at the same addresses", async () => {
    await using system = await startSystem({ runtime: "node" });
    for (const name of PROCESS_NAMES) {
      await system.kill(name);
      await waitFor(() => answers(system), `an answer after ${name} was killed`);
    }
    expect(system.lines.filter((line) => line.includes("was killed by SIGKILL"))).toHaveLength(4);
  });

  it("leaves no orphan when it is killed itself, and starts again on what it left", async () => {
    const data = await mkdtemp(join(tmpdir(), "probity-killed-"));
    try {
      const first = await startSystem({ runtime: "node", data });
      const { url, broker } = first.said;
      await first.killAll();
      await using second = await startSystem({ runtime: "node", data });
      expect(second.said.broker).toBe(broker);
      expect(second.said.url).not.toBe(url);
      await waitFor(() => first.pids().filter(isAlive).length === 0, "the orphans to end");
      expect(second.token).toBe(first.token);
      expect(await answers(second)).toBe(true);
    } finally {
      removePins(data);
      await rm(data, { recursive: true, force: true });
    }
  });

  it("uses a broker that it is given, and starts none", async () => {
    await using server = await openNatsServer();
    await using system = await startSystem({ runtime: "node", words: ["--nats", server.url] });
    expect(system.said.broker).toBe(server.url);
    expect(system.lines.some((line) => line.includes('"started broker"'))).toBe(false);
    await waitFor(() => answers(system), "an answer");
  });

  it("ends when a part says that its configuration is wrong, and stops what it had started", async () => {
    const data = await mkdtemp(join(tmpdir(), "probity-refused-"));
    const words = ["up", "--data", data, "--port", "0", "--agent-listen", "127.0.0.1:0"];
    const { code, stderr } = await runProbity([...words, "--server-tls-cert", "chain.pem"]);
    expect(code).toBe(2);
    expect(stderr).toContain("probity: Cannot use TLS: [server] tls_cert and tls_key");
    expect(stderr).toContain("probity: Cannot start serve: ended with code 2");
    const pids = [...stderr.matchAll(/ pid=(\d+)/g)].map(([, pid]) => Number(pid));
    expect(pids.length).toBeGreaterThan(2);
    expect(pids.filter(isAlive)).toEqual([]);
    removePins(data);
    await rm(data, { recursive: true, force: true });
  });

  it("is refused with both --port and --listen", async () => {
    const words = [
      "up",
      "--port",
      "1",
      "--listen",
      "127.0.0.1:2",
      "--data",
      join(tmpdir(), "none"),
    ];
    expect(await runProbity(words)).toMatchObject({ code: 2, stdout: "" });
  });

  it("is refused with a wrong configuration, before it touches anything", async () => {
    const folder = await mkdtemp(join(tmpdir(), "probity-wrong-"));
    const path = join(folder, "wrong.toml");
    await writeFile(path, '[agent]\nflush = "1s"\nhots = "x"\n');
    const data = join(folder, "data");
    const { code, stderr } = await runProbity(["up", "--config", path, "--data", data]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("line 3: [agent] hots is unknown")]);
    await expect(stat(data)).rejects.toThrow("ENOENT");
    await rm(folder, { recursive: true, force: true });
  });

  it("as root lets all but itself and the agent run as user probity, and keeps their files apart", async () => {
    const account = accountUid();
    await using system = await startSystem({ runtime: "node" });
    const own = process.getuid?.() ?? 0;
    const other = own === 0 ? account ?? own : own;
    const owner = async (path: string) => (await stat(path)).uid;
    for (const name of ["up", "agent"] as const) {
      expect(await owner(`/proc/${system.pidOf(name)}`), name).toBe(own);
    }
    for (const name of ["broker", "rollup", "serve"] as const) {
      expect(await owner(`/proc/${system.pidOf(name)}`), name).toBe(other);
    }
    const { data } = system.said;
    for (const name of [".", "nats", "spool", "spool/agent", "nats/agent.nk"]) {
      expect(await owner(join(data, name)), name).toBe(own);
    }
    for (const name of ["bucket", "nats/store", "nats/query.nk", "spool/query", "admin.token"]) {
      expect(await owner(join(data, name)), name).toBe(other);
    }
    const warned = system.lines.some((line) => line.includes("so everything runs as root"));
    expect(warned).toBe(own === 0 && account === undefined);
  });
});

/** The user that ./setup makes, if there is one. */
function accountUid(): number | undefined {
  const { stdout, status } = spawnSync("id", ["-u", "probity"], { encoding: "utf8" });
  return status === 0 ? Number(stdout) : undefined;
}
