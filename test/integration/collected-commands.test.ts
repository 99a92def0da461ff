import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { createCollectorSource } from "../../src/edge-agent/sources/collectors/collector-source.ts";
import type { CommandRule } from "../../src/edge-agent/sources/collectors/commands/command-rule.ts";
import {
  createCommandsCollector,
  runAsOf,
} from "../../src/edge-agent/sources/collectors/commands/commands-collector.ts";
import { startCommand } from "../../src/edge-agent/sources/collectors/commands/run-command.ts";
import { DROPPED_BYTES_MAX } from "../../src/edge-agent/sources/collectors/drop/dropped-file.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { requireCapability } from "../support/require.ts";
import { testLog } from "../support/ring-sources.ts";
import { type Line, runSource } from "../support/source-run.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const MINUTE_US = 60_000_000;

/** The system's clock, put to a moment before a full minute. */
function clockBeforeMinute(leftMs: number) {
  const offsetUs = MINUTE_US - systemClock.nowUs() % MINUTE_US - leftMs * 1000;
  return { ...systemClock, nowUs: () => systemClock.nowUs() + offsetUs };
}

function rule(name: string, command: readonly string[], more: Partial<CommandRule> = {}) {
  return {
    ...{ name, command, schedule: "* * * * *", timezone: undefined, user: undefined },
    ...{ timeoutMs: 10_000, topic: `app/${name}`, memoryBytes: 64 << 20, outputBytes: 10_000 },
    ...{ environment: { OWN: "given" }, ...more },
  };
}

const ended = (name: string) => (line: Line): boolean =>
  line.topic === "agent/collector" && line["service"] === name;

it(
  "commands run by their schedules, bounded in time, memory, output and rights, and leave nobody",
  async () => {
    await using folder = await openTemporaryFolder("commands");
    const seconds = 100_000 + Date.now() % 100_000;
    const said = `echo '{"topic":"disk/full","level":"error","message":"full","left":1}'; ` +
      `echo "$OWN $HOME $SECRET"; id -u; grep -h '^\\(CapEff\\|NoNewPrivs\\)' /proc/self/status; exit 3`;
    const rules = [
      rule("said", ["sh", "-c", said]),
      rule("slow", ["sh", "-c", `setsid sleep ${seconds} & sleep ${seconds}`], { timeoutMs: 300 }),
      rule("large", ["yes"]),
      rule("hungry", ["perl", "-e", '$x = "a" x 200000000; print "too much\\n"']),
      rule("missing", ["/nonexistent"]),
      rule("rooted", ["id"], { user: "root" }),
    ];
    process.env["SECRET"] = "of the agent";
    const open = (clock = clockBeforeMinute(300)) =>
      createCollectorSource({
        collector: createCommandsCollector({ rules }),
        ...{ dataDirectory: folder.path, position: undefined, clock, log: testLog },
      });
    {
      await using source = open();
      expect(await source.probe()).toMatchObject({ state: "on", how: "6 commands" });
      await using running = runSource(source);
      const ends = await Promise.all(rules.map(async ({ name }) => {
        const [line] = await running.waitFor(ended(name), { count: 1, timeoutMs: 20_000 });
        return [name, line?.detail["state"], line?.detail["exit_code"]];
      }));
      expect(ends).toEqual([
        ["said", "exited", 3],
        ["slow", "timeout", undefined],
        ["large", "output", undefined],
        ["hungry", "exited", expect.any(Number)],
        ["missing", "exited", 127],
        ["rooted", "failed", undefined],
      ]);
      const lines = running.lines.filter((line) => line["service"] === "said");
      expect(lines[0]).toMatchObject({
        topic: "app/said/disk/full",
        severity: "medium",
        message: "full",
        detail: { left: 1 },
      });
      const texts = lines.map(({ message }) => message);
      expect(texts[1]).toBe("given /nonexistent ");
      expect(texts[2]).not.toBe("0");
      expect(texts.slice(3, 5)).toEqual(["CapEff:\t0000000000000000", "NoNewPrivs:\t1"]);
      const large = running.lines.filter(({ topic }) => topic === "app/large");
      expect(large).toHaveLength(5_000);
      expect(running.lines.some(({ message }) => message === "too much")).toBe(false);
      expect(source.losses()).toMatchObject([{ class: "output" }]);
      const { stdout } = await run("ps", ["-eo", "args"]);
      expect(stdout).not.toContain(`sleep ${seconds}`);
    }
    // Five minutes later, with nobody there in between.
    const clock = clockBeforeMinute(20_000);
    await using source = open({ ...clock, nowUs: () => clock.nowUs() + 5 * MINUTE_US });
    await using running = runSource(source);
    const [missed] = await running.waitFor(ended("said"), { count: 1 });
    expect(missed).toMatchObject({
      outcome: "failure",
      detail: { state: "missed", missed: expect.any(Number) },
    });
    expect(Number(missed?.detail["missed"])).toBeGreaterThanOrEqual(4);
  },
  60_000,
);

