import { describe, expect, it } from "vitest";
import { createCreatedFiles } from "../../../../src/edge-agent/created-files.ts";
import type { Observation } from "../../../../src/edge-agent/sources/filesystem/describe.ts";
import { FAN_CREATE } from "../../../../src/edge-agent/sources/filesystem/fanotify-event.ts";
import {
  createHeldEvents,
  HELD_EVENTS_MAX,
  HOLD_MAX_MS,
} from "../../../../src/edge-agent/sources/filesystem/held-events.ts";

const NOW_MS = 1_000;
const NOW_US = 1_700_000_000_000_000;
const actor = { columns: "", name: "/usr/bin/touch", escaped: [] };

function created(readAtUs: number): Observation {
  return {
    mask: FAN_CREATE,
    readAtUs,
    path: { path: "/tmp/made", isComplete: true },
    newPath: undefined,
    isExchange: false,
    isLink: false,
    device: "254:0",
    inode: { inode: 7, generation: 1 },
    attributes: undefined,
    linkText: undefined,
  };
}

/** A create, read now, of which the file source has not said anything yet. */
function holdOne() {
  const clock = { atMs: NOW_MS, elapsedMs: () => clock.atMs };
  const createdFiles = createCreatedFiles();
  createdFiles.settle(NOW_MS);
  const held = createHeldEvents(createdFiles, clock);
  held.push({ pid: 1, actor, seen: created(NOW_US), doer: {} });
  const readyAt = (ms: number) => {
    clock.atMs = NOW_MS + ms;
    return held.ready();
  };
  return { createdFiles, held, readyAt };
}

describe("a held create", () => {
  it("waits until the file source has told all of that time", () => {
    const { createdFiles, readyAt } = holdOne();
    expect(readyAt(50)).toEqual([]);
    createdFiles.settle(NOW_MS + 200);
    expect(readyAt(250)).toMatchObject([{ isSilenced: false }]);
  });

  it("waits for no file source that is off, though that reads on until it has ended", () => {
    const { createdFiles, held, readyAt } = holdOne();
    createdFiles.settle(Infinity);
    createdFiles.settle(NOW_MS);
    expect(readyAt(0)).toMatchObject([{ isSilenced: false }]);
    held.push({ pid: 1, actor, seen: created(NOW_US), doer: {} });
    expect(held.rest()).toMatchObject([{ isSilenced: false }]);
  });

  it("is silenced by the file source's note", () => {
    const { createdFiles, readyAt } = holdOne();
    createdFiles.note({ device: (254 << 20) | 0, inode: 7, generation: 1, pid: 1 });
    expect(readyAt(50)).toMatchObject([{ isSilenced: true }]);
  });

  it("is told at last though nothing is heard of the file source", () => {
    const { readyAt } = holdOne();
    expect(readyAt(HOLD_MAX_MS - 1)).toEqual([]);
    expect(readyAt(HOLD_MAX_MS)).toMatchObject([{ isSilenced: false }]);
  });

  it("is told too early only where too many wait, and only as many as are too many", () => {
    const { held, readyAt } = holdOne();
    for (let more = 0; more < HELD_EVENTS_MAX + 2; more += 1) {
      held.push({ pid: 1, actor, seen: created(NOW_US), doer: {} });
    }
    expect(readyAt(0)).toHaveLength(3);
    expect(held.length).toBe(HELD_EVENTS_MAX);
  });

  it.each([
    ["a microsecond, as corrections do", 1],
    ["an hour", 3_600e6],
  ])("waits as long as others when its time of day lies ahead by %s", (_, aheadUs) => {
    const { held, readyAt } = holdOne();
    held.push({ pid: 1, actor, seen: created(Date.now() * 1000 + aheadUs), doer: {} });
    expect(readyAt(HOLD_MAX_MS - 1)).toEqual([]);
    expect(readyAt(HOLD_MAX_MS)).toHaveLength(2);
  });
});
