import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const NOBODY = 65534;

describe.runIf(hasBpf).each(PROGRAM_VARIANTS)("control over processes as %s", (variant) => {
  let run: SourceRun;
  /** Stands for the agent: one that another user may signal. */
  let ours: ChildProcess;
  const pins = openPinFolder();
  beforeAll(async () => {
    ours = spawn("sleep", ["1000"], { uid: NOBODY, gid: NOBODY, stdio: "ignore" });
    const source = openTestSource({
      family: "control",
      pins,
      variants: [variant],
      ownership: { pids: [ours.pid ?? 0], dataFolder: "/tmp" },
    });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run.stop();
    ours.kill("SIGKILL");
    pins[Symbol.dispose]();
  });

  const changesOf = async (pid: number | undefined, how: string): Promise<Line> => {
    const [line] = await run.waitFor(
      (each) =>
        each.topic === "process/setuid" && each["pid"] === pid && each.detail["how"] === how,
      { count: 1 },
    );
    if (line === undefined) throw new Error("no change");
    return line;
  };

  it("tells user, groups and capabilities before and after a call", async () => {
    const child = spawn("setpriv", [
      "--reuid=65534",
      "--regid=12",
      "--groups=7,8",
      "--inh-caps=-all",
      "true",
    ], { stdio: "ignore" });
    await once(child, "exit");
    expect(await changesOf(child.pid, "setgroups")).toMatchObject({
      outcome: "success",
      detail: { after: { groups: [7, 8] } },
    });
    expect(await changesOf(child.pid, "setresgid")).toMatchObject({
      detail: { before: { gid: 0, egid: 0, sgid: 0, fsgid: 0 }, after: { gid: 12, fsgid: 12 } },
    });
    expect(await changesOf(child.pid, "setresuid")).toMatchObject({
      uid: NOBODY,
      message: expect.stringMatching(/ went from root to nobody by setresuid$/),
      detail: {
        before: { uid: 0, euid: 0, suid: 0, fsuid: 0 },
        after: { uid: NOBODY, euid: NOBODY, suid: NOBODY },
      },
    });
    const { pid } = spawnSync("true", { uid: NOBODY });
    const { detail } = await changesOf(pid, "setuid");
    expect(detail).toMatchObject({ after: { uid: NOBODY, caps_effective: "0".repeat(16) } });
    expect(detail).not.toHaveProperty("caps_gained");
  });

  it("tells a call that was refused", async () => {
    const child = spawn("setpriv", ["--reuid=0", "--clear-groups", "true"], {
      uid: NOBODY,
      gid: NOBODY,
      stdio: "ignore",
    });
    await once(child, "exit");
    const [line] = await run.waitFor(
      (each) => each["pid"] === child.pid && each["outcome"] === "failure",
      { count: 1 },
    );
    expect(line).toMatchObject({ topic: "process/setuid", errno: 1, uid: NOBODY });
    expect(line?.detail).not.toHaveProperty("after");
  });

  it("tells other namespaces, by the call that gave them", async () => {
    const child = spawn("unshare", ["-n", "readlink", "/proc/self/ns/net"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const shown = String((await once(child.stdout, "data"))[0]);
    const line = await changesOf(child.pid, "unshare");
    const after = line.detail["after"] as { namespaces: Record<string, number> };
    expect(after.namespaces).toEqual({ net: Number(/[0-9]+/.exec(shown)?.[0]) });
    const script = `unshare -n sleep 1000 & target=$!; sleep 0.2; nsenter -n -t $target true; ` +
      "kill $target";
    const joiner = spawn("/bin/sh", ["-c", script], { stdio: "ignore" });
    await run.waitFor(
      (each) => each["ppid"] === joiner.pid && each.detail["how"] === "setns",
      { count: 1 },
    );
  });

  it("says nothing of calls that change nothing", async () => {
    const child = spawn("setpriv", ["--reuid=0", "true"], { stdio: "ignore" });
    await once(child, "exit");
    const { pid: later } = spawnSync("true", { uid: NOBODY });
    await run.waitFor((each) => each["pid"] === later, { count: 1 });
    expect(run.lines.filter((each) => each["pid"] === child.pid)).toEqual([]);
  });

  it("tells who attached to whom, also when it was refused", async () => {
    const sleeper = spawn("sleep", ["1000"], { stdio: "ignore" });
    const tracer = spawn("strace", ["-o", "/dev/null", "-p", String(sleeper.pid)], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const [line] = await run.waitFor(
      (each) => each["pid"] === tracer.pid && each.detail["target_pid"] === sleeper.pid,
      { count: 1 },
    );
    sleeper.kill("SIGKILL");
    await once(tracer, "exit");
    expect(line).toMatchObject({
      topic: "process/ptrace",
      outcome: "success",
      severity: "info",
      detail: { how: "seize" },
    });
    expect(line?.detail["target_process_id"]).toMatch(new RegExp(`-${sleeper.pid}-[0-9]+$`));
    const refused = spawn("strace", ["-o", "/dev/null", "-p", String(process.pid)], {
      uid: NOBODY,
      stdio: "ignore",
    });
    await once(refused, "exit");
    const [failure] = await run.waitFor(
      (each) => each["uid"] === NOBODY && each.detail["target_pid"] === process.pid,
      { count: 1 },
    );
    expect(failure).toMatchObject({ topic: "process/ptrace", outcome: "failure", errno: 1 });
  });

  it("tells a write into the memory of another once in a while, and again when it ends otherwise", async () => {
    const script = writeScript(`
      my $child = fork();
      if ($child == 0) { sleep 1000; exit; }
      put($child, 8) for 1 .. 3;
      put($child, $here) for 1 .. 3;
      kill "KILL", $child;`);
    const writer = spawn("perl", ["-e", script], { stdio: "ignore" });
    await once(writer, "exit");
    const { pid: later } = spawnSync("true", { uid: NOBODY });
    await run.waitFor((each) => each["pid"] === later, { count: 1 });
    const lines = run.lines.filter((each) => each["pid"] === writer.pid);
    expect(lines).toMatchObject([
      { topic: "process/ptrace", outcome: "failure", errno: 14, severity: "info" },
      { topic: "process/ptrace", outcome: "success", severity: "info" },
    ]);
  });

  it("takes a write into one of ours, and a refused attach to it, for serious", async () => {
    const maps = readFileSync(`/proc/${ours.pid}/maps`, "utf8");
    const [stack] = /^[0-9a-f]+(?=.*\[stack\])/m.exec(maps) ?? [];
    const script = writeScript(`put(${ours.pid}, 8); put(${ours.pid}, hex("${stack}"));`);
    const writer = spawn("perl", ["-e", script], { stdio: "ignore" });
    await once(writer, "exit");
    expect(await run.waitFor((each) => each["pid"] === writer.pid, { count: 2 })).toMatchObject([
      { topic: "process/ptrace", outcome: "failure", errno: 14, severity: "high" },
      { topic: "process/ptrace", outcome: "success", severity: "high" },
    ]);
    const refused = spawn("strace", ["-o", "/dev/null", "-p", String(ours.pid)], {
      uid: NOBODY - 1,
      stdio: "ignore",
    });
    await once(refused, "exit");
    const [failure] = await run.waitFor(
      (each) => each["uid"] === NOBODY - 1 && each.detail["target_pid"] === ours.pid,
      { count: 1 },
    );
    expect(failure).toMatchObject({ outcome: "failure", errno: 1, severity: "high" });
  });

  it("tells who attached to one of ours, and who killed it", async () => {
    const tracer = spawn("strace", ["-o", "/dev/null", "-p", String(ours.pid)], {
      stdio: "ignore",
    });
    const [line] = await run.waitFor(
      (each) => each["pid"] === tracer.pid && each.detail["target_pid"] === ours.pid,
      { count: 1 },
    );
    expect(line).toMatchObject({ topic: "process/ptrace", severity: "high" });
    tracer.kill("SIGKILL");
    await once(tracer, "exit");
    // The first process is nobody's child, and not ours where there is no supervisor.
    process.kill(1, "SIGCONT");
    const killer = spawn("/bin/sh", ["-c", `kill -TERM ${ours.pid}`], { uid: NOBODY });
    const ended = once(ours, "exit");
    const [signal] = await run.waitFor(
      (each) => each.topic === "process/signal" && each["pid"] === killer.pid,
      { count: 1 },
    );
    await ended;
    expect(signal).toMatchObject({
      uid: NOBODY,
      outcome: "success",
      severity: "info",
      detail: { signal: 15, result: "delivered", target_pid: ours.pid },
    });
    // Nothing of other processes' signals.
    const targets = run.lines.filter((each) => each.topic === "process/signal")
      .map((each) => each.detail["target_pid"]);
    expect(new Set(targets)).toEqual(new Set([ours.pid]));
  });
});

/** Perl with `put(PID, ADDRESS)`, which writes eight bytes into a process, and $here, where it may in a fork of itself. */
function writeScript(body: string): string {
  const call = process.arch === "arm64" ? 271 : 311;
  return `
    my $bytes = "x" x 8;
    our $here = unpack("J", pack("P", $bytes));
    my $from = pack("JJ", $here, 8);
    sub put { my ($pid, $at) = @_; my $to = pack("JJ", $at, 8); syscall(${call}, $pid, $from, 1, $to, 1, 0); }
    ${body}`;
}

if (hasBpf) {
  const pins = openPinFolder();
  afterAll(() => pins[Symbol.dispose]());
  let pid = 0;
  describeSource("control", {
    create: () => openTestSource({ family: "control", pins }),
    trigger: () => pid = spawnSync("true", { uid: NOBODY }).pid,
    isTriggered: (line) => line["pid"] === pid,
    hasRing: true,
  });
}
