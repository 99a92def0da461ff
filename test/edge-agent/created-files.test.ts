import { describe, expect, it } from "vitest";
import {
  createCreatedFiles,
  deviceNumberOf,
  NOTE_LIFETIME_MS,
  NOTES_MAX,
} from "../../src/edge-agent/created-files.ts";

describe("notes of created files", () => {
  it("are taken as often as they were made", () => {
    const notes = createCreatedFiles();
    notes.note(1, 5);
    notes.note(1, 5);
    notes.note(2, 5);
    expect([notes.take(1, 5), notes.take(1, 5), notes.take(1, 5)]).toEqual([true, true, false]);
    expect([notes.take(2, 6), notes.take(2, 5)]).toEqual([false, true]);
  });

  it("live for one to two lifetimes", () => {
    let nowMs = 0;
    const notes = createCreatedFiles(() => nowMs);
    notes.note(1, 1);
    nowMs = NOTE_LIFETIME_MS;
    notes.note(1, 2);
    expect(notes.take(1, 1)).toBe(true);
    notes.note(1, 1);
    nowMs = 2 * NOTE_LIFETIME_MS;
    notes.note(1, 3);
    nowMs = 3 * NOTE_LIFETIME_MS;
    notes.note(1, 4);
    expect([notes.take(1, 1), notes.take(1, 3)]).toEqual([false, true]);
  });

  it("are bounded in number", () => {
    const notes = createCreatedFiles(() => 0);
    for (let inode = 0; inode < 2 * NOTES_MAX; inode += 1) notes.note(1, inode);
    expect(notes.take(1, 0)).toBe(false);
    expect(notes.take(1, 2 * NOTES_MAX - 1)).toBe(true);
  });

  it("name devices as the kernel does", () => {
    expect(deviceNumberOf("254:1")).toBe((254 << 20) | 1);
    expect(deviceNumberOf("4095:0")).toBe(4095 * 2 ** 20);
  });
});
