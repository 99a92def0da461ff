import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { createProcessIds, readStartTicks } from "../../src/edge-agent/process-identity.ts";
import { createProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { createProcessTable } from "../../src/edge-agent/process-table.ts";
import { createRedactor } from "../../src/edge-agent/redaction.ts";
import { REDACTION_KEY_BYTES } from "../../src/edge-agent/redaction-key.ts";
import { createDecoderContext } from "../../src/edge-agent/line-decoder.ts";
import { createProcessDecoder } from "../../src/edge-agent/sources/process/process-lines.ts";
import {
  execRecord,
  exitRecord,
  forkRecord,
  type HeaderFields,
  locate,
} from "../support/records.ts";

/** No process can have it: more than the kernel's greatest. */
const GONE_PID = 4_194_305;

/** A lookup over a ring that holds records which are learned only by catching up. */
function createWorld() {
  const processes = createProcessTable({
    ids: createProcessIds("0123abcd-x"),
    nowNs: () => performance.now() * 1e6,
  });
  const userNames = { version: 0, nameOf: () => undefined, refresh: () => undefined };
  const cgroupNames = () => ({ container: undefined, unit: undefined });
  const redactor = createRedactor(new Uint8Array(REDACTION_KEY_BYTES));
  const decoder = createProcessDecoder(
    createDecoderContext({ processes, userNames, cgroupNames, redactor }),
  );
  const world = { ring: [] as Uint8Array[], catchUps: 0 };
  processes.follow(() => {
    world.catchUps += 1;
    for (const record of world.ring.splice(0)) decoder.learn(locate(record));
  });
  const lookup = createProcessLookup({
    context: { processes, userNames },
    ownPids: [],
    nowMs: () => 0,
  });
  const uidOf = (pid: number) => JSON.parse(`{${lookup.actorOf(pid).columns}"":0}`)["uid"];
  return Object.assign(world, { lookup, decoder, uidOf });
}

const begun: HeaderFields = { pid: GONE_PID, timeNs: 10n, uid: 0, comm: "perl" };
const dropped: HeaderFields = { ...begun, timeNs: 20n, uid: 65534 };

/** Its start as records tell it, ns. */
function startNsOf({ pid }: ChildProcess): bigint {
  const ticks = pid === undefined ? undefined : readStartTicks(pid);
  if (ticks === undefined) throw new Error("The child is not running");
  return BigInt(ticks) * 10_000_000n;
}

describe("who had the pid of a process that has ended", () => {
  it("is told by the record of its end, also one that came since the last catching up", () => {
    const { ring, lookup, uidOf } = createWorld();
    ring.push(execRecord(begun));
    lookup.catchUp();
    ring.push(exitRecord(dropped));
    expect(uidOf(GONE_PID)).toBe(65534);
  });

  it("is told by its newest record, whichever lines are made of it", () => {
    const world = createWorld();
    world.ring.push(execRecord(begun), exitRecord(dropped));
    world.lookup.catchUp();
    world.decoder.line(locate(execRecord(begun)));
    expect(world.uidOf(GONE_PID)).toBe(65534);
  });

  it("is known when it began and ended since the last catching up", () => {
    const { ring, lookup, uidOf } = createWorld();
    lookup.catchUp();
    ring.push(execRecord(begun), exitRecord(dropped));
    expect(uidOf(GONE_PID)).toBe(65534);
  });

  it("is answered anew once another record of it is learned", () => {
    const { ring, lookup, uidOf } = createWorld();
    ring.push(execRecord(begun));
    expect(uidOf(GONE_PID)).toBe(0);
    ring.push(exitRecord(dropped));
    lookup.catchUp();
    expect(uidOf(GONE_PID)).toBe(65534);
  });

  it("is not what /proc said of it shortly before", async () => {
    const { ring, lookup, uidOf } = createWorld();
    const child = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
    const { pid } = child;
    if (pid === undefined) throw new Error("The child did not start");
    const header = { pid, startNs: startNsOf(child) };
    expect(uidOf(pid)).toBe(process.getuid?.());
    child.stdin.end();
    await once(child, "exit");
    ring.push(exitRecord({ ...dropped, ...header }));
    lookup.catchUp();
    expect(uidOf(pid)).toBe(65534);
  });

  it("costs one look for all its events of a moment", () => {
    const world = createWorld();
    world.ring.push(execRecord(begun), exitRecord(dropped));
    for (let number = 0; number < 1000; number += 1) world.uidOf(GONE_PID);
    expect(world.catchUps).toBe(1);
  });
});

describe("what an interpreter was executed for", () => {
  it("is known of the process, of what it forks, and of those below it", () => {
    const { ring, lookup } = createWorld();
    const above = { pid: GONE_PID - 1, startNs: 10_000_000n, ppid: 0 };
    const child = {
      pid: GONE_PID,
      startNs: 20_000_000n,
      ppid: above.pid,
      parentStartNs: above.startNs,
    };
    ring.push(
      execRecord({ ...above, timeNs: 1n, exe: "/usr/bin/python3.11", script: "/usr/bin/dnf" }),
      forkRecord({ ...child, timeNs: 2n }),
      exitRecord({ ...child, timeNs: 3n }),
    );
    expect(lookup.actorOf(GONE_PID).image?.script).toBe("/usr/bin/dnf");
    ring.push(
      execRecord({ ...child, timeNs: 2n, exe: "/usr/bin/sh" }),
      exitRecord({ ...above, timeNs: 9n }),
    );
    lookup.catchUp();
    expect(lookup.actorOf(GONE_PID).image?.script).toBeUndefined();
    expect(lookup.ancestorsOf(GONE_PID)).toMatchObject([
      { pid: above.pid, exe: "/usr/bin/python3.11", script: "/usr/bin/dnf" },
    ]);
  });
});
