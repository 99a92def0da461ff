import { describe, expect, it } from "vitest";
import {
  FAN_CREATE,
  FAN_DELETE,
  FAN_ONDIR,
  FAN_RENAME,
} from "../../../../src/edge-agent/sources/filesystem/fanotify-event.ts";
import type { FileHandle } from "../../../../src/edge-agent/sources/filesystem/file-handle.ts";
import {
  createWaitingEvents,
  type WaitingEvent,
} from "../../../../src/edge-agent/sources/filesystem/waiting-events.ts";

const entry = (directory: FileHandle, name: string) => ({ directory, name });

function event(mask: number, target: string, names: readonly string[]): WaitingEvent {
  const [directory = "", name = "", newDirectory, newName = ""] = names;
  return {
    mask,
    pid: 1,
    entry: entry(directory, name),
    newEntry: newDirectory === undefined ? undefined : entry(newDirectory, newName),
    target,
    readAtUs: 0,
    notBeforeUs: 0,
    notBeforeNs: 0,
  };
}

const rename = (target: string, ...names: string[]) => event(FAN_RENAME | FAN_ONDIR, target, names);
const remove = (target: string, ...names: string[]) => event(FAN_DELETE | FAN_ONDIR, target, names);

describe("waiting events", () => {
  it("tell the entry a directory had before a later event took it away", () => {
    const waiting = createWaitingEvents();
    waiting.push(event(FAN_CREATE, "f", ["d", "f"]));
    waiting.push(rename("d", "root", "d", "root", "e"));
    waiting.push(event(FAN_CREATE, "g", ["d", "g"]));
    waiting.push(remove("d", "root", "e"));
    waiting.push(event(FAN_CREATE, "h", ["root", "h"]));
    const told: (string | undefined)[] = [];
    while (waiting.shift() !== undefined) {
      told.push(waiting.entryOf("d")?.name);
    }
    expect(told).toEqual(["d", "d", "e", "e", undefined]);
    expect(waiting.entryOf("d")).toBeUndefined();
  });

  it("tell the entry of a directory whose removal was merged with its creation", () => {
    const waiting = createWaitingEvents();
    waiting.push(event(FAN_CREATE | FAN_DELETE | FAN_ONDIR, "d", ["root", "d"]));
    waiting.push(event(FAN_CREATE, "f", ["d", "f"]));
    waiting.push(event(FAN_CREATE, "g", ["root", "g"]));
    waiting.shift();
    waiting.shift();
    expect(waiting.entryOf("d")?.name).toBe("d");
  });

  it("find the other half of an exchange, and no more than that", () => {
    const waiting = createWaitingEvents();
    const first = rename("x", "d", "x", "e", "y");
    const second = rename("y", "e", "y", "d", "x");
    const back = rename("x", "e", "y", "d", "x");
    for (const each of [first, event(FAN_CREATE, "f", ["d", "f"]), second]) waiting.push(each);
    waiting.shift();
    expect(waiting.exchangeOf(first)).toBe(second);
    const others = createWaitingEvents();
    for (const each of [first, back, { ...second, pid: 2 }]) others.push(each);
    others.shift();
    expect(others.exchangeOf(first)).toBeUndefined();
  });

  it("leave in order, whatever their number", () => {
    const waiting = createWaitingEvents();
    let pushed = 0;
    let shifted = 0;
    for (let round = 0; round < 50; round += 1) {
      for (let each = 0; each < 100; each += 1, pushed += 1) {
        waiting.push(event(FAN_CREATE, String(pushed), ["d", String(pushed)]));
      }
      for (let each = 0; each < 90; each += 1, shifted += 1) {
        expect(waiting.shift()?.target).toBe(String(shifted));
      }
    }
    expect(waiting.length).toBe(pushed - shifted);
  });
});
