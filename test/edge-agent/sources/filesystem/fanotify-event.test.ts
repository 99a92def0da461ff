import { describe, expect, it } from "vitest";
import {
  FAN_CREATE,
  FAN_DELETE,
  FAN_ONDIR,
  FAN_Q_OVERFLOW,
  FAN_RENAME,
  parseFanotifyEvents,
} from "../../../../src/edge-agent/sources/filesystem/fanotify-event.ts";
import { fsidOf, inodeOf } from "../../../../src/edge-agent/sources/filesystem/file-handle.ts";

/** Recorded on tmpfs: mkdir a; create and remove b in it; mv a d. */
const RECORDED = Buffer.from(
  "5c000000030018000001004000000000ffffffff7025000002002400c1234a0e18bac5040c0000000100000008234053" +
    "02000000000000006100000001002000c1234a0e18bac5040c0000000100000054c2f3cb0300000000000000" +
    "5c000000030018000003000000000000ffffffff7025000002002400c1234a0e18bac5040c0000000100000054c2f3cb" +
    "03000000000000006200000001002000c1234a0e18bac5040c00000001000000a6a53e690400000000000000" +
    "80000000030018000000005000000000ffffffff702500000a002400c1234a0e18bac5040c0000000100000008234053" +
    "0200000000000000610000000c002400c1234a0e18bac5040c0000000100000008234053020000000000000064000000" +
    "01002000c1234a0e18bac5040c0000000100000054c2f3cb0300000000000000",
  "hex",
);

describe("fanotify reports", () => {
  it("are read with names, handles and process", () => {
    const events = parseFanotifyEvents(RECORDED, RECORDED.length);
    expect(events.map(({ mask }) => mask)).toEqual([
      FAN_CREATE | FAN_ONDIR,
      FAN_CREATE | FAN_DELETE,
      FAN_RENAME | FAN_ONDIR,
    ]);
    expect(events.map(({ pid }) => pid)).toEqual([9584, 9584, 9584]);
    const [mkdir, create, rename] = events;
    expect([mkdir?.entry?.name, create?.entry?.name]).toEqual(["a", "b"]);
    expect([rename?.entry?.name, rename?.newEntry?.name]).toEqual(["a", "d"]);
    expect(create?.entry?.directory).toBe(mkdir?.target);
    expect(rename?.target).toBe(mkdir?.target);
    expect(create?.target).not.toBe(mkdir?.target);
    expect(Buffer.from(fsidOf(mkdir?.target ?? ""), "latin1").toString("hex")).toBe(
      "c1234a0e18bac504",
    );
    expect(mkdir?.target && inodeOf(mkdir.target, "tmpfs")).toEqual({
      inode: 3,
      generation: 0xcbf3c254,
    });
  });

  it("do not change when the buffer is used again", () => {
    const buffer = Buffer.from(RECORDED);
    const [event] = parseFanotifyEvents(buffer, RECORDED.length);
    buffer.fill(0);
    expect(event?.target).not.toMatch(/^\0*$/);
    expect(event?.entry?.name).toBe("a");
  });

  it("of an overflow have neither name nor process", () => {
    const overflow = new DataView(new ArrayBuffer(24));
    overflow.setUint32(0, 24, true);
    overflow.setUint8(4, 3);
    overflow.setUint16(6, 24, true);
    overflow.setUint32(8, FAN_Q_OVERFLOW, true);
    overflow.setInt32(16, -1, true);
    expect(parseFanotifyEvents(Buffer.from(overflow.buffer), 24)).toEqual([
      { mask: FAN_Q_OVERFLOW, pid: 0, entry: undefined, newEntry: undefined, target: undefined },
    ]);
  });

  it.each([
    ["another version", 4, 2],
    ["a length beyond the buffer", 0, 0xff],
    ["a length below the header", 0, 0x10],
    ["an empty information record", 26, 0],
  ])("with %s are refused", (_name, at, value) => {
    const wrong = Buffer.from(RECORDED);
    wrong[at] = value;
    expect(() => parseFanotifyEvents(wrong, wrong.length)).toThrow(
      /^Cannot read a fanotify event: /,
    );
  });
});

describe("inode and generation in a handle", () => {
  const handle = (type: number, words: readonly number[]) => {
    const bytes = Buffer.alloc(16 + 4 * words.length);
    [4 * words.length, type, ...words].forEach((word, place) =>
      bytes.writeUInt32LE(word, 8 + 4 * place)
    );
    return bytes.toString("latin1");
  };
  it.each([
    ["ext4", handle(1, [12, 7]), { inode: 12, generation: 7 }],
    ["tmpfs", handle(1, [7, 12, 1]), { inode: 2 ** 32 + 12, generation: 7 }],
    ["xfs", handle(0x81, [12, 1, 7]), { inode: 2 ** 32 + 12, generation: 7 }],
    ["btrfs", handle(0x4d, [257, 0, 5, 0, 7]), { inode: 257, generation: 7 }],
    ["vfat", handle(0x71, [1, 2, 3, 4, 5]), undefined],
    ["ext4", handle(1, [12]), undefined],
  ])("on %s", (type, given, expected) => {
    expect(inodeOf(given, type)).toEqual(expected);
  });
});
