import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LineDecoder } from "../../../src/edge-agent/line-decoder.ts";
import {
  ANCESTORS_MAX,
  EXEC,
  EXEC_MARK,
  FLAG,
  HEADER,
  RECORD_VERSION,
} from "../../../src/edge-agent/record-layout.ts";
import { createProcessDecoder } from "../../../src/edge-agent/sources/process/process-lines.ts";
import { BOOT, createTestContext } from "../../support/decoders.ts";
import {
  credentialsRecord,
  execRecord,
  exitRecord,
  forkRecord,
  locate,
} from "../../support/records.ts";
import { type Line, parseLine } from "../../support/source-run.ts";

const [SETUID, SETGROUPS] = process.arch === "arm64" ? [146, 159] : [105, 116];
const SECOND_NS = 1_000_000_000n;

/** Decodes records one after the other, as a reader does; the line of the last. */
function lineOf(...records: readonly Uint8Array[]): Line | undefined {
  const decoder = createProcessDecoder(createTestContext());
  return records.map((record) => decode(decoder, record)).at(-1);
}

function decode(decoder: LineDecoder, record: Uint8Array): Line | undefined {
  const located = locate(record, { timeUs: 1_795_000_000_123_456 });
  decoder.learn(located);
  const text = decoder.line(located);
  return text === undefined ? undefined : parseLine(text);
}

const parent = { pid: 10, startNs: 2n * SECOND_NS, comm: "sh" };
const child = { pid: 11, ppid: 10, startNs: 3n * SECOND_NS, parentStartNs: 2n * SECOND_NS };

it("leaves out the executable of a process whose exec nobody told", () => {
  const shell = execRecord({ ...parent, execId: 3, timeNs: 2n * SECOND_NS, exe: "/bin/sh" });
  const fork = forkRecord({ ...child, execId: 3, timeNs: 3n * SECOND_NS });
  const exit = { ...child, timeNs: 5n * SECOND_NS, comm: "hidden" };
  expect(lineOf(shell, fork, exitRecord({ ...exit, execId: 3 }))?.["exe"]).toBe("/bin/sh");
  const line = lineOf(shell, fork, exitRecord({ ...exit, execId: 4 }));
  expect(line?.["message"]).toBe("hidden (process 11) exited with code 0");
  expect(line).not.toHaveProperty("exe");
  const later = forkRecord({ ...child, execId: 4, timeNs: 3n * SECOND_NS, comm: "hidden" });
  expect(lineOf(shell, later)).not.toHaveProperty("exe");
});

