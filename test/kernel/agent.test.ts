import { execFile } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findFakeTime, openFakeClock } from "../support/fake-clock.ts";
import { type AgentProcess, startAgent } from "../support/agent-process.ts";
import { type LoggedLine, type LogStream, openLogStream } from "../support/log-stream.ts";
import { type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { hasBpf, openPinFolder, type PinFolder } from "../support/ring-sources.ts";
import { requireCapability } from "../support/require.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const NOBODY = 65534;
/** Another run of this test on the same machine has numbers of its own. */
const NUMBERED = `probity-${process.pid}-`;
const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const RUNTIMES: readonly (readonly [string, readonly [string, ...string[]]])[] = [
  ["node", [process.execPath]],
  ...(requireCapability("deno", existsSync(DENO), "no deno in node_modules")
    ? [["deno", [DENO, "run", "-q", "-P=agent"]] as const]
    : []),
];
const hasFakeTime = requireCapability(
  "faketime",
  findFakeTime() !== undefined,
  "apt-get install libfaketime",
);
const ringBytes = {
  process: 4 << 20,
  control: 1 << 18,
  network: 1 << 20,
  flow: 1 << 20,
  file: 1 << 20,
};

describe.runIf(hasBpf)("an agent", () => {
  let nats: NatsServer;
  let log: LogStream;
  let folder: TemporaryFolder;
  let pins: PinFolder;
  beforeAll(async () => {
    nats = await openNatsServer();
    log = await openLogStream(nats.url);
    folder = await openTemporaryFolder("agent");
    chmodSync(folder.path, 0o755);
    pins = openPinFolder();
  });
  afterAll(async () => {
    await log[Symbol.asyncDispose]();
    await nats[Symbol.asyncDispose]();
    pins[Symbol.dispose]();
    await folder[Symbol.asyncDispose]();
  });

  const settings = (name: string) => ({
    dataDirectory: join(folder.path, name),
    nats: { url: nats.url },
    flushMs: 100,
    pinDirectory: `${pins.path}-${name}`,
    ringBytes,
    listen: { host: "127.0.0.1", port: 0 },
    labels: { env: "test" },
  });
  const start = (name: string, more: object = {}): Promise<AgentProcess> =>
    startAgent({ settings: { ...settings(name), ...more } });
  const linesOf = (agent: string): readonly LoggedLine[] =>
    log.lines.filter(({ header }) => header.agent === agent);

  it.each(RUNTIMES)("in %s tells exec, create, rename and connection in full", async (
    name,
    runtime,
  ) => {
    using _pins = pinsOf(name);
    await using agent = await startAgent({ settings: settings(name), runtime });
    const { status } = agent;
    expect(status.sources.map(({ name, status: { state } }) => [name, state])).toEqual([
      ["process", "on"],
      ["control", "on"],
      ["network", "on"],
      ["flow", "on"],
      ["file", "on"],
      ["filesystem", "on"],
      ["integrity", "on"],
      ["applications", "on"],
    ]);
    await using server = await listen();
    const at = (file: string) => join(folder.path, `${name}-${file}`);
    const script = `: > "$1"; mv "$1" "$2"; exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/'"$3"`;
    await run("bash", ["-c", script, "bash", at("made"), at("moved"), String(server.port)]);
    const ours = ({ header }: LoggedLine) => header.agent === status.agent;
    const find = async (topic: string, column: string, value: unknown) => {
      const found = await log.waitFor(
        (line) => line.topic === topic && line[column] === value,
        { count: 1 },
      );
      return found.filter(ours);
    };
    const [made] = await find("file/create", "path", at("made"));
    expect(made?.line).toMatchObject({
      user: "root",
      uid: 0,
      outcome: "success",
      severity: "info",
    });
    expect(String(made?.line["exe"])).toMatch(/bash$/);
    const [moved] = await find("file/rename", "path", at("moved"));
    expect(moved?.line).toMatchObject({ old_path: at("made"), comm: "mv", uid: 0 });
    const execs = await find("process/exec", "pid", moved?.line["pid"]);
    expect(execs[0]?.line).toMatchObject({
      exe: moved?.line["exe"],
      process_id: moved?.line["process_id"],
      ppid: made?.line["pid"],
      parent_process_id: made?.line["process_id"],
      cmdline: `mv ${at("made")} ${at("moved")}`,
      cwd: process.cwd(),
    });
    const [connect] = await find("network/connect", "dst_port", server.port);
    expect(connect?.line).toMatchObject({
      dst_ip: "127.0.0.1",
      protocol: "tcp",
      pid: made?.line["pid"],
      process_id: made?.line["process_id"],
    });
    for (const { header } of linesOf(status.agent)) expect(header.host).toBe(hostname());
    expect(linesOf(status.agent).filter(({ line }) => line["path"] === at("made"))).toHaveLength(1);

    // Which lane's batch goes first is nobody's promise.
    const told = (topic: string) =>
      linesOf(status.agent).filter(({ line }) => line.topic === topic);
    expect(told("agent/start")).toHaveLength(1);
    expect(told("agent/start")[0]?.line).toMatchObject({
      detail: {
        version: "0.0.0-test",
        config_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        labels: { env: "test" },
        sources: expect.arrayContaining([
          {
            name: "process",
            state: "on",
            how: "tp_btf",
            hooks: expect.arrayContaining([{ name: "exec", state: "on" }]),
          },
        ]),
      },
    });
    await agent.stop();
    await until(() => told("agent/stop").length > 0);
    expect(told("agent/stop")).toHaveLength(1);
    // Nothing was lost, and before the first agent nothing was promised.
    const gaps = linesOf(status.agent).filter(({ line }) => line.topic === "agent/gap");
    expect(gaps.filter(({ line }) => line.detail["class"] !== "unwatched")).toEqual([]);
  });

  it("answers for its health and its figures", async () => {
    using _pins = pinsOf("served");
    await using agent = await start("served");
    const { listen: address } = agent.status;
    const url = `http://127.0.0.1:${address?.port}`;
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: "ready" });
    await run("true", []);
    const figures = async () => await (await fetch(`${url}/metrics`)).text();
    const events =
      /^probity_agent_source_events_total\{source="process",outcome="submitted"\} (\d+)/m;
    await expect.poll(async () => Number(events.exec(await figures())?.[1]), { timeout: 10_000 })
      .toBeGreaterThan(0);
    const text = await figures();
    expect(text).toMatch(/^probity_agent_source_on\{source="process"\} 1$/m);
    expect(text).toMatch(/^probity_producer_spool_bytes \d+$/m);
  });

  it("that was killed loses nothing that its rings hold, and doubles nothing", async () => {
    using _pins = pinsOf("killed");
    const name = "killed";
    // What others do while nobody reads must not fill them.
    const roomy = { process: 32 << 20, network: 32 << 20, flow: 32 << 20, file: 32 << 20 };
    const more = { ringBytes: { ...ringBytes, ...roomy } };
    const numbered = startNumbering();
    const kills = 6;
    let agentName = "";
    for (let round = 0; round < kills; round += 1) {
      const agent = await start(name, more);
      agentName = agent.status.agent;
      numbered.begin();
      await delay(150 + 120 * round);
      await agent.kill();
      await delay(200);
    }
    await using last = await start(name, more);
    await delay(300);
    const count = await numbered.end();
    const isNumbered = (line: LoggedLine["line"]) =>
      line.topic === "process/exec" && String(line["cmdline"]).startsWith(`true ${NUMBERED}`);
    await log.waitFor(isNumbered, { count, timeoutMs: 30_000 });
    await last.stop();
    const told = linesOf(agentName).filter(({ line }) => isNumbered(line));
    const numbers = told.map(({ line }) => Number(String(line["cmdline"]).split("-")[2]));
    expect(count).toBeGreaterThan(50);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: count }, (_each, number) => number),
    );
    // On a busy machine a filesystem that others mount may be noticed late, which is told as well.
    const gaps = linesOf(agentName).filter(({ line }) =>
      line.topic === "agent/gap" && line.detail["class"] !== "unwatched"
    );
    expect(gaps, JSON.stringify(gaps.map(({ line }) => line.detail))).toHaveLength(kills);
    const [gap] = gaps;
    expect(gap?.line).toMatchObject({
      severity: "high",
      detail: { class: "absent", count: null, sources: ["filesystem"] },
    });
    const { from, to } = gap?.line.detail ?? {};
    expect(Date.parse(String(from))).toBeLessThan(Date.parse(String(to)));
  });

  it("without rights runs, says what is off and why, and still tells of itself", async () => {
    const data = join(folder.path, "plain");
    mkdirSync(data);
    chownSync(data, NOBODY, NOBODY);
    await using agent = await startAgent({
      settings: settings("plain"),
      user: { uid: NOBODY, gid: NOBODY },
    });
    for (const { name, status } of agent.status.sources) {
      // What programs send needs no rights.
      if (name === "applications") expect(status.state).toBe("on");
      else {expect(status, name).toMatchObject({
          state: "off",
          reason: expect.stringMatching(/not allowed|CAP_SYS_ADMIN/),
          remedy: expect.stringMatching(/as root/),
        });}
    }
    const { agent: name } = agent.status;
    await log.waitFor((line) => line.topic === "agent/start", { count: 1 });
    await agent.stop();
    await until(() => linesOf(name).length >= 2);
    expect(linesOf(name).map(({ line }) => line.topic)).toEqual(["agent/start", "agent/stop"]);
    expect(linesOf(name)[0]?.line["message"]).toBe(
      "The agent started with applications on and process, control, network, flow, file, filesystem, integrity off.",
    );
  });

  it("refuses a data folder that another agent uses", async () => {
    using _pins = pinsOf("twice");
    await using _agent = await start("twice");
    await expect(start("twice")).rejects.toThrow(/Cannot .*spool/);
  });

  it("spools while the broker is away, and delivers when it is back", async () => {
    using _pins = pinsOf("away");
    await using agent = await start("away");
    await nats.kill();
    const path = join(folder.path, "while-away");
    writeFileSync(path, "");
    await delay(500);
    await nats.start();
    const found = await log.waitFor((line) => line["path"] === path, {
      count: 1,
      timeoutMs: 30_000,
    });
    expect(found.map(({ line }) => line.topic)).toEqual(["file/create"]);
    await agent.stop();
  });

  it.runIf(hasFakeTime)("keeps its place while the time of day jumps", async () => {
    using _pins = pinsOf("jumping");
    using clock = openFakeClock(folder.path);
    const watched = join(folder.path, "watched-by-the-clock");
    writeFileSync(watched, "first\n");
    await using agent = await startAgent({
      settings: { ...settings("jumping"), files: [{ paths: [watched], kind: "content-diff" }] },
      environment: clock.environment,
    });
    const { agent: name } = agent.status;
    const ours = (topic: string) =>
      linesOf(name).filter(({ line }) => line.topic === topic).map(({ line }) => line);
    const jumpsS = [7200, -7200, 0];
    for (const [place, offsetS] of jumpsS.entries()) {
      clock.moveTo(offsetS);
      // The offset from boot time to the time of day is measured at most once a second.
      await delay(2500);
      const beganMs = Date.now() + offsetS * 1000;
      await run("bash", ["-c", `exec -a true true jump-${place}`]);
      writeFileSync(join(folder.path, `made-after-jump-${place}`), "");
      writeFileSync(watched, `jump-${place}\n`);
      const said = (topic: string) => {
        const isAsked = ({ cmdline, path, detail }: LoggedLine["line"]) =>
          cmdline === `true jump-${place}` ||
          path === join(folder.path, `made-after-jump-${place}`) ||
          path === watched && String(detail["diff"]).includes(`+jump-${place}`);
        return ours(topic).filter(isAsked);
      };
      for (const topic of ["process/exec", "file/create", "file/change"]) {
        await until(() => said(topic).length > 0);
        expect(said(topic), topic).toHaveLength(1);
        const lateMs = Date.parse(String(said(topic)[0]?.["time"])) - beganMs;
        expect(lateMs, `${topic} after a jump to ${offsetS} s`).toBeGreaterThan(-1000);
        expect(lateMs, `${topic} after a jump to ${offsetS} s`).toBeLessThan(20_000);
      }
    }
    const gaps = ours("agent/gap").filter(({ detail }) => detail["class"] !== "unwatched");
    expect(gaps.map(({ detail }) => detail)).toEqual([]);
    await agent.stop();
  });

  function pinsOf(name: string): Disposable {
    const path = `${pins.path}-${name}`;
    return { [Symbol.dispose]: () => void rmSync(path, { recursive: true, force: true }) };
  }
});

/** Runs `true probity-<id>-<number>` one after the other, from the first begin to the end. */
function startNumbering() {
  let number = 0;
  let isEnded = false;
  let running: Promise<void> | undefined;
  return {
    begin() {
      running ??= (async () => {
        while (!isEnded) {
          await run("bash", ["-c", `exec -a true true ${NUMBERED}${number}`]);
          number += 1;
        }
      })();
    },
    async end() {
      isEnded = true;
      await running;
      return number;
    },
  };
}

async function listen(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer((socket) => socket.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

async function until(holds: () => boolean): Promise<void> {
  for (let round = 0; round < 500 && !holds(); round += 1) await delay(20);
}
