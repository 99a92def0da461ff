import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadLibc } from "../../../../src/edge-agent/libc.ts";
import { contentKinds } from "../../../../src/edge-agent/sources/file-integrity/content-kinds.ts";
import type { FileRecord } from "../../../../src/edge-agent/sources/file-integrity/file-record.ts";
import { openFileState } from "../../../../src/edge-agent/sources/file-integrity/file-state.ts";
import type {
  HookedFile,
  InodeHit,
} from "../../../../src/edge-agent/sources/file-integrity/inode-hook.ts";
import type { FileKind } from "../../../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import {
  openIntegrityRun,
  type UnfinishedRun,
} from "../../../../src/edge-agent/sources/file-integrity/integrity-run.ts";
import { createNameFeed } from "../../../../src/edge-agent/sources/filesystem/name-feed.ts";
import type { Clock } from "../../../../src/runtime/clock.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { createLog } from "../../../../src/runtime/log.ts";
import { plainPolicies, plainProcesses } from "../../../support/integrity-rig.ts";
import { KEY, reportOf } from "./samples.ts";

const FAN_CLOSE_WRITE = 0x8;
const folder = mkdtempSync(join(tmpdir(), "probity-run-"));
afterAll(() => rmSync(folder, { recursive: true }));

let rigs = 0;
const DPKG_PID = 8;

interface RigOptions {
  readonly kind?: FileKind;
  /** Called with every content that is reduced. */
  readonly onReduce?: (text: string) => void;
}

