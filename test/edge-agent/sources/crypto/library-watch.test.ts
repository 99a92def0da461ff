import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Libc, loadLibc, O_NONBLOCK, O_PATH } from "../../../../src/edge-agent/libc.ts";
import {
  type AttachedLibraries,
  type AttachOutcome,
  freeSites,
  roomFault,
} from "../../../../src/edge-agent/sources/crypto/attached-libraries.ts";
import type { MappedFile } from "../../../../src/edge-agent/sources/crypto/crypto-lines.ts";
import {
  type ExecutableMapping,
  executableMappings,
} from "../../../../src/edge-agent/sources/crypto/mapped-files.ts";
import type { KnownLibrary } from "../../../../src/edge-agent/sources/crypto/known-libraries.ts";
import { createLibraryNotices } from "../../../../src/edge-agent/sources/crypto/library-notices.ts";
import { createUnattachedFiles } from "../../../../src/edge-agent/sources/crypto/unattached-files.ts";
import { createLibraryWatch } from "../../../../src/edge-agent/sources/crypto/library-watch.ts";

const folder = mkdtempSync(join(tmpdir(), "probity-watch-"));
afterAll(() => rmSync(folder, { recursive: true }));
const PROVIDER = "crypto_auditing";

function libraryAt(path: string, number = 1): KnownLibrary {
  const rest = { identity: "0:0 1 1.0 1", origin: "", provider: PROVIDER, folder: "/", sites: [1] };
  return { number, path, ...rest };
}

/** A watch over libraries that are attached as `attach` says, without a kernel. */
function createRig(options: {
  readonly libraries?: readonly string[];
  readonly discover?: boolean;
  readonly libc?: Libc;
  readonly attached?: readonly KnownLibrary[];
  readonly attach?: AttachedLibraries["attach"];
  readonly reserve?: AttachedLibraries["reserve"];
}) {
  let nowUs = 1_000;
  const notices = createLibraryNotices(() => nowUs);
  const watch = createLibraryWatch({
    attached: {
      attach: options.attach ?? ((): AttachOutcome => ({ state: "none" })),
      detach: () => undefined,
      reserve: options.reserve ?? (() => undefined),
      attached: () => options.attached ?? [],
      [Symbol.dispose]: () => undefined,
    },
    libc: options.libc ?? loadLibc(),
    notices,
    nowUs: () => nowUs,
  });
  const { libraries = [], discover = false } = options;
  watch.configure({ libraries, discover, provider: PROVIDER });
  return { watch, notices, at: (us: number) => void (nowUs = us) };
}

