import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  createWatchedHandles,
  siftContentReports,
} from "../../../../src/edge-agent/sources/file-integrity/content-reports.ts";
import type { FileRecord } from "../../../../src/edge-agent/sources/file-integrity/file-record.ts";
import { openFileState } from "../../../../src/edge-agent/sources/file-integrity/file-state.ts";
import { createHotFiles } from "../../../../src/edge-agent/sources/file-integrity/hot-files.ts";
import {
  packageLine,
  strayLine,
} from "../../../../src/edge-agent/sources/file-integrity/package-lines.ts";
import {
  createPendingLooks,
  PENDING_MAX,
  QUIET_MS,
  WAIT_MAX_MS,
  type Word,
} from "../../../../src/edge-agent/sources/file-integrity/pending-looks.ts";
import {
  BASELINE,
  createReconciliation,
} from "../../../../src/edge-agent/sources/file-integrity/reconciliation.ts";
import { loadLibc } from "../../../../src/edge-agent/libc.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { parseEntries } from "../../../../src/edge-agent/sources/file-integrity/tree-walk.ts";
import { createWatchedPlaces } from "../../../../src/edge-agent/sources/file-integrity/watch-policies.ts";
import { reportOf } from "./samples.ts";

const folder = mkdtempSync(join(tmpdir(), "probity-engine-"));
afterAll(() => rmSync(folder, { recursive: true }));

function handleOf(inode: number): string {
  const handle = Buffer.alloc(24, 7);
  handle.writeUInt32LE(8, 8);
  handle.writeUInt32LE(1, 12);
  handle.writeUInt32LE(inode, 16);
  return handle.toString("latin1");
}

describe("reports about contents", () => {
  it("are told of watched files alone, whatever number of others comes with them", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(), { maxLength: 3000 }),
        fc.array(fc.nat(), { maxLength: 50 }),
        (watched, others) => {
          const handles = createWatchedHandles();
          for (const inode of watched) handles.add(handleOf(inode));
          const all = [...watched.slice(0, 100), ...others];
          const bytes = Buffer.concat(all.map((inode) => reportOf(8, inode, handleOf(inode))));
          const sifted = siftContentReports(bytes, handles);
          expect(sifted.watched.length + sifted.others).toBe(all.length);
          expect(sifted.watched.map(({ handle }) => handle)).toEqual(
            all.filter((inode) => watched.includes(inode)).map(handleOf),
          );
          expect(handles.size).toBe(watched.length);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("name pid, close, attribute and overflow", () => {
    const handles = createWatchedHandles();
    handles.add(handleOf(5));
    const overflow = reportOf(0x4000, 0, "").subarray(0, 24);
    overflow.writeUInt32LE(24, 0);
    const bytes = Buffer.concat([
      reportOf(0x8, 42, handleOf(5)),
      overflow,
      reportOf(0xc, 43, handleOf(5)),
    ]);
    expect(siftContentReports(bytes, handles)).toEqual({
      watched: [
        { pid: 42, handle: handleOf(5), isClosed: true, isAttribute: false },
        { pid: 43, handle: handleOf(5), isClosed: true, isAttribute: true },
      ],
      others: 0,
      overflows: 1,
    });
  });

  it("that make no sense are refused or passed over, never read beyond", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        siftContentReports(Buffer.from(bytes), createWatchedHandles());
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }));
  });
});

describe("entries of a directory", () => {
  it("are read from whatever bytes come, within them", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      for (const { name } of parseEntries(Buffer.from(bytes), bytes.length)) {
        expect(name.length).toBeLessThan(bytes.length);
      }
    }));
  });
});

const word: Word = { how: "write", writer: undefined };