describe("the line of an exec", () => {
  it("has everything that the record has", () => {
    const line = lineOf(
      execRecord({ ...parent, timeNs: 2n * SECOND_NS, exe: "/bin/sh" }),
      execRecord({
        ...child,
        timeNs: 4n * SECOND_NS,
        exe: "/usr/bin/ls",
        cwd: "/home/ann",
        argv: "ls\0-l\0two words\0",
        tty: "pts/3",
        uid: 1000,
        euid: 0,
        gid: 7,
        auid: 1000,
        session: 5,
        cgroupId: 77n,
        comm: "ls",
        env: "PATH=/bin\0LD_PRELOAD=/tmp/ä.so\0PATHS=not chosen\0",
        ancestors: [
          { pid: 10, startNs: 2n * SECOND_NS, exe: "/old/sh" },
          { pid: 9, startNs: 0n, exe: "/sbin/ended", comm: "ended" },
          { pid: 1, startNs: 0n, comm: "init" },
          { pid: 2, startNs: 0n, comm: "kthreadd" },
        ],
        ids: { suid: 3, egid: 4, network_namespace: 4026532448 },
        capsGained: (1n << 7n) | (1n << 39n) | (1n << 63n),
      }),
    );
    expect(line).toEqual({
      idx: 0,
      time: "2026-11-18T11:06:40.123456Z",
      topic: "process/exec",
      outcome: "success",
      severity: "info",
      user: "ann",
      uid: 1000,
      euid: 0,
      gid: 7,
      auid: 1000,
      auid_user: "ann",
      pid: 11,
      ppid: 10,
      process_id: `${BOOT}-11-300`,
      parent_process_id: `${BOOT}-10-200`,
      exe: "/usr/bin/ls",
      comm: "ls",
      session: "5",
      container: "c".repeat(64),
      cmdline: "ls -l two words",
      cwd: "/home/ann",
      message: "ann ran /usr/bin/ls",
      detail: {
        argv: ["ls", "-l", "two words"],
        argv_bytes: 16,
        truncated: false,
        env: { PATH: "/bin", LD_PRELOAD: "/tmp/ä.so" },
        ancestors: [
          { pid: 10, process_id: `${BOOT}-10-200`, exe: "/old/sh" },
          { pid: 9, process_id: `${BOOT}-9-0`, exe: "/sbin/ended" },
          { pid: 1, process_id: `${BOOT}-1-0`, comm: "init" },
          { pid: 2, process_id: `${BOOT}-2-0`, comm: "kthreadd" },
        ],
        tty: "pts/3",
        suid: 3,
        fsuid: 0,
        egid: 4,
        sgid: 7,
        fsgid: 7,
        caps_gained: ["cap_setuid", "cap_bpf", "cap_63"],
        namespaces: { net: 4026532448 },
        inode: 0,
        device: "0:0",
      },
    });
  });

  it("leaves out what is not known: user name, login, session", () => {
    const line = lineOf(execRecord({ ...child, uid: 4242 }));
    expect(line).not.toHaveProperty("user");
    expect(line).not.toHaveProperty("auid");
    expect(line).not.toHaveProperty("session");
    expect(line).not.toHaveProperty("container");
    expect(line?.["message"]).toBe("uid 4242 ran /bin/x");
  });

  it.each([
    ["no arguments", "", []],
    ["one empty argument", "\0", [""]],
    ["empty arguments between", "a\0\0b\0\0", ["a", "", "b", ""]],
    ["a cut last argument", "a\0bcd", ["a", "bcd"]],
    ["control characters and quotes", 'a"\\\n\0', ['a"\\\n']],
    ["text beyond ASCII", "ä\0€\0", ["ä", "€"]],
  ])("reads %s", (_what, argv, expected) => {
    const line = lineOf(execRecord({ ...child, argv }));
    expect(line?.detail["argv"]).toEqual(expected);
    expect(line?.["cmdline"]).toBe(expected.join(" "));
  });

  it("tells what was cut, removed, in memory, and which script ran", () => {
    const flags = FLAG.truncated | FLAG.deleted | FLAG.memfd;
    const line = lineOf(
      execRecord({ ...child, flags, exe: "/bin/sh", script: "./run me", argvBytes: 99_999 }),
    );
    expect(line?.detail).toMatchObject({
      truncated: true,
      argv_bytes: 99_999,
      deleted: true,
      memfd: true,
      interpreter: "/bin/sh",
      script: "./run me",
    });
    expect(line?.["message"]).toBe("root ran ./run me");
  });

  it("names every field with bytes that are no text", () => {
    const bad = Uint8Array.of(0x61, 0xff, 0x62);
    const line = lineOf(
      execRecord({ ...child, exe: bad, cwd: bad, script: bad, argv: bad, comm: bad }),
    );
    expect(line?.detail["escaped"]).toEqual(["exe", "comm", "cwd", "script", "cmdline", "argv"]);
    for (const name of ["exe", "comm", "cwd", "cmdline"]) expect(line?.[name]).toBe("a\\xffb");
  });

  it("leaves out the initial namespaces", () => {
    const ids = { network_namespace: 40, mount_namespace: 41, pid_namespace: 0xeffffffc };
    expect(lineOf(execRecord({ ...child, ids }))?.detail).not.toHaveProperty("namespaces");
    const others = { ...ids, pid_namespace: 7, mount_namespace: 8 };
    expect(lineOf(execRecord({ ...child, ids: others }))?.detail["namespaces"])
      .toEqual({ pid: 7, mnt: 8 });
  });

  it("reads a record that is longer than what it holds", () => {
    const argv = `${"x".repeat(131_071)}\0`;
    const line = lineOf(
      execRecord({ ...child, argv, marks: EXEC_MARK.padded, paddingBytes: 999 }),
    );
    expect(line?.["cmdline"]).toBe("x".repeat(131_071));
    expect(lineOf(execRecord({ ...child, argv, paddingBytes: 8 }))).toBeUndefined();
  });

  it("escapes the backslashes of all arguments when one is no text", () => {
    const argv = Buffer.concat([Buffer.from("a\\xff\0"), Buffer.of(0xff, 0)]);
    const line = lineOf(execRecord({ ...child, argv }));
    expect(line?.detail["argv"]).toEqual(["a\\x5cxff", "\\xff"]);
    const plain = lineOf(execRecord({ ...child, argv: "a\\xff\0ä\0" }));
    expect(plain?.detail["argv"]).toEqual(["a\\xff", "ä"]);
  });
});

