import { describe, expect, it } from "vitest";
import {
  createCreatedFiles,
  deviceNumberOf,
  NOTE_LIFETIME_MS,
  NOTES_MAX,
} from "../../src/edge-agent/created-files.ts";

const file = (inode: number, generation = 1, device = 1) => ({
  device,
  inode,
  generation,
  pid: 7,
});

describe("notes of created files", () => {
  it("are taken as often as they were made", () => {
    const notes = createCreatedFiles();
    for (const each of [file(5), file(5), file(5, 1, 2)]) notes.note(each);
    expect([notes.take(file(5)), notes.take(file(5)), notes.take(file(5))]).toEqual([
      true,
      true,
      false,
    ]);
    expect([notes.take(file(6, 1, 2)), notes.take(file(5, 1, 2))]).toEqual([false, true]);
  });

  it("tell generations of an inode number apart, where they are known", () => {
    const notes = createCreatedFiles();
    notes.note(file(5, 7));
    notes.note(file(5, 8));
    expect([notes.take(file(5, 9)), notes.take(file(5, 8)), notes.take(file(5, 8))]).toEqual([
      false,
      true,
      false,
    ]);
    expect(notes.take({ device: 1, inode: 5, generation: undefined, pid: 7 })).toBe(true);
    expect(notes.take({ device: 1, inode: 5, generation: undefined, pid: 7 })).toBe(false);
  });

  it("of an overlay are taken by the same process for the same inode number", () => {
    const notes = createCreatedFiles();
    notes.note(file(5, 0, 42));
    const below = file(5, 9, 41);
    expect([notes.take({ ...below, pid: 8 }), notes.take(below), notes.take(below)]).toEqual([
      false,
      true,
      false,
    ]);
  });

  it("live for one to two lifetimes", () => {
    let nowMs = 0;
    const notes = createCreatedFiles(() => nowMs);
    notes.note(file(1));
    nowMs = NOTE_LIFETIME_MS;
    notes.note(file(2));
    expect(notes.take(file(1))).toBe(true);
    notes.note(file(1));
    nowMs = 2 * NOTE_LIFETIME_MS;
    notes.note(file(3));
    nowMs = 3 * NOTE_LIFETIME_MS;
    notes.note(file(4));
    expect([notes.take(file(1)), notes.take(file(3))]).toEqual([false, true]);
  });

  it("outlive a source of names that is read a minute and a half late", () => {
    let nowMs = 0;
    const notes = createCreatedFiles(() => nowMs);
    notes.note(file(5));
    nowMs = 60_000;
    notes.note(file(6));
    nowMs = 95_000;
    notes.note(file(7));
    expect([5, 6, 7].map((inode) => notes.take(file(inode)))).toEqual([true, true, true]);
  });

  it("are bounded in number, also of one inode", () => {
    const notes = createCreatedFiles(() => 0);
    for (let each = 0; each < 2 * NOTES_MAX; each += 1) notes.note(file(each, each));
    expect(notes.take(file(0, 0))).toBe(false);
    expect(notes.take(file(2 * NOTES_MAX - 1, 2 * NOTES_MAX - 1))).toBe(true);
  });

  it("name devices as the kernel does", () => {
    expect(deviceNumberOf("254:1")).toBe((254 << 20) | 1);
    expect(deviceNumberOf("4095:0")).toBe(4095 * 2 ** 20);
  });
});
