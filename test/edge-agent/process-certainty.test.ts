/** What a process surely was while it may have done something: never what it became afterwards. */
import { describe, expect, it } from "vitest";
import { createProcessCertainty } from "../../src/edge-agent/process-certainty.ts";
import { createProcessIds } from "../../src/edge-agent/process-identity.ts";
import { createProcessTable } from "../../src/edge-agent/process-table.ts";
import { createDecoderContext } from "../../src/edge-agent/line-decoder.ts";
import { createRedactor } from "../../src/edge-agent/redaction.ts";
import { createProcessDecoder } from "../../src/edge-agent/sources/process/process-lines.ts";
import { learnSnapshot } from "../../src/edge-agent/process-snapshot.ts";
import { REDACTION_KEY } from "../support/decoders.ts";
import {
  execRecord,
  exitRecord,
  forkRecord,
  type HeaderFields,
  locate,
  snapshotRecord,
} from "../support/records.ts";

const PID = 4_194_305;
const START = 10_000_000n;
const BAD = { inode: 5, device: 7 };
const QUIET = { inode: 6, device: 7 };
const CAP_SETUID = 1n << 7n;

type Present = { uid: number | undefined; exe: typeof BAD | undefined } | undefined;

/** A world of records; `now.present` is what /proc shows of the living. */
function createWorld(present: Present = { uid: 0, exe: QUIET }) {
  const now: { ns: number; present: Present } = { ns: 0, present };
  const processes = createProcessTable({
    ids: createProcessIds("0123abcd-x"),
    nowNs: () => now.ns,
    readExe: () => undefined,
  });
  const cgroupNames = () => ({ container: undefined, unit: undefined });
  const decoding = createDecoderContext({
    processes,
    userNames: { version: 0, nameOf: () => undefined, refresh: () => undefined },
    cgroupNames,
    redactor: createRedactor(REDACTION_KEY),
  });
  const context = { ...decoding, cgroupNames };
  const decoder = createProcessDecoder(context);
  const ring: Uint8Array[] = [];
  processes.follow(() => ring.splice(0).forEach((record) => decoder.learn(locate(record))));
  const certainty = createProcessCertainty({ processes, readPresent: () => now.present });
  const learn = (...records: readonly Uint8Array[]) =>
    records.forEach((record) => decoder.learn(locate(record)));
  return { now, processes, context, ring, learn, since: (ns: number) => certainty.since(PID, ns) };
}

const header = (timeNs: bigint, rest: HeaderFields = {}): HeaderFields => ({
  pid: PID,
  startNs: START,
  timeNs,
  ...rest,
});
const exec = (
  timeNs: bigint,
  file: typeof BAD,
  rest: Parameters<typeof execRecord>[0] = {},
): Uint8Array => execRecord({ ...header(timeNs), ...rest, file });

describe("the executable that a process surely was", () => {
  it("is known from its exec on, and not before", () => {
    const { learn, since } = createWorld();
    learn(exec(100n, BAD), exec(200n, QUIET));
    expect(since(200).exe).toEqual(QUIET);
    expect(since(199)).not.toHaveProperty("exe");
  });

  it("is known over an exec of the same file", () => {
    const { learn, since } = createWorld();
    learn(exec(100n, QUIET, { execId: 3 }), exec(200n, QUIET, { execId: 4 }));
    expect(since(150).exe).toEqual(QUIET);
  });

  it("is not known over an exec that was not told", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: QUIET });
    const asAnn = { uid: 1000, euid: 1000 };
    learn(exec(100n, QUIET, { ...asAnn, execId: 3 }), exec(300n, QUIET, { ...asAnn, execId: 5 }));
    expect(since(200)).toEqual({});
    expect(since(300)).toEqual({ uid: 1000, exe: QUIET });
    learn(exec(400n, QUIET, { ...asAnn, execId: 6 }));
    expect(since(350)).toEqual({ uid: 1000, exe: QUIET });
    expect(since(299)).toEqual({});
  });

  it("is not known over execs without a number, of which some may not be told", () => {
    const { learn, since } = createWorld();
    learn(exec(100n, QUIET, { execId: 3 }), exec(200n, QUIET), exec(300n, QUIET, { execId: 4 }));
    expect([since(150), since(250)]).toEqual([{}, {}]);
  });

  it("is not known when /proc shows another than was told", () => {
    const { learn, since } = createWorld({ uid: 0, exe: BAD });
    learn(exec(100n, QUIET));
    expect(since(150)).not.toHaveProperty("exe");
  });

  it("is the parent's from the fork on", () => {
    const { learn, since } = createWorld();
    const parent = { pid: 9, startNs: 0n };
    learn(execRecord({ ...parent, timeNs: 50n, file: QUIET }));
    learn(forkRecord({ ...header(100n), ppid: 9, parentStartNs: 0n }));
    expect(since(70).exe).toEqual(QUIET);
    learn(exec(200n, BAD));
    expect(since(70)).not.toHaveProperty("exe");
  });

  it("is not known of a pid that another had meanwhile", () => {
    const { learn, since } = createWorld();
    learn(exec(100n, BAD), exitRecord(header(150n)));
    learn(execRecord({ pid: PID, startNs: 990_000_000n, timeNs: 160n, file: QUIET }));
    expect(since(155)).not.toHaveProperty("exe");
    expect(since(140)).not.toHaveProperty("exe");
    expect(since(160).exe).toEqual(QUIET);
  });

  it("is not known of a process that ended before the time asked about", () => {
    const { learn, since } = createWorld();
    learn(exec(100n, QUIET, { execId: 3 }), exitRecord(header(150n, { execId: 3 })));
    expect(since(150).exe).toEqual(QUIET);
    // Another had the pid then, and is not told of.
    expect(since(151)).toEqual({});
  });

  it("is not what /proc showed before something was learned", () => {
    const { now, processes, ring, learn, since } = createWorld();
    learn(exec(100n, QUIET));
    expect(since(150).exe).toEqual(QUIET);
    now.present = { uid: 0, exe: BAD };
    processes.catchUp();
    expect(since(150)).toEqual({});
    now.present = { uid: 0, exe: QUIET };
    ring.push(exec(200n, BAD));
    processes.catchUp();
    expect(since(150)).toEqual({});
  });

  it("is told by the record of its end, if that follows the exec that is known", () => {
    const known = createWorld();
    known.learn(exec(100n, QUIET, { execId: 3 }), exitRecord(header(200n, { execId: 3 })));
    expect(known.since(150).exe).toEqual(QUIET);
    const untold = createWorld();
    untold.learn(exec(100n, QUIET, { execId: 3 }), exitRecord(header(200n, { execId: 4 })));
    expect(untold.since(150)).not.toHaveProperty("exe");
  });

  it("is told by the record of its end, also when it goes while it is asked for", () => {
    const { now, ring, learn, since } = createWorld();
    learn(exec(100n, QUIET));
    now.present = undefined;
    ring.push(exitRecord(header(200n)));
    expect(since(150).exe).toEqual(QUIET);
  });

  it("is what was seen at the start, from that moment until something is told", () => {
    const { now, context, learn, since } = createWorld();
    now.ns = 1000;
    learnSnapshot(context, snapshotRecord({ ...header(1000n), exe: "/quiet" }));
    expect(since(999)).not.toHaveProperty("exe");
    expect(since(1000).exe).toEqual(QUIET);
    learn(exec(2000n, QUIET));
    expect(since(1500)).not.toHaveProperty("exe");
  });

  it("is nobody's where nobody tells of execs", () => {
    const { processes, learn, since } = createWorld();
    learn(exec(100n, QUIET));
    processes.follow(undefined);
    expect(since(200)).toEqual({});
  });
});

