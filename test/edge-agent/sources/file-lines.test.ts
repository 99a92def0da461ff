import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CreatedFile } from "../../../src/edge-agent/created-files.ts";
import { FILE, FLAG } from "../../../src/edge-agent/record-layout.ts";
import {
  createFileDecoder,
  openFlagsText,
} from "../../../src/edge-agent/sources/file/file-lines.ts";
import { createTestContext } from "../../support/decoders.ts";
import { fileRecord, locate } from "../../support/records.ts";
import { type Line, parseLine } from "../../support/source-run.ts";

function lineOf(record: Uint8Array): Line | undefined {
  const decoder = createFileDecoder(createTestContext(), undefined);
  const text = decoder.line(locate(record, { timeUs: 1_000_000 }));
  return text === undefined ? undefined : parseLine(text);
}

const writer = { pid: 20, ppid: 1, startNs: 5_000_000_000n, comm: "vi", uid: 1000, euid: 1000 };

describe("the line of an open", () => {
  it("has everything that the record has", () => {
    const line = lineOf(fileRecord({
      ...writer,
      path: "/etc/hosts",
      inode: 12n,
      size: 300n,
      device: (254 << 20) | 3,
      generation: 4_000_000_000,
      mode: 0o100644,
      links: 2,
      openFlags: 0o2001,
    }));
    expect(line).toMatchObject({
      time: "1970-01-01T00:00:01.000000Z",
      topic: "file/write",
      outcome: "success",
      user: "ann",
      pid: 20,
      path: "/etc/hosts",
      message: "vi (process 20) opened /etc/hosts for writing",
    });
    expect(line?.detail).toEqual({
      inode: 12,
      device: "254:3",
      generation: 4_000_000_000,
      mode: "0100644",
      size: 300,
      links: 2,
      flags: "O_WRONLY|O_APPEND",
      how: "write",
    });
  });

  it("tells a create from a write, and files without a name", () => {
    const flags = FLAG.created | FLAG.deleted | FLAG.truncated;
    expect(lineOf(fileRecord({ ...writer, flags }))).toMatchObject({
      topic: "file/create",
      message: "vi (process 20) created /file",
      detail: { how: "open", deleted: true, truncated: true },
    });
  });

  it("notes a create, and no write, under the kernel's numbers", () => {
    const notes: CreatedFile[] = [];
    const note = (made: CreatedFile): void => void notes.push(made);
    const decoder = createFileDecoder(createTestContext(), { note });
    const file = { ...writer, device: 7, inode: 9n, generation: 3 };
    decoder.line(locate(fileRecord(file)));
    decoder.line(locate(fileRecord({ ...file, flags: FLAG.created })));
    expect(notes).toEqual([{ device: 7, inode: 9, generation: 3, pid: 20 }]);
  });

  it("keeps every digit of a large inode", () => {
    const decoder = createFileDecoder(createTestContext(), undefined);
    const record = fileRecord({ ...writer, inode: 0xffff_ffff_ffff_fffen });
    expect(decoder.line(locate(record))).toContain('"inode":18446744073709551614,');
  });

  it("names path and message when bytes are no text", () => {
    const line = lineOf(fileRecord({ ...writer, path: Uint8Array.of(0x2f, 0xc3, 0x28) }));
    expect(line?.["path"]).toBe("/\\xc3(");
    expect(line?.detail["escaped"]).toEqual(["path", "message"]);
  });
});

describe("bytes that are no file record", () => {
  const good = fileRecord({ ...writer, path: "/some/path" });

  it.each([0, 9, 11, 4096, 65_535])("give no line: a path of %d bytes", (length) => {
    const copy = good.slice();
    new DataView(copy.buffer).setUint16(FILE.path_length, length, true);
    expect(lineOf(copy)).toBeUndefined();
  });

  it("give no line or one that parses, whatever they are", () => {
    fc.assert(fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
      (changes) => {
        const copy = good.slice();
        for (const [at, value] of changes) copy[at] = value;
        lineOf(copy);
      },
    ));
  });
});

describe("flags of an open", () => {
  it.each([
    [0, "O_RDONLY"],
    [1, "O_WRONLY"],
    [2, "O_RDWR"],
    [0o2001, "O_WRONLY|O_APPEND"],
    [0o4010001, "O_WRONLY|O_SYNC"],
    [0o10001, "O_WRONLY|O_DSYNC"],
    [0o20200002, "O_RDWR|O_TMPFILE"],
    [0o1440002, "O_RDWR|O_DIRECT|O_NOFOLLOW|O_NOATIME"],
  ])("%o are %s", (flags, text) => {
    expect(openFlagsText(flags, new Map())).toBe(text);
  });
});

describe("what a filter took of a file that was made", () => {
  const untold = fileRecord({
    ...writer,
    flags: FLAG.untold | FLAG.created,
    path: "",
    inode: 12n,
    device: (254 << 20) | 3,
    generation: 5,
  });

  it("is no line, and no fault, and is noted for who sees the name", () => {
    const noted: CreatedFile[] = [];
    const createdFiles = { note: (file: CreatedFile) => void noted.push(file) };
    const decoder = createFileDecoder(createTestContext(), createdFiles);
    expect(decoder.line(locate(untold))).toBe("");
    expect(noted).toEqual([{ device: (254 << 20) | 3, inode: 12, generation: 5, pid: 20 }]);
  });

  it("is a fault with another length", () => {
    const longer = fileRecord({ ...writer, flags: FLAG.untold | FLAG.created, path: "/x" });
    const decoder = createFileDecoder(createTestContext(), undefined);
    expect(decoder.line(locate(longer))).toBeUndefined();
  });
});