describe("looks that wait", () => {
  it("wait for quiet, but not for ever", () => {
    const pending = createPendingLooks(() => undefined);
    pending.add("/a", word, 0);
    expect(pending.due(QUIET_MS - 1)).toEqual([]);
    expect(pending.due(QUIET_MS)).toMatchObject([{ path: "/a", hows: ["write"] }]);
    for (let ms = 1000; ms < 1000 + WAIT_MAX_MS; ms += 10) pending.add("/a", word, ms);
    expect(pending.due(1000 + WAIT_MAX_MS)).toHaveLength(1);
    expect(pending.length).toBe(0);
  });

  it("take names that something was moved to first, and keep what was said until it is looked at", () => {
    const pending = createPendingLooks(() => undefined);
    pending.add("/old", { ...word, how: "rename", newPath: "/new" }, 0);
    pending.add("/new", { ...word, how: "rename", oldPath: "/old" }, 0);
    pending.add("/new", { how: "mmap", writer: undefined, isOpen: true }, 0);
    const [first, second] = pending.rest();
    expect(first).toMatchObject({
      path: "/new",
      oldPath: "/old",
      hows: ["mmap", "rename"],
      isOpen: true,
    });
    expect(second).toMatchObject({ path: "/old", newPath: "/new" });
  });

  it("at costly files come seldom", () => {
    const pending = createPendingLooks(() => undefined);
    pending.spent("/big", 500, 0);
    pending.add("/big", word, 1000);
    expect(pending.due(9_999)).toEqual([]);
    expect(pending.due(10_000)).toHaveLength(1);
  });

  it("of one path remember 16 writers, and who was seen writing before who closed", () => {
    const pending = createPendingLooks(() => undefined);
    const actor = { columns: "", name: "", escaped: [] };
    const by = (pid: number, isSeenWriting: boolean): Word => ({
      how: "write",
      writer: { pid, actor, ancestors: undefined, how: "write", atUs: pid, isSeenWriting },
    });
    pending.add("/a", by(1, true), 0);
    for (let pid = 1; pid <= 40; pid += 1) pending.add("/a", by(pid, false), 0);
    const [look] = pending.rest();
    expect(look?.writers).toHaveLength(16);
    expect(look?.writers.find(({ pid }) => pid === 1)?.isSeenWriting).toBe(true);
  });
});

describe("limits", () => {
  it("of paths that wait: another is dropped and told, what is said of one that waits is kept", () => {
    let dropped = 0;
    const pending = createPendingLooks(() => void (dropped += 1));
    for (let number = 0; number < PENDING_MAX; number += 1) pending.add(`/${number}`, word, 0);
    expect(dropped).toBe(0);
    pending.add("/another", word, 0);
    pending.add("/0", { ...word, how: "mmap" }, 0);
    expect([dropped, pending.length, pending.has("/another")]).toEqual([1, PENDING_MAX, false]);
    expect(pending.rest()[0]?.hows).toEqual(["mmap", "write"]);
    pending.add("/another", word, 0);
    expect(pending.has("/another")).toBe(true);
  });

  it("of directories that were asked for: beyond them everything is compared", () => {
    using state = openFileState(join(folder, "asked.db"));
    state.setSetting(BASELINE, "text");
    const reconciliation = createReconciliation({
      state,
      looker: { facts: () => "missing", look: () => Promise.resolve({ state: "missing" }) },
      places: createWatchedPlaces({
        policies: {
          kindOf: () => undefined,
          mayContain: () => false,
          roots: ["/a"],
          text: "text",
          rulesText: "",
        },
        pathOf: (path) => path,
        dataDirectory: "/data",
        canaryPath: "/data/canary",
      }),
      pending: createPendingLooks(() => undefined),
      libc: loadLibc(),
      clock: systemClock,
      adopt: () => Promise.resolve(),
      writeAdopted: () => undefined,
      forget: () => undefined,
      wasWatched: () => true,
      onRecord: () => undefined,
    });
    for (let number = 0; number < 256; number += 1) reconciliation.requestBelow(`/${number}`, word);
    expect(reconciliation.isDone).toBe(true);
    reconciliation.requestBelow("/another", word);
    expect(reconciliation.isDone).toBe(false);
  });
});

describe("files that stay open", () => {
  it("are due ever less often, until they are closed", () => {
    const hot = createHotFiles();
    hot.note("/a", 0);
    const dues: number[] = [];
    for (let ms = 0; ms < 20_000; ms += 100) if (hot.due(ms).length > 0) dues.push(ms);
    expect(dues).toEqual([1100, 3300, 7700, 16_500]);
    hot.closed("/a");
    expect(hot.due(1e9)).toEqual([]);
    for (let number = 0; number < 5000; number += 1) hot.note(`/${number}`, 0);
    expect(hot.size).toBe(1024);
  });
});

