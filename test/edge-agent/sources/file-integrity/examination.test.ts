import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { contentKinds } from "../../../../src/edge-agent/sources/file-integrity/content-kinds.ts";
import {
  type ContentKinds,
  createExaminer,
} from "../../../../src/edge-agent/sources/file-integrity/examination.ts";
import type {
  FileFacts,
  FileLooker,
  FileType,
} from "../../../../src/edge-agent/sources/file-integrity/file-look.ts";
import { openFileState } from "../../../../src/edge-agent/sources/file-integrity/file-state.ts";
import type { FileKind } from "../../../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import type { PendingLook } from "../../../../src/edge-agent/sources/file-integrity/pending-looks.ts";
import { bpfinkLine } from "../../../../src/cli/bpfink-line.ts";
import { recordedEvent } from "../../../../src/client/record.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { compressFrame } from "../../../../src/runtime/zstd.ts";
import { blobOf, fingerprint, KEY } from "./samples.ts";

const folder = mkdtempSync(join(tmpdir(), "probity-examination-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface File {
  readonly inode: number;
  readonly text: string;
  readonly type?: FileType;
}

/** A disk of the files in a map. */
function lookerOf(files: ReadonlyMap<string, File>): FileLooker {
  const factsOf = ({ inode, text, type = "regular" }: File): FileFacts => ({
    handle: `handle ${inode}`,
    device: "8:1",
    inode,
    generation: 1,
    type,
    mode: 0o100644,
    uid: 0,
    gid: 0,
    links: 1,
    sizeBytes: text.length,
    times: `${inode} ${text.length}`,
    changedAtUs: 3,
  });
  return {
    facts(path) {
      const file = files.get(path);
      return file === undefined ? "missing" : factsOf(file);
    },
    look(path) {
      const file = files.get(path);
      if (file === undefined) return Promise.resolve({ state: "missing" });
      const bytes = Buffer.from(file.text);
      return Promise.resolve({
        state: "found",
        facts: factsOf(file),
        content: { sha256: file.text, bytes },
      });
    },
  };
}

function lookOf(path: string, more: Partial<PendingLook> = {}): PendingLook {
  return {
    path,
    hows: ["write"],
    writers: [],
    oldPath: undefined,
    newPath: undefined,
    isOpen: false,
    origin: { kind: "live" },
    attempt: 0,
    ...more,
  };
}

/** An examiner over a disk, whose findings are written as the engine writes them. */
function openExamination(kinds: ContentKinds = contentKinds(KEY), kind: FileKind = "accounts") {
  const files = new Map<string, File>();
  const state = openFileState(join(folder, `${randomBytes(6).toString("hex")}.db`));
  const examiner = createExaminer({
    state,
    looker: lookerOf(files),
    kinds,
    kindOf: () => kind,
    isCanary: (path) => path === "/data/integrity.canary",
    clock: systemClock,
    onBytes: () => undefined,
  });
  return {
    files,
    state,
    /** Parsed lines of a look. */
    async told(path: string, more: Partial<PendingLook> = {}) {
      const change = await examiner.examine(lookOf(path, more));
      if (change === undefined || change === "retry") return [];
      state.write(change);
      return change.lines.map(({ fields }) => JSON.parse(`{${fields}`));
    },
    [Symbol.dispose]: () => state[Symbol.dispose](),
  };
}

describe("kept content", () => {
  it("that grew too large in being reduced is missing, and changes go on being told", async () => {
    const plain = contentKinds(KEY);
    const grown = (bytes: Uint8Array): Uint8Array =>
      bytes.byteLength > 10 ? new Uint8Array(9 * 1024 * 1024) : bytes;
    using disk = openExamination({ ...plain, reduce: (bytes) => ({ text: grown(bytes) }) });
    disk.files.set("/etc/passwd", { inode: 1, text: "large as it is" });
    expect(await disk.told("/etc/passwd")).toMatchObject([
      { detail: { diff_missing: "larger than 8388608 bytes as it is kept" } },
    ]);
    expect(disk.state.byPath("/etc/passwd")?.content).toBeUndefined();
    disk.files.set("/etc/passwd", { inode: 1, text: "small" });
    expect(await disk.told("/etc/passwd")).toHaveLength(1);
  });

  it("that cannot be read is missing, of the file itself and of others", async () => {
    using disk = openExamination();
    disk.files.set("/etc/passwd", { inode: 1, text: "root:x:0:0::/root:/bin/sh\n" });
    disk.files.set("/etc/shadow", { inode: 2, text: "root:*:1::::::\n" });
    await disk.told("/etc/passwd");
    await disk.told("/etc/shadow");
    const damage = (path: string, content: Uint8Array): void => {
      const record = disk.state.byPath(path);
      if (record === undefined) throw new Error(`Cannot find ${path}`);
      disk.state.write({ put: [{ ...record, content }], remove: [], lines: [] });
    };
    damage("/etc/shadow", await compressFrame(new Uint8Array(9 * 1024 * 1024)));
    disk.files.set("/etc/passwd", { inode: 1, text: "root:x:0:0::/root:/bin/bash\n" });
    const [change] = await disk.told("/etc/passwd");
    expect(change).toMatchObject({ detail: { semantic: [{ what: "user/shell" }] } });
    damage("/etc/passwd", Buffer.from("no frame"));
    disk.files.set("/etc/passwd", { inode: 1, text: "root:x:0:0::/root:/bin/zsh\n" });
    expect(await disk.told("/etc/passwd")).toMatchObject([
      { detail: { diff_missing: "what was kept cannot be read" } },
    ]);
  });
});

describe("an account file that is moved", () => {
  const passwd = "root:x:0:0::/root:/bin/sh\nbob:x:9:9::/home/bob:/bin/sh\n";
  const [from, to] = ["/home/bob/.ssh/authorized_keys", "/root/.ssh/authorized_keys"];
  const blob = blobOf("ssh-ed25519", 32);
  const key = `ssh-ed25519 ${fingerprint(blob)}`;
  const bpfinkOf = (event: object) =>
    bpfinkLine(recordedEvent({ ...event, id: "0123abcd-1-0" }), { version: "1" });

  it("adds its keys where it comes to, and takes them from where it was", async () => {
    using disk = openExamination();
    disk.files.set("/etc/passwd", { inode: 1, text: passwd });
    disk.files.set(from, { inode: 2, text: `ssh-ed25519 ${blob}\n` });
    await disk.told("/etc/passwd");
    await disk.told(from);
    disk.files.set(to, { inode: 2, text: `ssh-ed25519 ${blob}\n` });
    disk.files.delete(from);
    const come = await disk.told(to, { hows: ["rename"], oldPath: from });
    expect(come).toMatchObject([
      {
        topic: "file/change",
        severity: "high",
        path: to,
        old_path: from,
        detail: { how: "rename", semantic: [{ what: "key/add", who: "root", after: key }] },
      },
      { topic: "account/key/add", severity: "high", detail: { target: "root", after: key } },
    ]);
    expect(come[0]?.detail.sha256_before).toBe(come[0]?.detail.sha256_after);
    const rootState = { user: "root", passwd: "", keys: [fingerprint(blob)] };
    expect(bpfinkOf(come[0])).toMatchObject({ message: "Users Modified", add: [rootState] });
    const gone = await disk.told(from, { hows: ["rename"], newPath: to });
    expect(gone).toMatchObject([
      {
        topic: "file/change",
        severity: "high",
        path: from,
        detail: {
          how: "rename",
          new_path: to,
          semantic: [{ what: "key/remove", who: "bob", before: key }],
        },
      },
      { topic: "account/key/remove", detail: { target: "bob", before: key } },
    ]);
    expect(bpfinkOf(gone[0])).toMatchObject({
      users: [rootState],
      add: [],
      del: [{ user: "bob", keys: [fingerprint(blob)] }],
    });
    expect(disk.state.files).toBe(2);
  });

  it("takes its keys along to where no policy reaches, and when a directory has its name", async () => {
    for (const isDirectory of [false, true]) {
      using disk = openExamination();
      disk.files.set("/etc/passwd", { inode: 1, text: passwd });
      disk.files.set(from, { inode: 2, text: `ssh-ed25519 ${blob}\n` });
      await disk.told("/etc/passwd");
      await disk.told(from);
      if (isDirectory) disk.files.set(from, { inode: 3, text: "", type: "directory" });
      else disk.files.delete(from);
      const gone = await disk.told(from, { hows: ["rename"], newPath: "/tmp/x" });
      expect(gone).toMatchObject([
        {
          topic: "file/change",
          detail: {
            type: isDirectory ? "directory" : "regular",
            semantic: [{ what: "key/remove", who: "bob", before: key }],
          },
        },
        { topic: "account/key/remove", detail: { target: "bob", before: key } },
      ]);
    }
  });
});

describe("the agent's own canary", () => {
  it("is marked and has no line of bpfink's, and another file of its name has one", async () => {
    using disk = openExamination(contentKinds(KEY), "digest");
    const lineOf = async (path: string) => {
      disk.files.set(path, { inode: 1, text: "text" });
      const [event] = await disk.told(path);
      return {
        mark: event.detail.canary,
        line: bpfinkLine(recordedEvent({ ...event, id: "0123abcd-1-0" }), { version: "1" }),
      };
    };
    const own = await lineOf("/data/integrity.canary");
    expect(own).toEqual({ mark: true, line: undefined });
    const other = await lineOf("/etc/integrity.canary");
    expect(other.mark).toBeUndefined();
    expect(other.line).toMatchObject({ file: "/etc/integrity.canary" });
  });
});
