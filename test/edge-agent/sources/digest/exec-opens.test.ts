import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createExecOpens,
  type Executed,
  PROCESSES_MAX,
} from "../../../../src/edge-agent/sources/process/digest/exec-opens.ts";
import type { FileDigest } from "../../../../src/edge-agent/sources/process/digest/file-digests.ts";

function fileOf(inodeLow: number, device = "8:1"): FileDigest {
  return {
    version: {
      key: `${device} ${inodeLow}`,
      device,
      inodeLow,
      inodeHigh: 0,
      sizeBytes: 1,
      ctimeUs: 0,
      mtimeUs: 0,
      isRegular: true,
    },
    outcome: undefined,
    onOutcome: () => undefined,
  };
}

const execOf = (inodeLow: number, more: Partial<Executed> = {}): Executed => ({
  pid: 7,
  device: "8:1",
  inodeLow,
  inodeHigh: 0,
  timeNs: 100,
  ...more,
});

const [image, loader, script, shell] = [1, 2, 3, 4].map((inode) => fileOf(inode));
if (image === undefined || loader === undefined || script === undefined || shell === undefined) {
  throw new Error("no files");
}
const noted = (file: FileDigest, seenNs = 50) => ({ file, name: "name", seenNs });

describe("files that were opened for execution", () => {
  it("are those of the process and inode of an exec", () => {
    const opens = createExecOpens();
    opens.note(7, noted(image));
    opens.note(7, noted(loader));
    expect(opens.take(execOf(1, { pid: 8 }))).toBeUndefined();
    expect(opens.take(execOf(5))).toBeUndefined();
    expect(opens.take(execOf(1, { inodeHigh: 1 }))).toBeUndefined();
    expect(opens.take(execOf(1))).toEqual({ image, before: [], isMerged: false });
  });

  it("are told with what was opened before them in the same exec", () => {
    const opens = createExecOpens();
    for (const file of [shell, loader, script, shell, loader]) opens.note(7, noted(file));
    expect(opens.take(execOf(4))?.before).toEqual([]);
    expect(opens.take(execOf(4))?.before.map(({ file }) => file)).toEqual([loader, script]);
  });

  it("are of an earlier exec only when the kernel merged the two reports", () => {
    const opens = createExecOpens();
    opens.note(7, noted(image, 150));
    opens.note(7, noted(script, 150));
    expect(opens.take(execOf(1, { timeNs: 100 }))?.isMerged).toBe(false);
    const merged = opens.take(execOf(1, { timeNs: 120 }));
    expect(merged).toMatchObject({ image, isMerged: true });
    expect(merged?.before.map(({ file }) => file)).toEqual([script]);
    // It was looked at before this exec: a file that was changed since would have been reported anew.
    expect(opens.take(execOf(1, { timeNs: 160 }))).toBeUndefined();
  });

  it("may have another device than the record's, but the same one goes first", () => {
    const opens = createExecOpens();
    const layer = fileOf(1, "8:2");
    opens.note(7, noted(layer));
    opens.note(7, noted(image));
    expect(opens.take(execOf(1))?.image).toBe(image);
    opens.note(9, noted(layer));
    expect(opens.take(execOf(1, { pid: 9, device: "0:40" }))?.image).toBe(layer);
  });

  it("are forgotten with the processes that executed least recently", () => {
    const opens = createExecOpens();
    for (let pid = 1; pid <= PROCESSES_MAX + 1; pid += 1) opens.note(pid, noted(image));
    expect(opens.take(execOf(1, { pid: 1 }))).toBeUndefined();
    expect(opens.take(execOf(1, { pid: 2 }))?.image).toBe(image);
  });

  it("are found one after the other, however many each process opens", () => {
    const exec = fc.record({
      pid: fc.integer({ min: 1, max: 3 }),
      inode: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(fc.property(fc.array(exec, { maxLength: 60 }), (execs) => {
      const opens = createExecOpens();
      for (const { pid, inode } of execs) {
        const file = fileOf(inode);
        opens.note(pid, noted(script, 0));
        opens.note(pid, noted(file, 0));
        const files = opens.take(execOf(inode, { pid, timeNs: 1 }));
        // The file itself, or the script, when that is what was executed.
        expect(files?.image.version.inodeLow).toBe(inode);
        if (inode !== 3) expect(files?.image).toBe(file);
      }
    }));
  });
});
