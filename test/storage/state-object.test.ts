import { randomBytes, randomInt } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type AcceptanceState, emptyAcceptance } from "../../src/event/acceptance.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { putState, readState } from "../../src/storage/state-object.ts";
import { keysOf } from "../support/object-store-conformance.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";
import { unreliable } from "../support/unreliable-store.ts";

const DIGEST = "ab".repeat(32);
const STATE: AcceptanceState = {
  incarnation: "0a1b2c3d",
  sequence: 17,
  digest: DIGEST,
  agents: {
    "web-2": {
      current: "e2",
      epochs: {
        e2: {
          number: 3,
          digest: DIGEST,
          ahead: [{ incarnation: "0a1b2c3d", first: 5, last: 9, lastUs: 77, highest: 6 }],
          givenUp: [{ first: 2, last: 3, digest: DIGEST }],
        },
        e1: { number: 0, digest: "" },
      },
      fork: { epoch: "e2", number: 4, digest: DIGEST },
    },
    "web-1": { current: "e1", epochs: {}, fork: undefined },
    "7": {
      current: "__proto__",
      epochs: { ["__proto__"]: { number: 1, digest: "" } },
      fork: undefined,
    },
  },
};

let folder: TemporaryFolder;
let store: ObjectStore;

beforeEach(async () => {
  folder = await openTemporaryFolder("state");
  store = await openDirectoryStore({ directory: folder.path });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describe("an acceptance state", () => {
  test("is read back as it was put, under the digest of its text", async () => {
    for (const state of [STATE, emptyAcceptance("0a1b2c3d")]) {
      const key = await putState(store, state, { shard: "0", nowMs: Date.now() });
      expect(key).toMatch(/^state\/0\/[0-9a-f]{64}$/);
      expect(await readState(store, key)).toEqual(state);
    }
  });

  test("has one key however its members are ordered, and is put once", async () => {
    const agents = Object.fromEntries(Object.entries(STATE.agents).toReversed());
    const { incarnation, sequence, digest } = STATE;
    const key = await putState(store, STATE, { shard: "0", nowMs: Date.now() });
    expect(
      await putState(store, { agents, digest, sequence, incarnation }, {
        shard: "0",
        nowMs: Date.now(),
      }),
    ).toBe(
      key,
    );
    expect(await putState(store, { ...STATE, sequence: 18 }, { shard: "0", nowMs: Date.now() })).not
      .toBe(key);
    expect(await keysOf(store.list("state/0/"))).toHaveLength(2);
  });

  test("whose put lost its answer is there, or the error says so", async () => {
    const shaky = unreliable(store);
    shaky.faults.push("lost after");
    const key = await putState(shaky, STATE, { shard: "0", nowMs: Date.now() });
    expect(await readState(store, key)).toEqual(STATE);
    shaky.faults.push("lost before", "lost before", "lost after");
    const next = await putState(shaky, { ...STATE, sequence: 20 }, {
      shard: "0",
      nowMs: Date.now(),
    });
    expect(await readState(store, next)).toEqual({ ...STATE, sequence: 20 });
    shaky.faults.push(...Array.from({ length: 9 }, () => "lost before" as const));
    await expect(putState(shaky, { ...STATE, sequence: 99 }, { shard: "0", nowMs: Date.now() }))
      .rejects.toThrow(
        "Cannot tell",
      );
  });

  test("that is missing, changed or no state is refused by name", async () => {
    await expect(readState(store, `state/0/${DIGEST}`)).rejects.toThrow(
      `Cannot read state "state/0/${DIGEST}" in ${store.url}: it is missing`,
    );
    const key = await putState(store, STATE, { shard: "0", nowMs: Date.now() });
    const other = await putState(store, { ...STATE, sequence: 18 }, {
      shard: "0",
      nowMs: Date.now(),
    });
    await store.put(key, (await store.get(other))?.body ?? new Uint8Array());
    await expect(readState(store, key)).rejects.toThrow("its content is not that of its digest");
    await store.put(key, new TextEncoder().encode("{}"));
    await expect(readState(store, key)).rejects.toThrow("not exactly one zstd frame");
  });

  test("of 1,000 agents takes less than 100 KB", async () => {
    const agents = Array.from({ length: 1_000 }, () => {
      const epoch = randomBytes(8).toString("hex");
      const standing = { number: randomInt(1_000_000), digest: randomBytes(32).toString("hex") };
      const agent = { current: epoch, epochs: { [epoch]: standing }, fork: undefined };
      return [randomBytes(8).toString("hex"), agent] as const;
    });
    const state = { ...STATE, agents: Object.fromEntries(agents) };
    const key = await putState(store, state, { shard: "0", nowMs: Date.now() });
    expect((await store.head(key))?.sizeBytes).toBeLessThan(100_000);
    expect(await readState(store, key)).toEqual(state);
  });

  const faulty: readonly [string, unknown, string][] = [
    ["no object", [], "the state is no object"],
    ["without sequence", { ...STATE, sequence: undefined }, '"sequence" is no number'],
    ["with a negative sequence", { ...STATE, sequence: -1 }, '"sequence" is no number'],
    ["with a fraction", { ...STATE, sequence: 1.5 }, '"sequence" is no number'],
    ["without digest", { ...STATE, digest: 5 }, '"digest" is no text'],
    ["without agents", { ...STATE, agents: null }, "agents is no object"],
    ["with an agent that is none", { ...STATE, agents: { a: 1 } }, "an agent is no object"],
    ["with a list that is none", {
      ...STATE,
      agents: {
        a: {
          current: "e",
          epochs: { e: { number: 1, digest: "", ahead: {} } },
          fork: undefined,
        },
      },
    }, '"ahead" is no list'],
    ["with a fork that is none", {
      ...STATE,
      agents: { a: { current: "e", epochs: {}, fork: { epoch: "e" } } },
    }, '"number" is no number'],
  ];
  for (const [name, value, reason] of faulty) {
    test(`${name} is refused`, async () => {
      const forged: AcceptanceState = JSON.parse(JSON.stringify(value));
      const key = await putState(store, forged, { shard: "0", nowMs: Date.now() });
      await expect(readState(store, key)).rejects.toThrow(reason);
    });
  }
});