it("words that no program can be given are a failed run, and no end of all others", async () => {
  for (const word of ["a\0b", "x".repeat(4 * 1024 * 1024)]) {
    const given = startCommand(rule("words", ["echo", word]), "same", neverAborted);
    expect(await sizeOf(given.output)).toBe(0);
    expect(await given.end()).toEqual({ state: "failed", reason: expect.stringMatching(/\S/) });
  }
});

it("what a command said is read whole, however late, and what holds on to its output is not waited for", async () => {
  const outputBytes = 200_000;
  const start = (script: string) =>
    startCommand(rule("late", ["sh", "-c", script], { outputBytes }), "same", neverAborted);
  const late = start("echo first; head -c 100000 /dev/zero; echo");
  let isFirst = true;
  const waited = sizeOf(late.output, async () => {
    if (!isFirst) return;
    isFirst = false;
    expect(await late.end()).toEqual({ state: "exited", code: 0 });
    // As long as an agent waits whose spool has no room.
    await systemClock.sleep(800);
  });
  expect(await waited).toBe(100_007);
  // Whoever has taken the mark away goes on; its output counts no more.
  const escaped = start(
    "env -u PROBITY_RUN setsid sh -c 'sleep 2; echo late' & sleep 0.3; echo soon",
  );
  expect(await sizeOf(escaped.output)).toBe("soon\n".length);
  expect(await escaped.end()).toEqual({ state: "exited", code: 0 });
});

const neverAborted = new AbortController().signal;

async function sizeOf(
  pieces: AsyncIterable<Uint8Array>,
  onPiece: () => Promise<void> = () => Promise.resolve(),
): Promise<number> {
  let sizeBytes = 0;
  for await (const piece of pieces) {
    sizeBytes += piece.length;
    await onPiece();
  }
  return sizeBytes;
}

const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const hasDeno = requireCapability("deno", existsSync(DENO), "no deno in node_modules");

it.runIf(hasDeno)(
  "under Deno, with the agent's permissions, a command leaves nobody either",
  async () => {
    await using folder = await openTemporaryFolder("commands-deno");
    const seconds = 100_000 + Date.now() % 100_000;
    const program = fileURLToPath(new URL("../support/command-process.ts", import.meta.url));
    const script = `setsid sleep ${seconds} & sleep 0.2; echo said`;
    const words = ["run", "-q", "-P=agent", program, folder.path, script];
    const { stdout } = await run(DENO, words, { timeout: 30_000 });
    const lines = stdout.trim().split("\n").map((line) => JSON.parse(line));
    expect(lines.map(({ topic, message }) => [topic, message])).toEqual([
      ["app/said", "said"],
      ["agent/collector", "Collector said ran."],
    ]);
    expect((await run("ps", ["-eo", "args"])).stdout).not.toContain(`sleep ${seconds}`);
  },
);