describe("the state of files", () => {
  const record = (path: string, content: string): FileRecord => ({
    path,
    kind: "content-diff",
    handle: "handle\xff\x00",
    device: "8:1",
    inode: 7,
    generation: 1,
    type: "regular",
    mode: 0o100644,
    uid: 0,
    gid: 0,
    links: 1,
    sizeBytes: content.length,
    times: "1 2",
    changedAtUs: 3,
    sha256: undefined,
    content: new TextEncoder().encode(content),
    contentMissing: undefined,
    lookedAtUs: 4,
    isHot: false,
  });
  const line = (name: string) => ({ fields: `"a":"${name}"}`, timeUs: 1 });

  it("survives with the lines that tell of it, and forgets them when they are durable", () => {
    const path = join(folder, "a.db");
    const name = "/\n\xff/x";
    {
      using state = openFileState(path);
      state.write({ put: [record(name, "1")], remove: [], lines: [line("1"), line("2")] });
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(state.contentBytes).toBe(1);
    }
    using state = openFileState(path);
    expect(state.byPath(name)).toMatchObject(record(name, "1"));
    expect(state.pathsOf("handle\xff\x00")).toEqual([name]);
    expect(state.pathsOfInode("8:1", 7)).toEqual([name]);
    expect(state.below("/\n\xff", 10)).toEqual([name]);
    const [first, second] = state.pending();
    expect([first?.fields, second?.fields]).toEqual([line("1").fields, line("2").fields]);
    state.release(first?.number ?? 0);
    expect(state.pending()).toEqual([second]);
    state.write({ put: [], remove: [name], lines: [] });
    expect([state.files, state.contentBytes, state.byPath(name)]).toEqual([0, 0, undefined]);
  });

  it("holds lines back, and tells them after a restart", () => {
    using state = openFileState(join(folder, "b.db"));
    const numbers = state.hold({ put: [], remove: [], lines: [line("1"), line("2")] });
    expect(state.pending()).toEqual([]);
    state.replace(numbers.slice(0, 1), [line("instead")]);
    state.unholdAll();
    expect(state.pending().map(({ fields }) => fields)).toEqual([
      line("instead").fields,
      line("2").fields,
    ]);
  });

  it("that is damaged is put aside, and said to be", () => {
    const path = join(folder, "c.db");
    writeFileSync(path, "no database, but longer than a header".repeat(10));
    using state = openFileState(path);
    expect(state.wasDamaged).toBe(true);
    expect(state.files).toBe(0);
    expect(statSync(`${path}.damaged`).size).toBeGreaterThan(0);
  });
});

describe("changes of packages", () => {
  const told = (path: string, timeUs: number) => ({
    timeUs,
    fields: JSON.stringify({
      time: "x",
      exe: "/usr/bin/dpkg",
      topic: "file/change",
      severity: "info",
      path,
      message: "m",
      detail: { how: "rename", ancestors: [] },
    }).slice(1),
  });

  it("are one line with count and paths", () => {
    const owner = { package: "sample", version: "1", arch: "all" };
    const lines = Array.from({ length: 150 }, (_each, number) => told(`/f${number}`, number));
    const [line] = packageLine(lines, { owner, manager: "dpkg" });
    const event = JSON.parse(`{${line?.fields}`);
    expect(event).toMatchObject({
      topic: "file/change",
      exe: "/usr/bin/dpkg",
      message: "dpkg changed 150 files of sample 1",
      detail: { package: "sample", count: 150, manager: "dpkg" },
    });
    expect(event.path).toBeUndefined();
    expect(event.detail.paths).toHaveLength(100);
    expect(line?.timeUs).toBe(149);
  });

  it("that are no package's are grave", () => {
    expect(JSON.parse(`{${strayLine(told("/a", 1)).fields}`).severity).toBe("high");
  });
});

describe("watched places", () => {
  it("lead from where things are to how policies name them, and leave the data folder out", () => {
    let target = "/real";
    const places = createWatchedPlaces({
      policies: {
        kindOf: (path) =>
          path.startsWith("/link/") || path.startsWith("/data/") ? "digest" : undefined,
        mayContain: () => true,
        roots: ["/link", "/data"],
        text: "",
        rulesText: "",
      },
      pathOf: (path) =>
        path === "/link" ? target : path === "/" || path === "/data" ? path : undefined,
      dataDirectory: "/data",
      canaryPath: "/data/canary",
    });
    expect(places.namesOf("/real/a/b")).toEqual(["/link/a/b"]);
    expect(places.namesOf("/really/a")).toEqual([]);
    expect(places.kindOf("/data/x")).toBeUndefined();
    expect(places.kindOf("/data/canary")).toBe("digest");
    expect(places.isAboveRoot("/real")).toBe(true);
    target = "/other";
    places.refresh();
    expect(places.namesOf("/real/a")).toEqual([]);
    expect(places.namesOf("/other/a")).toEqual(["/link/a"]);
  });
});
