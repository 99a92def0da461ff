/**
 * The ledger of an agent as a user runs it, with a configuration file: limits that sample, filters that are counted, and
 * SIGHUP that changes both while execs go on. One agent for all of it.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAIN_FILE } from "../support/command-line.ts";
import { type LogStream, openLogStream } from "../support/log-stream.ts";
import { type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { removePins } from "../support/probity-system.ts";
import { hasBpf } from "../support/ring-sources.ts";
import type { Line } from "../support/source-run.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const FLOOD = 900;
const OTHERS = 25;
const SAMPLE = 20;
/** On a machine that does other things, too. */
const PATIENCE_MS = 60_000;

interface Outcomes {
  readonly [outcome: string]: number;
}

const outcomesOf = (figures: Outcomes): number =>
  ["submitted", "ring_full", "filtered", "throttled", "read_fault", "recursion"]
    .reduce((sum, name) => sum + (figures[name] ?? 0), 0);

describe.runIf(hasBpf)("the ledger of an agent", () => {
  let nats: NatsServer;
  let log: LogStream;
  let folder: TemporaryFolder;
  let agent: ChildProcess;
  let errors = "";
  const at = (name: string): string => join(folder.path, name);
  const told = (want: (line: Line) => boolean): readonly Line[] =>
    log.lines.map(({ line }) => line).filter(want);
  const execsOf = (name: string) => (line: Line): boolean =>
    line.topic === "process/exec" && line["exe"] === at(name);
  const isGap = (kind: string) => (line: Line): boolean =>
    line.topic === "agent/gap" && line.detail["class"] === kind;
  const configs = (): readonly Line[] => told(({ topic }) => topic === "agent/config");

  /** What the file says of filters, beside the limits. */
  const configure = (filters: string, execsPerSecond: number): void =>
    writeFileSync(
      at("probity.toml"),
      `[agent]\nflush = "50ms"\nlisten = "127.0.0.1:0"\n` +
        (execsPerSecond > 50 ? `environment = ["PROBITY_TRIAL"]\n` : "") +
        `[limits]\nper_second = {"process/exec" = ${execsPerSecond}}\nburst = "200ms"\nsample = ${SAMPLE}\n` +
        // All that runs here may be in one cgroup.
        `cgroup_factor = 100000\n${filters}`,
    );
  const hangUp = async (count: number): Promise<void> => {
    agent.kill("SIGHUP");
    await log.waitFor(({ topic }) => topic === "agent/config", { count, timeoutMs: PATIENCE_MS });
  };

  beforeAll(async () => {
    nats = await openNatsServer();
    log = await openLogStream(nats.url);
    folder = await openTemporaryFolder("ledger");
    for (const name of ["flooder", "other", "hidden"]) copyFileSync("/bin/true", at(name));
    mkdirSync(at("quiet"));
    configure(
      `[[filters]]\ntopics = ["process/exec"]\nexe = "${at("hidden")}"\nreason = "trial"\n` +
        `[[filters]]\ntopics = ["file"]\npath = "${at("quiet")}"\n`,
      50,
    );
    const words = ["agent", "--nats", nats.url, "--data", at("data")];
    agent = spawn(process.execPath, [MAIN_FILE, ...words, "--config", at("probity.toml")], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    agent.stderr?.setEncoding("utf8").on("data", (text: string) => errors += text);
    if (agent.stdout === null) throw new Error("The agent has no output");
    const lines = createInterface({ input: agent.stdout });
    const ended = once(agent, "exit").then(() => "ended" as const);
    const first = await Promise.race([once(lines, "line"), ended]);
    if (first === "ended") throw new Error(`The agent ended: ${errors}`);
  });
  afterAll(async () => {
    if (agent.exitCode === null) {
      agent.kill("SIGKILL");
      await once(agent, "exit");
    }
    removePins(at("data"));
    await log[Symbol.asyncDispose]();
    await nats[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it("says at the start what is limited and filtered, and how grave that is", async () => {
    const [start] = await log.waitFor(({ topic }) => topic === "agent/start", { count: 1 });
    expect(start?.line["severity"]).toBe("high");
    expect(start?.line.detail).toMatchObject({
      limits: { per_second: { "process/exec": 50, "process/fork": 10_000 }, sample: SAMPLE },
      filters: [
        { topics: ["process/exec"], exe: at("hidden"), reason: "trial" },
        { topics: ["file"], path: at("quiet") },
      ],
    });
  });

  it("tells samples of a flood, counts the rest, and loses nothing of others", async () => {
    const flood = run("bash", [
      "-c",
      `for ((n = 0; n < ${FLOOD}; n++)); do ${at("flooder")}; done`,
    ]);
    for (let number = 0; number < OTHERS; number += 1) {
      await run(at("other"), [String(number)]);
      await delay(30);
    }
    await flood;
    // Others on this machine may go beyond their limits, too.
    const isOfFlooder = (kind: string) => (line: Line): boolean =>
      isGap(kind)(line) && line["exe"] === at("flooder");
    const [begin] = await log.waitFor(isOfFlooder("throttle_begin"), { count: 1 });
    expect(begin?.line).toMatchObject({
      exe: at("flooder"),
      severity: "high",
      detail: { count: 0, kind: "exec", scope: "executable", sources: ["process"] },
    });
    const others = await log.waitFor(execsOf("other"), { count: OTHERS, timeoutMs: PATIENCE_MS });
    expect(others.map(({ line }) => (line.detail["argv"] as string[])[1])).toEqual(
      Array.from({ length: OTHERS }, (_each, number) => String(number)),
    );
    const [end] = await log.waitFor(isOfFlooder("throttle_end"), {
      count: 1,
      timeoutMs: PATIENCE_MS,
    });
    const flooded = told(execsOf("flooder"));
    const samples = flooded.filter(({ detail }) => detail["sample"] !== undefined);
    expect(samples.length).toBeGreaterThan(FLOOD / SAMPLE / 4);
    for (const { detail } of samples) expect(detail["sample"]).toBe(SAMPLE);
    const { beyond, samples: sampled } = end?.line.detail ?? {};
    expect(sampled).toBe(samples.length);
    const withheld = Number(beyond) - samples.length;
    expect(flooded.length + withheld).toBe(FLOOD);
    const gaps = told(isGap("throttled"));
    const counted = gaps.reduce((sum, { detail }) => sum + Number(detail["count"]), 0);
    expect(counted).toBeGreaterThanOrEqual(withheld);
    for (const { detail } of gaps) {
      const cpus = detail["cpus"] as { cpu: number; count: number }[];
      expect(cpus.reduce((sum, { count }) => sum + count, 0)).toBe(detail["count"]);
      expect(detail["classes"]).toEqual({ exec: detail["count"] });
      const [from, to] = [Date.parse(String(detail["from"])), Date.parse(String(detail["to"]))];
      expect(to - from).toBeLessThan(20_000);
      expect(to).toBeGreaterThanOrEqual(from);
    }
  });

  it("filters in the kernel and outside it, and keeps the rest", async () => {
    for (let number = 0; number < 20; number += 1) {
      writeFileSync(at(`quiet/${number}`), "");
      writeFileSync(at(`loud-${number}`), "");
    }
    const hidden = spawn(at("hidden"), { stdio: "ignore" });
    await once(hidden, "exit");
    await run(at("other"), ["after"]);
    const isLoud = (line: Line): boolean => String(line["path"]).startsWith(at("loud-"));
    await log.waitFor(isLoud, { count: 20 });
    await log.waitFor(execsOf("other"), { count: OTHERS + 1 });
    await delay(500);
    expect(told((line) => String(line["path"]).startsWith(at("quiet")))).toEqual([]);
    expect(told(execsOf("hidden"))).toEqual([]);
    // Its end is told, but not as one of the executable that it was forked from.
    const [end] = await log.waitFor(
      ({ topic, pid }) => topic === "process/exit" && pid === hidden.pid,
      { count: 1 },
    );
    expect(end?.line).toMatchObject({ comm: "hidden" });
    expect(end?.line).not.toHaveProperty("exe");
  });

  it("takes a new configuration on SIGHUP and loses no exec meanwhile", async () => {
    let [number, isOver] = [0, false];
    const storm = (async () => {
      for (; !isOver; number += 1) {
        await run("/bin/true", [`storm-${number}`]);
        await delay(5);
      }
    })();
    const rounds = 4;
    try {
      for (let round = 1; round <= rounds; round += 1) {
        configure(`[[filters]]\ntopics = ["file"]\nuid = ${1000 + round}\n`, 100_000);
        await hangUp(round);
      }
      writeFileSync(at("probity.toml"), "[limits]\nper_second = {nonsense = 1}\n");
      await hangUp(rounds + 1);
    } finally {
      isOver = true;
      await storm;
    }
    const isStorm = (line: Line): boolean =>
      line.topic === "process/exec" && / storm-\d+$/.test(String(line["cmdline"]));
    const found = await log.waitFor(isStorm, { count: number, timeoutMs: PATIENCE_MS });
    expect(found.map(({ line }) => String(line["cmdline"]).split("storm-")[1])).toEqual(
      Array.from({ length: number }, (_each, place) => String(place)),
    );
    const changes = configs();
    expect(changes).toHaveLength(rounds + 1);
    for (const [place, { detail, outcome }] of changes.entries()) {
      if (place < rounds) expect(outcome).toBe("success");
      if (place > 0) {
        expect(detail["config_sha256_before"]).toBe(changes[place - 1]?.detail["config_sha256"]);
      }
    }
    expect(changes[0]).toMatchObject({
      severity: "info",
      detail: {
        changed: ["agent.environment", "limits.per_second", "filters"],
        filters: [{ topics: ["file"], uid: 1001 }],
      },
    });
    expect(changes.at(-1)).toMatchObject({
      outcome: "failure",
      severity: "medium",
      detail: {
        changed: [],
        reason: expect.stringMatching(/line 2: \[limits\] per_second.nonsense cannot be 1/),
      },
    });
    await run(at("hidden"), [], { env: { PROBITY_TRIAL: "yes", PATH: "/bin" } });
    const [seen] = await log.waitFor(execsOf("hidden"), { count: 1, timeoutMs: PATIENCE_MS });
    expect(seen?.line.detail["env"]).toEqual({ PROBITY_TRIAL: "yes" });
  });

  it("closes its sums by class and CPU", async () => {
    agent.kill("SIGTERM");
    await once(agent, "exit");
    const [stop] = await log.waitFor(({ topic }) => topic === "agent/stop", { count: 1 });
    const counters = stop?.line.detail["counters"] as {
      sources: Record<string, Outcomes & { classes?: Record<string, Outcomes>; cpus: Outcomes[] }>;
    };
    const { process: processes, file } = counters.sources;
    for (const source of [processes, file]) {
      expect(source?.["attempted"]).toBe(outcomesOf(source ?? {}));
      const classes = Object.values(source?.classes ?? {});
      for (const figures of classes) expect(figures["attempted"]).toBe(outcomesOf(figures));
      const sum = (each: readonly Outcomes[], name: string): number =>
        each.reduce((total, figures) => total + (figures[name] ?? 0), 0);
      expect(sum(source?.cpus ?? [], "attempted")).toBe(sum(classes, "attempted"));
    }
    const withheld = told(isGap("throttled"))
      .reduce((sum, { detail }) => sum + Number(detail["count"]), 0);
    expect(processes?.["throttled"]).toBe(withheld);
    expect(processes?.classes?.["exec"]?.["filtered"]).toBeGreaterThanOrEqual(1);
    expect(file?.classes?.["file_open"]?.["filtered"]).toBeGreaterThanOrEqual(20);
    expect(told(isGap("ledger"))).toEqual([]);
  });
});