it("commands become nobody whom the agent cannot become, and never root", () => {
  const passwd = "root:x:0:0::/:/bin/sh\nprobity:x:9:8::/:/x\nweb:x:7:6::/:/x\ntoor:x:0:0::/:/x\n";
  const as = (user: string | undefined, uid: number) => runAsOf({ user }, { uid, passwd });
  expect(as(undefined, 9)).toBe("same");
  expect(as("probity", 9)).toBe("same");
  expect(as("web", 9)).toHaveProperty("reason");
  expect(as(undefined, 0)).toEqual({ uid: 9, gid: 8 });
  expect(as("web", 0)).toEqual({ uid: 7, gid: 6 });
  for (const user of ["root", "toor", "absent"]) expect(as(user, 0)).toHaveProperty("reason");
  expect(runAsOf({ user: undefined }, { uid: 0, passwd: "" })).toHaveProperty("reason");
});

it(
  "dropped files are told once, whatever step the agent is killed at; hostile ones are refused",
  async () => {
    await using folder = await openTemporaryFolder("dropped");
    const [data, drop, spool] = ["data", "drop", "spool"].map((name) => join(folder.path, name));
    if (data === undefined || drop === undefined || spool === undefined) {
      throw new Error(
        "no names",
      );
    }
    mkdirSync(data);
    const start = (dieAt: number) => {
      const program = fileURLToPath(new URL("../support/drop-process.ts", import.meta.url));
      return spawn(process.execPath, [program, data, drop, spool, String(dieAt)], {
        stdio: ["ignore", "ignore", "inherit"],
      });
    };
    for (const each of ["", "tmp", "new"]) mkdirSync(join(drop, each));
    const expected: string[] = [];
    const put = (name: string): void => {
      const lines = [`${name} one`, `{"message":"${name} two","uid":1,"topic":"agent/gap"}`];
      writeFileSync(join(drop, "tmp", name), lines.join("\n"));
      renameSync(join(drop, "tmp", name), join(drop, "new", name));
      expected.push(`${name} one`, `${name} two`);
    };
    for (let dieAt = 1; dieAt <= 9; dieAt += 1) {
      put(`a${dieAt}`);
      const [, signal] = await once(start(dieAt), "exit");
      expect(signal).toBe("SIGKILL");
    }
    const at = (name: string): string => join(drop, "new", name);
    symlinkSync("/etc/passwd", at("link"));
    await run("mkfifo", [at("fifo")]);
    await run("mknod", [at("device"), "c", "1", "5"]);
    mkdirSync(at("folder"));
    writeFileSync(join(folder.path, "other"), "not mine\n");
    linkSync(join(folder.path, "other"), at("hard"));
    writeFileSync(at("huge"), "");
    truncateSync(at("huge"), DROPPED_BYTES_MAX + 1);
    writeFileSync(at("\n'\\ name"), "odd one\n");
    expected.push("odd one");
    const last = start(0);
    const left = () => readdirSync(join(drop, "new"));
    const untilMs = performance.now() + 20_000;
    while (left().length > 0 && performance.now() < untilMs) await systemClock.sleep(20);
    last.kill("SIGTERM");
    await once(last, "exit");
    expect(left()).toEqual([]);
    const lines: Line[] = readFileSync(spool, "utf8").trim().split("\n")
      .flatMap((chunk) => JSON.parse(chunk).fields)
      .map((fields) => JSON.parse(`{${fields}`));
    const told = lines.filter(({ topic }) => topic.startsWith("app/drop"));
    expect(told.map(({ message }) => message).toSorted()).toEqual(expected.toSorted());
    expect(new Set(told.map(({ uid }) => uid))).toEqual(new Set([process.getuid?.()]));
    expect(told.find(({ message }) => message === "a1 two")).toMatchObject({
      topic: "app/drop/agent/gap",
      detail: { uid: 1 },
    });
    const refused = lines.filter(({ topic }) => topic === "agent/collector");
    expect(refused.map(({ detail }) => [detail["file"], detail["reason"]]).toSorted()).toEqual([
      ["device", "it is no file"],
      ["fifo", "it is no file"],
      ["folder", "it is no file"],
      ["hard", "it has several names"],
      ["huge", `it has more than ${DROPPED_BYTES_MAX} bytes`],
      ["link", "it is a link"],
    ]);
    expect(readdirSync(join(drop, "refused"))).toHaveLength(6);
  },
  60_000,
);