/** A run over a real folder whose kernel says what the test says, and whose time passes when the test says. */
async function openRig({ onReduce, kind = "content-diff" }: RigOptions = {}) {
  const place = join(folder, String(rigs += 1));
  const [watched, dataDirectory] = [join(place, "watched"), join(place, "data")];
  mkdirSync(watched, { recursive: true });
  mkdirSync(dataDirectory);
  const path = join(watched, "file");
  writeFileSync(path, "1\n");
  const state = openFileState(join(dataDirectory, "agent.db"));
  const told = { closes: [] as Buffer[], hits: [] as InodeHit[] };
  const seen = { watched: [] as number[], unwatched: [] as number[], reduced: [] as string[] };
  let skewMs = 0;
  const clock: Clock = {
    nowUs: () => systemClock.nowUs() + skewMs * 1000,
    elapsedMs: () => systemClock.elapsedMs() + skewMs,
    sleep: systemClock.sleep,
  };
  const kinds = contentKinds(KEY);
  const names = createNameFeed();
  const open = (unfinished?: UnfinishedRun) =>
    openIntegrityRun({
      libc: loadLibc(),
      group: {
        isQuiet: () => told.closes.length === 0,
        read: () => [],
        readBytes: () => told.closes.shift() ?? Buffer.alloc(0),
        refresh: () => undefined,
        filesystemOf: () => undefined,
        watched: [],
        unwatched: [],
        [Symbol.dispose]: () => undefined,
      },
      state,
      hook: {
        watch: ({ inode }: HookedFile) => void seen.watched.push(inode),
        unwatch: ({ inode }: HookedFile) => void seen.unwatched.push(inode),
        isQuiet: () => told.hits.length === 0,
        read: () => told.hits.splice(0),
        settle: () => undefined,
        losses: () => [],
        [Symbol.dispose]: () => undefined,
      },
      names,
      policies: plainPolicies(
        [`${watched}/**`, ...(unfinished === undefined ? [] : [place])],
        kind,
      ),
      packageRoot: place,
      parsePolicies: () => undefined,
      kinds: {
        ...kinds,
        reduce: (bytes, of) => {
          const text = Buffer.from(bytes).toString();
          seen.reduced.push(text);
          onReduce?.(text);
          return kinds.reduce(bytes, of);
        },
      },
      processes: {
        ...plainProcesses,
        actorOf: (pid) => ({
          columns: `"pid":${pid},"exe":"${pid === DPKG_PID ? "/usr/bin/dpkg" : "/bin/x"}",`,
          name: `process ${pid}`,
          escaped: [],
        }),
      },
      dataDirectory,
      canaryPath: join(dataDirectory, "canary"),
      followedUs: unfinished === undefined ? undefined : clock.nowUs(),
      unfinished,
      counts: { submitted: 0, filtered: 0, ringFull: 0 },
      lost: () => undefined,
      clock,
      log: createLog({ level: "error" }),
    });
  let run = open();
  /** The policies change. */
  const replace = async (): Promise<void> => {
    await run.pause();
    const unfinished = run.leave();
    run[Symbol.dispose]();
    run = open(unfinished);
  };
  /** Another agent goes on. */
  const restart = async (): Promise<void> => {
    await run.pause();
    run[Symbol.dispose]();
    run = open();
  };
  const record = (): FileRecord => {
    const found = state.byPath(path);
    if (found === undefined) throw new Error(`Cannot find ${path}`);
    return found;
  };
  /** Lets time pass, and waits until nothing is left to do. */
  const pass = async (ms: number): Promise<void> => {
    skewMs += ms;
    const untilMs = performance.now() + 10_000;
    do {
      if (performance.now() > untilMs) throw new Error("Cannot settle");
      run.round();
      // Looks wait for quiet.
      skewMs += 50;
      await new Promise((resolve) => setTimeout(resolve, 2));
    } while (!isQuiet());
  };
  let quiet = 0;
  const lines: Record<string, unknown>[] = [];
  const isQuiet = (): boolean => {
    lines.push(...run.take().map(({ fields }) => JSON.parse(`{${fields}`)));
    quiet = run.isSettled ? quiet + 1 : 0;
    if (quiet < 3) return false;
    quiet = 0;
    return true;
  };
  const hit = (): void => {
    const { device, inode } = record();
    const writer = {
      pid: 7,
      actor: plainProcesses.actorOf(7),
      ancestors: [],
      how: "write",
      atUs: clock.nowUs(),
      isSeenWriting: true,
    } as const;
    told.hits.push({ device, inode, writer });
  };
  const closed = (pid = 7): void =>
    void told.closes.push(reportOf(FAN_CLOSE_WRITE, pid, record().handle));
  await pass(0);
  return {
    path,
    seen,
    state,
    get run() {
      return run;
    },
    names,
    replace,
    restart,
    lines,
    isWritten: () => state.pending().length > 0,
    /** One round, whose lines nobody takes. */
    step: async (): Promise<void> => {
      skewMs += 50;
      run.round();
      await new Promise((resolve) => setTimeout(resolve, 2));
    },
    record,
    pass,
    hit,
    closed,
    [Symbol.dispose]() {
      run[Symbol.dispose]();
      state[Symbol.dispose]();
    },
  };
}

describe("a file that was written to", () => {
  it("is not open any more when its close comes with the store", async () => {
    using rig = await openRig();
    writeFileSync(rig.path, "2\n");
    rig.hit();
    rig.closed();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: rig.path }]);
    expect(rig.record().isHot).toBe(false);
    const looks = rig.seen.reduced.length;
    await rig.pass(5000);
    expect(rig.seen.reduced).toHaveLength(looks);
  });

  it("and stays open is looked at for ten minutes without news, and no longer", async () => {
    using rig = await openRig();
    writeFileSync(rig.path, "2\n");
    rig.hit();
    await rig.pass(0);
    expect(rig.record().isHot).toBe(true);
    for (let minute = 0; minute < 8; minute += 1) await rig.pass(60_000);
    writeFileSync(rig.path, "3\n");
    // The change is news: another ten minutes.
    for (let minute = 0; minute < 8; minute += 1) await rig.pass(60_000);
    expect(rig.record().isHot).toBe(true);
    writeFileSync(rig.path, "4\n");
    for (let minute = 0; minute < 14; minute += 1) await rig.pass(60_000);
    expect(rig.lines).toHaveLength(3);
    expect(rig.record().isHot).toBe(false);
    const looks = rig.seen.reduced.length;
    for (let minute = 0; minute < 5; minute += 1) await rig.pass(60_000);
    expect(rig.seen.reduced).toHaveLength(looks);
  });
});

