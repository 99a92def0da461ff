import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LineDecoder } from "../../../src/edge-agent/line-decoder.ts";
import { ANCESTORS_MAX, EXEC, FLAG, HEADER } from "../../../src/edge-agent/record-layout.ts";
import { createProcessDecoder } from "../../../src/edge-agent/sources/process/process-lines.ts";
import { BOOT, createTestContext } from "../../support/decoders.ts";
import { execRecord, exitRecord, forkRecord, locate } from "../../support/records.ts";
import { type Line, parseLine } from "../../support/source-run.ts";

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
        ancestors: [{ pid: 10, startNs: 2n * SECOND_NS }, { pid: 1, startNs: 0n }],
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
        ancestors: [
          { pid: 10, process_id: `${BOOT}-10-200`, exe: "/bin/sh" },
          { pid: 1, process_id: `${BOOT}-1-0` },
        ],
        tty: "pts/3",
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

describe("bytes that are no process record", () => {
  const good = execRecord({ ...child, argv: "a\0b\0", ancestors: [{ pid: 1, startNs: 1n }] });
  const changed = (at: number, value: number): Uint8Array => {
    const copy = good.slice();
    new DataView(copy.buffer).setUint16(at, value, true);
    return copy;
  };

  it.each([
    ["another version", changed(HEADER.version, 2)],
    ["another kind", changed(HEADER.version, 1 | (99 << 8))],
    ["a length that is not the ring's", changed(HEADER.length, good.length - 1)],
    ["a longer exe", changed(EXEC.exe_length, 7)],
    ["a much longer exe", changed(EXEC.exe_length, 65_535)],
    ["a longer cwd", changed(EXEC.cwd_length, 2)],
    ["a longer script", changed(EXEC.script_length, 1)],
    ["fewer arguments", changed(EXEC.argv_length, 3)],
    ["too many ancestors", changed(EXEC.ancestor_count, ANCESTORS_MAX + 1)],
    ["nothing", new Uint8Array(0)],
    ["a header only", good.slice(0, 104)],
    ["a cut record", good.slice(0, 200)],
    ["a cut exit", exitRecord(child).slice(0, 108)],
  ])("give no line: %s", (_what, bytes) => {
    expect(lineOf(bytes)).toBeUndefined();
  });

  it("give no line or one that parses, whatever they are", () => {
    fc.assert(fc.property(
      fc.constantFrom(good, exitRecord(child), forkRecord(child)),
      fc.array(fc.tuple(fc.nat(good.length), fc.nat(255)), { maxLength: 6 }),
      (record, changes) => {
        const copy = record.slice();
        for (const [at, value] of changes) copy[at] = value;
        lineOf(copy);
      },
    ));
  });
});
