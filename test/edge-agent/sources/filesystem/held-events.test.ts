import { describe, expect, it } from "vitest";
import { createCreatedFiles } from "../../../../src/edge-agent/created-files.ts";
import type { Observation } from "../../../../src/edge-agent/sources/filesystem/describe.ts";
import { FAN_CREATE } from "../../../../src/edge-agent/sources/filesystem/fanotify-event.ts";
import {
  createHeldEvents,
  HELD_EVENTS_MAX,
  HOLD_MAX_MS,
} from "../../../../src/edge-agent/sources/filesystem/held-events.ts";

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
  const createdFiles = createCreatedFiles();
  createdFiles.settle(NOW_US);
  const held = createHeldEvents(createdFiles);
  held.push({ pid: 1, actor, seen: created(NOW_US) });
  return { createdFiles, held };
}

describe("a held create", () => {
  it("waits until the file source has told all of that time", () => {
    const { createdFiles, held } = holdOne();
    expect(held.ready(NOW_US + 50_000)).toEqual([]);
    createdFiles.settle(NOW_US + 200_000);
    expect(held.ready(NOW_US + 250_000)).toMatchObject([{ isSilenced: false }]);
  });

  it("is silenced by the file source's note", () => {
    const { createdFiles, held } = holdOne();
    createdFiles.note({ device: (254 << 20) | 0, inode: 7, generation: 1, pid: 1 });
    expect(held.ready(NOW_US + 50_000)).toMatchObject([{ isSilenced: true }]);
  });

  it("is told at last though nothing is heard of the file source", () => {
    const { held } = holdOne();
    expect(held.ready(NOW_US + HOLD_MAX_MS * 1000 - 1)).toEqual([]);
    expect(held.ready(NOW_US + HOLD_MAX_MS * 1000)).toMatchObject([{ isSilenced: false }]);
  });

  it("is told too early only where too many wait, and only as many as are too many", () => {
    const { held } = holdOne();
    for (let more = 0; more < HELD_EVENTS_MAX + 2; more += 1) {
      held.push({ pid: 1, actor, seen: created(NOW_US) });
    }
    expect(held.ready(NOW_US)).toHaveLength(3);
    expect(held.length).toBe(HELD_EVENTS_MAX);
  });

  it("does not wait for a clock that was set back to come round again", () => {
    const { createdFiles, held } = holdOne();
    createdFiles.settle(NOW_US - 3_600e6);
    expect(held.ready(NOW_US - 3_600e6)).toMatchObject([{ isSilenced: false }]);
  });
});