describe("a file that takes another's place", () => {
  const replace = (path: string, text: string): void => {
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  };

  it("is looked at again when it changed before anybody listened to it", async () => {
    let path = "";
    using rig = await openRig({
      onReduce: (text) => {
        if (text === "22\n") writeFileSync(path, "333\n");
      },
    });
    path = rig.path;
    replace(path, "22\n");
    rig.run.doubt();
    await rig.pass(0);
    expect(rig.lines.map(({ detail }) => (detail as { diff: string }).diff)).toEqual([
      expect.stringContaining("-1\n+22\n"),
      expect.stringContaining("-22\n+333\n"),
    ]);
  });

  it("is watched by the kernel in its stead", async () => {
    using rig = await openRig();
    const { inode: former } = rig.record();
    replace(rig.path, "22\n");
    rig.run.doubt();
    await rig.pass(0);
    const { inode } = rig.record();
    expect(rig.seen.watched).toContain(former);
    expect(rig.seen.watched.at(-1)).toBe(inode);
    expect(rig.seen.unwatched).toEqual([former]);
  });
});

describe("a file that is moved while nobody tells it", () => {
  it.each([["accounts", 2], ["content-diff", 1]] as const)(
    "is told by %s under %i names",
    async (kind, count) => {
      using rig = await openRig({ kind });
      renameSync(rig.path, `${rig.path}.moved`);
      rig.run.doubt();
      await rig.pass(0);
      expect(rig.lines.map(({ path }) => path)).toEqual(
        [`${rig.path}.moved`, rig.path].slice(0, count),
      );
      expect(rig.state.files).toBe(1);
    },
  );
});

describe("a file that is made while nobody tells it", () => {
  it("is news once everything was compared, also in the first run of all", async () => {
    using rig = await openRig();
    writeFileSync(`${rig.path}.new`, "new\n");
    rig.run.doubt();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: `${rig.path}.new`, detail: { how: "create" } }]);
  });
});

describe("a change of policies", () => {
  it("keeps who wrote to a file that waits for its look", async () => {
    using rig = await openRig();
    writeFileSync(rig.path, "2\n");
    rig.closed();
    rig.run.round();
    await rig.replace();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: rig.path, pid: 7, detail: { how: "write" } }]);
  });

  it("keeps who wrote when that is read after it, before anything was compared", async () => {
    using rig = await openRig();
    await rig.replace();
    writeFileSync(rig.path, "2\n");
    rig.closed();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: rig.path, pid: 7 }]);
    expect(rig.lines).toHaveLength(1);
  });

  it.each([
    ["no agent ran", undefined, { offline: true }],
    ["reports were lost, then as before", 1_700_000_000_000_000, {
      reconciled: { from: "2023-11-14T22:13:20.000000Z", to: expect.any(String) },
    }],
  ])("keeps what a comparison was for that has not ended: %s", async (_, lostUs, detail) => {
    using rig = await openRig();
    writeFileSync(rig.path, "2\n");
    if (lostUs === undefined) await rig.restart();
    else rig.names.lost(lostUs, lostUs);
    await rig.replace();
    await rig.replace();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: rig.path, detail }]);
  });

  it("tells lines that were written down before it", async () => {
    using rig = await openRig();
    writeFileSync(rig.path, "2\n");
    rig.closed();
    const untilMs = performance.now() + 5000;
    while (!rig.isWritten() && performance.now() < untilMs) await rig.step();
    await rig.replace();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: rig.path, pid: 7 }]);
  });

  it("leaves what a package manager writes held until its manifest may be there", async () => {
    using rig = await openRig();
    writeFileSync(rig.path, "2\n");
    rig.closed(DPKG_PID);
    await rig.pass(200);
    await rig.replace();
    await rig.pass(0);
    expect(rig.lines).toEqual([]);
    await rig.run.finish();
    await rig.pass(0);
    expect(rig.lines).toMatchObject([{ path: rig.path, pid: DPKG_PID, severity: "high" }]);
  });
});