describe("the line of an exec with secrets", () => {
  it("has them nowhere, and says in which arguments they were", () => {
    const argv = "curl\0-u\0ann:hunter2\0https://x:swordfish@example.org/\0-v\0";
    const record = execRecord({ ...child, exe: "/usr/bin/curl", argv });
    const line = lineOf(record);
    const marker = /^\[redacted:[0-9a-f]{12}\]$/;
    const told = line?.detail["argv"] as string[];
    expect(told[2]).toMatch(/^ann:\[redacted:[0-9a-f]{12}\]$/);
    expect(told[2]?.slice(4)).toMatch(marker);
    expect(line?.["cmdline"]).toBe(told.join(" "));
    expect(line?.detail["redacted"]).toEqual(["argv[2]", "argv[3]"]);
    expect(line?.detail["argv_bytes"]).toBe(argv.length);
    expect(JSON.stringify(line)).not.toMatch(/hunter2|swordfish/);
  });

  it("is not escaped for bytes that only a secret had", () => {
    const argv = new Uint8Array(Buffer.from("x\0--token\0\xffsecret\0", "latin1"));
    const line = lineOf(execRecord({ ...child, argv }));
    expect(line?.detail["escaped"]).toBeUndefined();
    expect(line?.detail["redacted"]).toEqual(["argv[2]"]);
  });

  it("names the first 64 arguments and counts the rest", () => {
    const argv = "x\0" + Array.from({ length: 70 }, (_, at) => `TOKEN=${at}`).join("\0") + "\0";
    const redacted = lineOf(execRecord({ ...child, argv }))?.detail["redacted"] as string[];
    expect(redacted.length).toBe(65);
    expect(redacted.at(-1)).toBe("6 more");
  });
});

describe("the lines of a process", () => {
  it("carry its parent's image until it executes one", () => {
    const decoder = createProcessDecoder(createTestContext());
    decode(decoder, execRecord({ ...parent, timeNs: 2n * SECOND_NS, exe: "/bin/sh" }));
    const fork = decode(decoder, forkRecord({ ...child, timeNs: 3n * SECOND_NS }));
    expect(fork).toMatchObject({ exe: "/bin/sh", message: "/bin/sh forked process 11" });
    const early = locate(exitRecord({ ...child, timeNs: 35n * SECOND_NS / 10n }));
    decode(decoder, execRecord({ ...child, timeNs: 4n * SECOND_NS, exe: "/bin/ls" }));
    const exit = decode(decoder, exitRecord({ ...child, timeNs: 5n * SECOND_NS, status: 0x300 }));
    expect(exit).toMatchObject({ exe: "/bin/ls", message: "/bin/ls exited with code 3" });
    expect(exit?.detail).toEqual({ exit_code: 3, duration_ms: 2000 });
    // A record of an earlier moment, decoded later, has the image of its moment.
    expect(parseLine(decoder.line(early) ?? "")["exe"]).toBe("/bin/sh");
  });

  it("tell signals with their names and cores", () => {
    expect(lineOf(exitRecord({ ...child, status: 9 }))).toMatchObject({
      message: "comm (process 11) was ended by SIGKILL",
      detail: { signal: 9, core: false },
    });
    expect(lineOf(exitRecord({ ...child, status: 0x80 | 11 }))?.detail)
      .toMatchObject({ signal: 11, core: true });
    expect(lineOf(exitRecord({ ...child, status: 60 }))?.["message"]).toMatch(/signal 60$/);
  });

  it("make anew what changes: credentials and comm", () => {
    const decoder = createProcessDecoder(createTestContext());
    decode(decoder, execRecord({ ...child, comm: "one" }));
    expect(decode(decoder, exitRecord({ ...child, comm: "two", uid: 1000, euid: 0 })))
      .toMatchObject({ comm: "two", uid: 1000, user: "ann", euid: 0 });
  });
});

