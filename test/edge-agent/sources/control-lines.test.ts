import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { constants } from "node:os";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VM_WRITEV } from "../../../src/edge-agent/record-layout.ts";
import { createControlDecoder } from "../../../src/edge-agent/sources/control/control-lines.ts";
import { isPresent } from "../../support/capabilities.ts";
import { BOOT, createTestContext } from "../../support/decoders.ts";
import { credentialsRecord, locate, ptraceRecord, signalRecord } from "../../support/records.ts";
import { type Line, parseLine } from "../../support/source-run.ts";

const SETUID = process.arch === "arm64" ? 146 : 105;
const SEIZE = 0x4206;
const actor = { pid: 20, startNs: 30_000_000n, comm: "actor" };
const target = { pid: 11, startNs: 10_000_000n };

/** The line of one record, when process 11 is known as `/bin/eleven`. */
function lineOf(record: Uint8Array): Line | undefined {
  const context = createTestContext();
  const { processes } = context;
  processes.noteExec(processes.introduce(11, 10_000_000, 0), {
    sinceNs: 0,
    exe: "/bin/eleven",
    isEscaped: false,
  });
  const text = createControlDecoder(context).line(locate(record));
  return text === undefined ? undefined : parseLine(text);
}

describe("the line of a call that changes credentials", () => {
  it("names the call", () => {
    const record = credentialsRecord({
      ...actor,
      kind: "callCredentials",
      call: SETUID,
      before: { uid: 0 },
      after: { uid: 1000 },
    });
    expect(lineOf(record)?.detail).toEqual({
      how: "setuid",
      before: { uid: 0 },
      after: { uid: 1000 },
    });
    const unknown = credentialsRecord({ ...actor, kind: "callCredentials", call: 9999, error: 22 });
    expect(lineOf(unknown)).toMatchObject({ outcome: "failure", detail: { how: "call 9999" } });
  });
});

describe("the line of a process that takes hold of another", () => {
  it("names both", () => {
    expect(lineOf(ptraceRecord({ ...actor, request: SEIZE, target }))).toMatchObject({
      topic: "process/ptrace",
      outcome: "success",
      severity: "info",
      pid: 20,
      message: "actor (process 20) attached to /bin/eleven",
      detail: {
        how: "seize",
        target_pid: 11,
        target_process_id: `${BOOT}-11-1`,
        target_exe: "/bin/eleven",
      },
    });
  });

  it("is of high severity when it is one of ours", () => {
    expect(lineOf(ptraceRecord({ ...actor, request: 16, target, isOwn: true })))
      .toMatchObject({ severity: "high", detail: { how: "attach" } });
  });

  it("is of high severity when the number that was asked for is that of one of our threads", () => {
    const threads = readdirSync("/proc/self/task").map(Number);
    expect(threads.length).toBeGreaterThan(1);
    for (const askedPid of threads) {
      const failed = { ...actor, request: 16, error: 1, askedPid };
      expect(lineOf(ptraceRecord(failed))).toMatchObject({ severity: "high" });
      expect(lineOf(ptraceRecord({ ...failed, isInitial: false }))).toMatchObject({
        severity: "info",
      });
    }
  });

  it.runIf(isPresent("deno"))(
    "knows our own threads in Deno too, which lets nobody list them",
    () => {
      const moduleAt = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
      const input = `
      import { createControlDecoder } from ${
        moduleAt("../../../src/edge-agent/sources/control/control-lines.ts")
      };
      import { createTestContext } from ${moduleAt("../../support/decoders.ts")};
      import { locate, ptraceRecord } from ${moduleAt("../../support/records.ts")};
      const decoder = createControlDecoder(createTestContext());
      for (const askedPid of [process.pid, 2 ** 22 + 1]) {
        const record = ptraceRecord({ pid: 20, startNs: 1n, comm: "a", request: 16, error: 1, askedPid });
        console.log(JSON.parse("{" + decoder.line(locate(record))).severity);
      }`;
      const words = ["run", "--quiet", "-P=agent", "--ext=ts", "-"];
      const said = execFileSync("deno", words, {
        input: `import process from "node:process";${input}`,
      });
      expect(said.toString()).toBe("high\ninfo\n");
    },
  );

  it("is of no severity when one of ours is refused to trace itself, as its canary is every minute", () => {
    const itself = { ...actor, request: SEIZE, error: 1, isOwn: true };
    const severityOf = (record: Uint8Array) => lineOf(record)?.["severity"];
    expect(severityOf(ptraceRecord({ ...itself, target: actor }))).toBe("info");
    expect(severityOf(ptraceRecord({ ...itself, askedPid: actor.pid }))).toBe("info");
    expect(severityOf(ptraceRecord({ ...itself, target }))).toBe("high");
    expect(severityOf(ptraceRecord({ ...itself, error: 0, target: actor }))).toBe("high");
    expect(severityOf(ptraceRecord({ ...itself, askedPid: actor.pid, isInitial: false }))).toBe(
      "high",
    );
  });

  it("goes by the number that was asked for when the call failed", () => {
    expect(lineOf(ptraceRecord({ ...actor, request: 16, error: 1, askedPid: 11 }))).toMatchObject({
      outcome: "failure",
      errno: 1,
      message: "actor (process 20) could not attach /bin/eleven: EPERM",
      detail: { target_pid: 11, target_process_id: `${BOOT}-11-1` },
    });
    expect(lineOf(ptraceRecord({ ...actor, request: 16, error: 3, askedPid: 12 }))?.detail)
      .toEqual({ how: "attach", target_pid: 12 });
  });

  it("does not take a number inside another namespace for one of the host", () => {
    const record = ptraceRecord({
      ...actor,
      request: VM_WRITEV,
      askedPid: 11,
      isInitial: false,
    });
    expect(lineOf(record)?.detail).toEqual({ how: "process_vm_writev", target_pid_inside: 11 });
  });

  it("says who lets itself be traced", () => {
    const record = ptraceRecord({ ...actor, request: 0, target: actor });
    expect(lineOf(record)?.["message"]).toBe("actor (process 20) let its parent trace it");
  });
});