describe("the user that a process surely had", () => {
  const asAnn = { uid: 1000, euid: 1000 };

  it("is the one of all its ids since an exec", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: undefined });
    learn(exec(100n, BAD, asAnn));
    expect([since(99), since(100)]).toEqual([{}, { uid: 1000 }]);
  });

  it("is not one that it took after its exec, or has beside another", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: undefined });
    learn(exec(100n, BAD, { uid: 0, euid: 0 }));
    expect(since(150)).toEqual({});
    const aside = createWorld({ uid: 1000, exe: undefined });
    aside.learn(exec(100n, BAD, { uid: 0, euid: 1000 }));
    expect(aside.since(150)).toEqual({});
  });

  it("is not known of one that may take another", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: undefined });
    learn(exec(100n, BAD, { ...asAnn, ids: { permitted: CAP_SETUID } }));
    expect(since(150)).toEqual({});
  });

  it("is known over an exec, and of what it forked", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: undefined });
    learn(execRecord({ pid: 9, startNs: 0n, timeNs: 10n, ...asAnn, execId: 3, file: BAD }));
    learn(forkRecord({ ...header(100n, { ...asAnn, execId: 3 }), ppid: 9, parentStartNs: 0n }));
    learn(exec(200n, QUIET, { ...asAnn, execId: 4 }));
    expect(since(50)).toEqual({ uid: 1000 });
  });

  it("is not known of what was forked after an exec that was not told", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: undefined });
    learn(execRecord({ pid: 9, startNs: 0n, timeNs: 10n, ...asAnn, execId: 3, file: BAD }));
    learn(forkRecord({ ...header(100n, { ...asAnn, execId: 4 }), ppid: 9, parentStartNs: 0n }));
    expect(since(120)).toEqual({});
    learn(exec(200n, QUIET, { ...asAnn, execId: 5 }));
    expect([since(150), since(200)]).toEqual([{}, { uid: 1000 }]);
  });

  it("is not known after an exec that was not told, though it is the same user's", () => {
    const { learn, since } = createWorld({ uid: 1000, exe: QUIET });
    learn(exec(100n, BAD, { ...asAnn, execId: 3 }));
    expect(since(150)).toEqual({});
    const same = createWorld({ uid: 1000, exe: BAD });
    same.learn(exec(100n, BAD, { ...asAnn, execId: 3 }));
    // What it forks tells that it has executed something.
    const child = { pid: 9, startNs: 20_000_000n, timeNs: 120n, execId: 4 };
    same.learn(forkRecord({ ...child, ...asAnn, ppid: PID, parentStartNs: START }));
    expect(same.since(150)).toEqual({});
  });

  it("is not a parent's that took its user after the fork, or before it without an exec", () => {
    const late = createWorld({ uid: 1000, exe: undefined });
    late.learn(execRecord({ pid: 9, startNs: 0n, timeNs: 150n, ...asAnn, file: BAD }));
    late.learn(forkRecord({ ...header(100n, asAnn), ppid: 9, parentStartNs: 0n }));
    expect(late.since(120)).toEqual({});
    const before = createWorld({ uid: 1000, exe: undefined });
    before.learn(execRecord({ pid: 9, startNs: 0n, timeNs: 10n, file: BAD }));
    before.learn(forkRecord({ ...header(100n, asAnn), ppid: 9, parentStartNs: 0n }));
    expect(before.since(120)).toEqual({});
  });
});