describe("the line of a change of credentials", () => {
  it("has what differs, before and after", () => {
    const line = lineOf(credentialsRecord({
      ...child,
      uid: 1000,
      euid: 0,
      before: { uid: 1000, euid: 1000, suid: 1000, gid: 5, network_namespace: 7 },
      after: { uid: 1000, gid: 5, permitted: 0xffn, effective: 1n << 40n, network_namespace: 8 },
    }));
    expect(line).toMatchObject({
      topic: "process/setuid",
      outcome: "success",
      uid: 1000,
      euid: 0,
      message: "comm (process 11) went from ann to root by exec",
    });
    expect(line?.detail).toEqual({
      how: "exec",
      before: {
        euid: 1000,
        suid: 1000,
        caps_permitted: "0000000000000000",
        caps_effective: "0000000000000000",
        namespaces: { net: 7 },
      },
      after: {
        euid: 0,
        suid: 0,
        caps_permitted: "00000000000000ff",
        caps_effective: "0000010000000000",
        namespaces: { net: 8 },
      },
      caps_gained: [
        "cap_chown",
        "cap_dac_override",
        "cap_dac_read_search",
        "cap_fowner",
        "cap_fsetid",
        "cap_kill",
        "cap_setgid",
        "cap_setuid",
      ],
    });
  });

  it("has groups, and how many when they are too many", () => {
    const groups = Array.from({ length: 40 }, (_, place) => place);
    const line = lineOf(credentialsRecord({
      ...child,
      call: SETGROUPS,
      groupsBefore: groups,
      groupsAfter: [],
    }));
    expect(line?.detail).toEqual({
      how: "setgroups",
      before: { groups: groups.slice(0, 32), groups_count: 40 },
      after: { groups: [] },
    });
    expect(line?.["message"]).toBe("comm (process 11) changed its privileges by setgroups");
  });

  it("names the error of a call that failed", () => {
    const line = lineOf(credentialsRecord({ ...child, call: SETUID, error: 1 }));
    expect(line).toMatchObject({
      outcome: "failure",
      errno: 1,
      message: "comm (process 11) could not setuid: EPERM",
      detail: { how: "setuid" },
    });
    expect(line?.detail).not.toHaveProperty("before");
  });
});

describe("bytes that are no process record", () => {
  const good = execRecord({ ...child, argv: "a\0b\0", ancestors: [{ pid: 1, startNs: 1n }] });
  const changed = (at: number, value: number, alsoAt?: number): Uint8Array => {
    const copy = good.slice();
    new DataView(copy.buffer).setUint16(at, value, true);
    if (alsoAt !== undefined) new DataView(copy.buffer).setUint16(alsoAt, 999, true);
    return copy;
  };

  it.each([
    ["another version", changed(HEADER.version, RECORD_VERSION + 1)],
    ["another kind", changed(HEADER.version, RECORD_VERSION | (99 << 8))],
    ["a length that is not the ring's", changed(HEADER.length, good.length - 1)],
    ["a longer exe", changed(EXEC.exe_length, 7)],
    ["a much longer exe", changed(EXEC.exe_length, 65_535)],
    ["a longer cwd", changed(EXEC.cwd_length, 2)],
    ["a longer script", changed(EXEC.script_length, 1)],
    ["fewer arguments", changed(EXEC.argv_length, 3)],
    ["a longer environment", changed(EXEC.env_length, 1)],
    ["an environment beyond all memory", changed(EXEC.env_length + 2, 65_535)],
    ["arguments beyond a padded record", changed(EXEC.marks, EXEC_MARK.padded, EXEC.argv_length)],
    ["too many ancestors", changed(EXEC.ancestor_count, ANCESTORS_MAX + 1)],
    ["nothing", new Uint8Array(0)],
    ["a header only", good.slice(0, 104)],
    ["a cut record", good.slice(0, 200)],
    ["a cut exit", exitRecord(child).slice(0, 108)],
  ])("give no line: %s", (_what, bytes) => {
    expect(lineOf(bytes)).toBeUndefined();
  });

  const credentials = credentialsRecord({ ...child, call: SETGROUPS, groupsAfter: [1, 2] });

  it("give no line or one that parses, whatever they are", () => {
    fc.assert(fc.property(
      fc.constantFrom(good, exitRecord(child), forkRecord(child), credentials),
      fc.array(fc.tuple(fc.nat(good.length), fc.nat(255)), { maxLength: 6 }),
      (record, changes) => {
        const copy = record.slice();
        for (const [at, value] of changes) copy[at] = value;
        lineOf(copy);
      },
    ));
  });
});
