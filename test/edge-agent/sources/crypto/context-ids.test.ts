import { describe, expect, it } from "vitest";
import { createContextIds } from "../../../../src/edge-agent/sources/crypto/context-ids.ts";

describe("ids of contexts", () => {
  // Made once with another implementation of AES, from the layout that crypto-auditing has.
  const ids = createContextIds(Uint8Array.from({ length: 16 }, (_, place) => place));

  it("are what crypto-auditing makes of the same thread, context and key", () => {
    const thread = { tid: 1234, pid: 1234 };
    expect(ids.idOf(thread, { low: 0xab0f1635, high: 0x7fc0 }))
      .toBe("2fbbb4cbef9df39583d7c747986856d5");
    expect(ids.idOf(thread, { low: 0xffff_ffff, high: 0xffff_ffff }))
      .toBe("e1eebb0b63510891ca15071642b7ef6a");
  });

  it("are the same each time, and others for other threads, processes, contexts and keys", () => {
    const context = { low: 1, high: 2 };
    const id = ids.idOf({ tid: 3, pid: 4 }, context);
    expect(ids.idOf({ tid: 3, pid: 4 }, context)).toBe(id);
    const others = [
      ids.idOf({ tid: 4, pid: 4 }, context),
      ids.idOf({ tid: 3, pid: 3 }, context),
      ids.idOf({ tid: 3, pid: 4 }, { low: 2, high: 2 }),
      ids.idOf({ tid: 3, pid: 4 }, { low: 1, high: 3 }),
      createContextIds(new Uint8Array(16)).idOf({ tid: 3, pid: 4 }, context),
    ];
    expect(new Set([id, ...others]).size).toBe(6);
  });

  it("are their own however many there are, whichever came before", () => {
    const known = new Map<string, string>();
    for (let at = 0; at < 60_000; at += 1) {
      const [tid, low, high] = [at % 3, (at * 7919) % 20_000, at % 2];
      const id = ids.idOf({ tid, pid: 1 }, { low, high });
      const name = `${tid} ${low} ${high}`;
      if ((known.get(name) ?? id) !== id) expect.fail(`${name} has another id than before`);
      known.set(name, id);
    }
    expect(new Set(known.values()).size).toBe(known.size);
  });
});
