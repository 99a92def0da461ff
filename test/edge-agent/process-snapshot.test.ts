import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { learnSnapshot, type SnapshotContext } from "../../src/edge-agent/process-snapshot.ts";
import { BOOT, createTestContext } from "../support/decoders.ts";
import { snapshotRecord } from "../support/records.ts";

const SECOND_NS = 1_000_000_000n;

function createContext(): SnapshotContext {
  return {
    ...createTestContext(),
    cgroupNames: () => ({ container: undefined, unit: "ssh.service" }),
  };
}

const init = snapshotRecord({ pid: 1, startNs: 0n, exe: "/sbin/init" });
const shell = snapshotRecord({
  pid: 20,
  ppid: 1,
  startNs: 3n * SECOND_NS,
  exe: "/bin/sh",
  uid: 1000,
  comm: "sh",
});
const thread = snapshotRecord({
  pid: 2,
  startNs: 0n,
  comm: "kthreadd",
  ids: { network_namespace: 77 },
});

describe("a snapshot of the processes", () => {
  it("teaches executables, and who the processes are", () => {
    const context = createContext();
    expect(learnSnapshot(context, Buffer.concat([init, thread, shell]))).toBe(3);
    const { processes } = context;
    expect(processes.peek(1, 0)?.imageAt(0).exe).toBe("/sbin/init");
    expect(processes.peek(2, 0)?.imageAt(0).exe).toBeUndefined();
    const entry = processes.peek(20, 300);
    expect(entry?.imageAt(0).exe).toBe("/bin/sh");
    expect(JSON.parse(`{${entry?.actor?.columns}"end":0}`)).toMatchObject({
      user: "ann",
      uid: 1000,
      pid: 20,
      parent_process_id: `${BOOT}-1-0`,
      exe: "/bin/sh",
      unit: "ssh.service",
    });
  });

  it("takes nothing back that a record has told", () => {
    const context = createContext();
    const entry = context.processes.introduce(20, 3_000_000_000, 0);
    context.processes.noteExec(entry, { sinceNs: 5, exe: "/bin/told", isEscaped: false });
    learnSnapshot(context, shell);
    expect(entry.imageAt(5).exe).toBe("/bin/told");
  });

  it("tells the initial namespaces from others", () => {
    const context = createContext();
    const others = (network: number): string => {
      const record = snapshotRecord({ ids: { network_namespace: network } });
      const words = new Uint32Array(record.buffer);
      return context.initialNamespaces.others({ words, bytes: Buffer.from(record.buffer) }, 104);
    };
    expect(others(77)).toBe('"net":77');
    learnSnapshot(context, Buffer.concat([init, thread, shell]));
    expect(others(77)).toBe("");
    expect(others(78)).toBe('"net":78');
  });

  it("says that a path had bytes which are no text", () => {
    const context = createContext();
    learnSnapshot(context, snapshotRecord({ pid: 5, exe: Uint8Array.of(0x2f, 0xff) }));
    expect(context.processes.peek(5, 0)?.imageAt(0)).toMatchObject({
      exe: "/\\\\xff",
      isEscaped: true,
    });
  });

  it("ends where the bytes are no record, and keeps what came before", () => {
    const cut = Buffer.concat([init, shell.subarray(0, 150)]);
    expect(learnSnapshot(createContext(), cut)).toBe(1);
    expect(learnSnapshot(createContext(), Buffer.concat([init, Buffer.alloc(300)]))).toBe(1);
    expect(learnSnapshot(createContext(), new Uint8Array(0))).toBe(0);
  });

  it("takes any bytes", () => {
    const good = Buffer.concat([init, thread, shell]);
    fc.assert(fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
      (changes) => {
        const copy = Buffer.from(good);
        for (const [at, value] of changes) copy[at] = value;
        expect(learnSnapshot(createContext(), copy)).toBeLessThanOrEqual(3);
      },
    ));
  });
});