describe("the line of a signal", () => {
  it("names who sent it to whom", () => {
    expect(lineOf(signalRecord({ ...actor, signal: 9, target }))).toMatchObject({
      topic: "process/signal",
      severity: "high",
      message: "actor (process 20) sent SIGKILL to /bin/eleven",
      detail: { signal: 9, result: "delivered", target_process_id: `${BOOT}-11-1` },
    });
    const line = lineOf(signalRecord({ ...actor, signal: 15, code: -6, result: 1, target }));
    expect(line).toMatchObject({ severity: "info", detail: { signal: 15, result: "ignored" } });
    expect(line?.detail).not.toHaveProperty("from_kernel");
  });

  it.each([
    [0, "info"],
    [constants.signals.SIGHUP, "info"],
    [constants.signals.SIGINT, "info"],
    [constants.signals.SIGTERM, "info"],
    [constants.signals.SIGCONT, "info"],
    [constants.signals.SIGCHLD, "info"],
    [constants.signals.SIGPIPE, "info"],
    [constants.signals.SIGKILL, "high"],
    [constants.signals.SIGSTOP, "high"],
    [constants.signals.SIGTSTP, "high"],
    [constants.signals.SIGSEGV, "high"],
    [constants.signals.SIGQUIT, "high"],
    [constants.signals.SIGABRT, "high"],
    [constants.signals.SIGALRM, "high"],
    [constants.signals.SIGUSR1, "high"],
    [40, "high"],
  ])(
    "is of high severity where it kills or stops otherwise than in order: signal %d",
    (signal, severity) => {
      expect(lineOf(signalRecord({ ...actor, signal, target }))).toMatchObject({ severity });
    },
  );

  it("does not blame the process that ran when the kernel sent it", () => {
    expect(lineOf(signalRecord({ ...actor, signal: 9, code: 0x80, target }))).toMatchObject({
      message: "The kernel sent SIGKILL to /bin/eleven while actor (process 20) ran",
      detail: { from_kernel: true },
    });
  });
});

describe("bytes that are no record of control", () => {
  const records = [
    credentialsRecord({ ...actor, kind: "callCredentials", groupsAfter: [1] }),
    ptraceRecord({ ...actor, request: 16, target }),
    signalRecord({ ...actor, signal: 9, target }),
  ];

  it("give no line when they are cut", () => {
    for (const record of records) {
      expect(lineOf(record)).toBeDefined();
      for (const bytes of [record.slice(0, -8), record.slice(0, 104), new Uint8Array(0)]) {
        expect(lineOf(bytes)).toBeUndefined();
      }
    }
  });

  it("give no line or one that parses, whatever they are", () => {
    fc.assert(fc.property(
      fc.constantFrom(...records),
      fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { maxLength: 8 }),
      (record, changes) => {
        const copy = record.slice();
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        lineOf(copy);
      },
    ));
  });
});