describe("libraries that are looked for", () => {
  it("are never waited for, whatever stands at a path by now", async () => {
    const pipe = join(folder, "libpipe.so");
    execFileSync("mkfifo", [pipe]);
    const direct = loadLibc();
    const open: Libc["open"] = (path, flags) => {
      const waits = path === pipe && (flags & (O_NONBLOCK | O_PATH)) === 0;
      if (waits) throw new Error("nobody writes to the pipe, ever");
      return direct.open(path, flags);
    };
    const { watch, notices } = createRig({
      libraries: [pipe],
      libc: { ...direct, open },
      attached: [libraryAt(pipe)],
      attach: () => ({ state: "unreadable", reason: "it is no regular file" }),
    });
    watch.attachConfigured();
    await watch.scan(new AbortController().signal);
    expect(notices.lines().map(({ fields }) => fields).join()).toContain("it is no regular file");
  });

  describe("that a process maps", () => {
    const child = spawn("sleep", ["600"], { stdio: "ignore" });
    afterAll(() => void child.kill());
    const pid = child.pid ?? 0;
    let file: MappedFile;
    let path: string;
    beforeAll(async () => {
      const isSleep = (each: ExecutableMapping) => each.path.endsWith("/sleep");
      let found: ExecutableMapping | undefined;
      while (found === undefined) {
        found = executableMappings(pid)?.find(isSleep);
        await new Promise(setImmediate);
      }
      path = found.path;
      file = { pid, ...found, generation: 7, sizeBytes: 100, timeUs: 500 };
    });
    const lossesOf = (rig: ReturnType<typeof createRig>) =>
      rig.notices.losses().map(({ reason, fromUs, toUs }) => ({ reason, fromUs, toUs }));
    const attachedAt = (isReplaced = false): AttachOutcome => ({
      ...{ state: "attached", library: libraryAt(path), faults: [], isReplaced },
    });
    const late = () => `processes had "${path}" mapped before its probes were attached`;

    it("before they were attached by their path tell the time until then as a gap, once", () => {
      const outcomes: AttachOutcome[] = [attachedAt(), {
        state: "known",
        library: libraryAt(path),
      }];
      const rig = createRig({
        libraries: [path],
        attach: () => outcomes.shift() ?? { state: "known", library: libraryAt(path) },
      });
      rig.watch.attachConfigured();
      expect(lossesOf(rig)).toEqual([]);
      rig.watch.mapped(file);
      rig.watch.step();
      expect(lossesOf(rig)).toEqual([{ reason: late(), fromUs: 500, toUs: 1_000 }]);
      rig.watch.mapped(file);
      rig.watch.step();
      expect(lossesOf(rig)).toEqual([]);
    });

    it("and that were attached before have no gap", () => {
      const outcomes = [attachedAt()];
      const attach = (): AttachOutcome =>
        outcomes.shift() ?? { state: "known", library: libraryAt(path) };
      const rig = createRig({ libraries: [path], attach });
      rig.watch.attachConfigured();
      rig.watch.mapped({ ...file, timeUs: 2_000 });
      rig.at(3_000);
      rig.watch.step();
      expect(outcomes).toEqual([]);
      expect(lossesOf(rig)).toEqual([]);
    });

    it("and that are changed in place tell the moment in which they were attached anew", () => {
      const rig = createRig({ libraries: [path], attach: () => attachedAt(true) });
      rig.watch.attachConfigured();
      expect(lossesOf(rig)).toEqual([{ reason: late(), fromUs: 1_000, toUs: 1_000 }]);
    });

    it("and leave before they are looked at are a gap, and known since then", () => {
      const gone = { ...file, pid: 2 ** 22 + 1 };
      const rig = createRig({ discover: true, attach: () => attachedAt() });
      rig.watch.mapped({ ...gone, inode: 1, timeUs: 400 });
      rig.watch.mapped({ ...gone, timeUs: 300 });
      for (let step = 0; step < 8; step += 1) rig.watch.step();
      rig.watch.mapped(file);
      rig.watch.step();
      expect(lossesOf(rig)).toEqual([{ reason: late(), fromUs: 300, toUs: 1_000 }]);
    });

    it("and are never seen again are told as a gap at the next look, once", async () => {
      const rig = createRig({ discover: true });
      rig.watch.mapped({ ...file, pid: 2 ** 22 + 1, inode: 1, timeUs: 400 });
      for (let step = 0; step < 8; step += 1) rig.watch.step();
      const reason = "a file was mapped by a process that ended before it was looked at";
      for (const expected of [[{ reason, fromUs: 400, toUs: 1_000 }], []]) {
        await rig.watch.scan(new AbortController().signal);
        expect(lossesOf(rig)).toEqual(expected);
      }
    });
  });

  describe("and cannot be attached although a process has them mapped", () => {
    // By a name of its own: others may have files of that of the machine mapped, in containers too.
    const sleeper = join(folder, `sleeper-${process.pid}`);
    copyFileSync("/usr/bin/sleep", sleeper);
    const child = spawn(sleeper, ["600"], { stdio: "ignore" });
    afterAll(() => void child.kill());
    const reason = "it is a file of 32 bits, whose probes cannot be attached";
    it("are a gap as long as that is so, at each look, and an event once", async () => {
      let outcome: AttachOutcome = { state: "fault", reason };
      const rig = createRig({ libraries: [sleeper], attach: () => outcome });
      rig.at(2_000);
      const scan = () => rig.watch.scan(new AbortController().signal);
      while (rig.notices.lines().length === 0) await scan();
      const seen = () => rig.notices.losses().at(-1);
      const expected = `the probes of "${sleeper}" are not attached: ${reason}`;
      expect(seen()).toMatchObject({ class: "unattached", reason: expected, toUs: 2_000 });
      rig.at(3_000);
      await scan();
      expect(seen()).toMatchObject({ reason: expected, fromUs: 2_000, toUs: 3_000 });
      expect(rig.notices.lines()).toEqual([]);
      // There is room for it at last.
      outcome = {
        state: "attached",
        library: libraryAt(sleeper),
        faults: [],
        isReplaced: false,
      };
      rig.at(4_000);
      await scan();
      expect(seen()).toMatchObject({
        reason: `processes had "${sleeper}" mapped before its probes were attached`,
        ...{ fromUs: 3_000, toUs: 4_000 },
      });
      rig.at(5_000);
      await scan();
      expect(seen()).toBeUndefined();
    });

    it("are told together, and end when nobody has them", () => {
      const told: { reason: string; fromUs: number; toUs: number }[] = [];
      const files = createUnattachedFiles({
        fault: () => undefined,
        unattached: (why, span) => void told.push({ reason: why, ...span }),
      });
      for (let at = 0; at < 2_000; at += 1) {
        files.found(`key ${at}`, { path: `/file-${at}`, reason, sinceUs: 5_000 - at });
      }
      expect(files.tell(9_000)).toHaveLength(1_024);
      expect(told).toEqual([{
        reason: `the probes of 1024 files, "/file-0" is one, are not attached: ${reason}`,
        ...{ fromUs: 3_001, toUs: 9_000 },
      }]);
      files.seen("key 7");
      files.tell(10_000);
      expect(told.at(-1)).toEqual({
        reason: `the probes of "/file-7" are not attached: ${reason}`,
        ...{ fromUs: 9_000, toUs: 10_000 },
      });
      files.tell(11_000);
      expect(told).toHaveLength(2);
    });
  });

  it("tell all gaps, those that find no room together", () => {
    const notices = createLibraryNotices(() => 0);
    for (let at = 0; at < 300; at += 1) {
      notices.late(libraryAt(`/library-${at}`), { fromUs: 1_000 - at, toUs: 2_000 + at });
    }
    const losses = notices.losses();
    expect(losses).toHaveLength(256);
    expect(losses.at(-1)).toMatchObject({ fromUs: 701, toUs: 2_299 });
  });

  it("leave a quarter of the room to those that the configuration names", () => {
    const of = (sites: number) => ({ sites: Array.from({ length: sites }, (_, at) => at) });
    const many = (count: number, sites: number) => Array.from({ length: count }, () => of(sites));
    const refused = expect.stringContaining("384 places");
    expect(roomFault(1024, many(2, 1024))).toBeUndefined();
    expect(roomFault(1, many(3, 1024))).toEqual(refused);
    expect(roomFault(1, many(383, 1))).toBeUndefined();
    expect(roomFault(1, many(384, 1))).toEqual(refused);
  });

  it("say which they are when the configuration names them", () => {
    const reserved: boolean[] = [];
    let numbers: ReadonlySet<number> = new Set();
    const library = libraryAt("/usr/bin/sleep", 5);
    const rig = createRig({
      libraries: ["/usr/bin/sleep"],
      attach: (_fd, _path, { isReserved = false } = {}) => {
        reserved.push(isReserved);
        return { state: "known", library };
      },
      reserve: (given) => void (numbers = given),
    });
    rig.watch.attachConfigured();
    expect([reserved, [...numbers]]).toEqual([[true], [5]]);
  });

  it("are given numbers that were not used for longest", () => {
    const isFree = (site: number) => site !== 4;
    expect(freeSites(3, { isFree, after: 2 })).toEqual([3, 5, 6]);
    expect(freeSites(2, { isFree, after: 4095 })).toEqual([1, 2]);
    expect(freeSites(4095, { isFree, after: 0 })).toBeUndefined();
    expect(freeSites(4094, { isFree, after: 17 })).not.toContain(0);
  });
});
