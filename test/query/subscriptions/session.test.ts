import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  RENEWAL_MS,
  Session,
  TURN_MS,
  TurnLostError,
} from "../../../src/query/subscriptions/session.ts";
import type { Clock } from "../../../src/runtime/clock.ts";
import { createLog } from "../../../src/runtime/log.ts";
import { openDirectoryStore } from "../../../src/storage/fs-store.ts";
import { AmbiguousWriteError, type ObjectStore } from "../../../src/storage/object-store.ts";
import type { Registry, RegistryEntry } from "../../../src/storage/registry.ts";
import {
  createSubscriptionRegistry,
  type Subscription,
} from "../../../src/storage/subscription.ts";
import { subscriptionAt } from "../../support/subscriptions.ts";
import { until } from "../../support/rollup-rig.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../../support/temporary-folder.ts";

const START_US = 1_800_000_000_000_000;
const log = createLog({ level: "error", write: () => undefined });
const idOf = (sequence: number) => `aaaaaaaa-${sequence}-0`;
const block = (from: number, to: number) => ({
  count: to - from + 1,
  ...{ from: idOf(from), to: idOf(to) },
});

/** Stands still until it is moved; sleepers wake when their time has come. */
interface HandClock extends Clock {
  advance(ms: number): void;
  isWaitedFor(): boolean;
}

function createHandClock(): HandClock {
  let nowMs = START_US / 1_000;
  const sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();
  return {
    nowUs: () => nowMs * 1_000,
    elapsedMs: () => nowMs,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const sleeper = { atMs: nowMs + ms, wake: resolve };
        sleepers.add(sleeper);
        signal?.addEventListener("abort", () => {
          sleepers.delete(sleeper);
          reject(signal.reason);
        });
      }),
    isWaitedFor: () => sleepers.size > 0,
    advance(ms) {
      nowMs += ms;
      for (const sleeper of [...sleepers]) {
        if (sleeper.atMs > nowMs) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
    },
  };
}

describe("a reader's turn", () => {
  let folder: TemporaryFolder;
  let store: ObjectStore;
  let registry: Registry<Subscription>;
  let clock: ReturnType<typeof createHandClock>;
  beforeEach(async () => {
    folder = await openTemporaryFolder("session");
    store = await openDirectoryStore({ directory: folder.path });
    registry = createSubscriptionRegistry({ store });
    clock = createHandClock();
    await registry.create("s", subscriptionAt(START_US));
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const entry = async (): Promise<RegistryEntry<Subscription>> => {
    const found = await registry.get("s");
    if (found === undefined) throw new Error("it is not there");
    return found;
  };
  const current = async (): Promise<Subscription> => (await entry()).value;
  const open = async (over: Registry<Subscription> = registry): Promise<Session> =>
    new Session({ registry: over, entry: await entry(), clock, log });
  const begun = async (isTakingOver = false): Promise<Session> => {
    const session = await open();
    await session.begin({ isTakingOver });
    return session;
  };
  const forward = (to: number) => (subscription: Subscription): Subscription => ({
    ...subscription,
    delivered: to,
  });

  test("keeps others away until it is given back, with what may not have been received", async () => {
    const session = await begun();
    await expect(begun()).rejects.toMatchObject({ problem: { status: 409 } });
    const other = await open();
    expect(() => other.requireFree()).toThrow("Somebody else reads");
    expect(await session.reserve(block(1, 5), forward(5))).toBe("reserved");
    await session[Symbol.asyncDispose]();
    expect(await current()).toMatchObject({ reader: undefined, delivered: 5, lastId: idOf(5) });
    await using next = await begun();
    expect(next.untold(undefined)).toEqual({ ...block(1, 5), after: undefined });
  });

  test("that has sent all leaves nothing to be told", async () => {
    const session = await begun();
    await session.reserve(block(1, 5), forward(5));
    session.settle();
    await session[Symbol.asyncDispose]();
    expect(await current()).toMatchObject({ reader: undefined, reserved: undefined });
  });

  test("tells a reader that names its last event nothing that it has", async () => {
    const session = await begun();
    await session.reserve(block(1, 5), forward(5));
    await session[Symbol.asyncDispose]();
    await using next = await begun();
    expect(next.untold(idOf(5))).toBeUndefined();
    await next.reserve(block(6, 9), forward(9));
    expect((await current()).reserved).toEqual({ ...block(6, 9), after: idOf(5) });
  });

  test("is taken with the first block by one that reads without it, and only by one of two", async () => {
    const [first, second] = [await open(), await open()];
    expect(await first.reserve(block(1, 5), forward(5))).toBe("reserved");
    await expect(second.reserve(block(1, 5), forward(5))).rejects.toMatchObject({
      problem: { status: 409 },
    });
    expect((await current()).delivered).toBe(5);
    first.settle();
    await first[Symbol.asyncDispose]();
    const third = await open();
    third.requireFree();
    await Promise.all([second, third].map((each) => each[Symbol.asyncDispose]()));
    expect(await current()).toMatchObject({ reader: undefined, reserved: undefined, delivered: 5 });
  });

  test("hears of a block that another broke off while it waited", async () => {
    const waiting = await open();
    const other = await open();
    await other.reserve(block(1, 5), forward(5));
    await other[Symbol.asyncDispose]();
    expect(await waiting.reserve(block(1, 5), forward(5))).toBe("moved");
    expect(waiting.subscription.delivered).toBe(5);
    expect(waiting.untold(undefined)).toMatchObject(block(1, 5));
    expect(await waiting.reserve(block(6, 9), forward(9))).toBe("reserved");
    expect((await current()).reserved).toMatchObject({ count: 9, from: idOf(1), to: idOf(9) });
    await waiting[Symbol.asyncDispose]();
  });

  test("is renewed while its reader is there, and ends by itself when that machine dies", async () => {
    const session = await begun();
    for (let renewal = 0; renewal < 5; renewal++) {
      clock.advance(RENEWAL_MS);
      const wantedUs = clock.nowUs() + TURN_MS * 1_000;
      await until(async () =>
        clock.isWaitedFor() && (await current()).reader?.untilUs === wantedUs
      );
    }
    // The machine stands still: no renewal comes.
    const { reader } = await current();
    const dead = reader?.untilUs ?? 0;
    await session[Symbol.asyncDispose]();
    await registry.change("s", (value) => value && { ...value, reader });
    await expect(begun()).rejects.toMatchObject({ problem: { status: 409 } });
    clock.advance(TURN_MS);
    expect(clock.nowUs()).toBeGreaterThanOrEqual(dead);
    await using next = await begun();
    expect(next.subscription.reader).toBeDefined();
  });

  test("does not outlive a clock that went back", async () => {
    const untilUs = clock.nowUs() + 86_400_000_000;
    await registry.change("s", (value) => value && { ...value, reader: { session: "x", untilUs } });
    await using session = await begun();
    expect((await current()).reader?.untilUs).toBeLessThan(untilUs);
    expect(session.subscription.reserved).toBeUndefined();
  });

  test("that was taken over can reserve nothing any more", async () => {
    const [first, second] = [await begun(), await begun(true)];
    await expect(first.reserve(block(1, 5), forward(5))).rejects.toThrow(TurnLostError);
    expect(first.signal.aborted).toBe(true);
    expect(() => first.throwIfLost()).toThrow("another reader took it over");
    expect(await second.reserve(block(1, 5), forward(5))).toBe("reserved");
    await first[Symbol.asyncDispose]();
    expect((await current()).reader).toBeDefined();
    await second[Symbol.asyncDispose]();
  });

  test("is over when the subscription is removed, also if another of the name is made", async () => {
    const session = await begun();
    await registry.remove(await entry());
    await registry.create("s", subscriptionAt(START_US, { id: "another" }));
    await expect(session.reserve(block(1, 5), forward(5))).rejects.toThrow("it was removed");
    await session[Symbol.asyncDispose]();
    expect(await current()).toMatchObject({ id: "another", delivered: 0 });
  });

  test("looks anew after somebody else changed the subscription", async () => {
    await using session = await begun();
    await registry.change("s", (value) => value && { ...value, filters: { topic: ["auth"] } });
    expect(await session.reserve(block(1, 5), forward(5))).toBe("moved");
    expect(session.subscription.filters).toEqual({ topic: ["auth"] });
    expect(await session.reserve(block(1, 5), forward(5))).toBe("reserved");
    expect(await current()).toMatchObject({ filters: { topic: ["auth"] }, delivered: 5 });
  });

  test("reserves nothing once it was given back", async () => {
    const session = await begun();
    await session[Symbol.asyncDispose]();
    await expect(session.reserve(block(1, 5), forward(5))).rejects.toThrow("this reader has left");
    expect((await current()).reader).toBeUndefined();
  });

  describe("when the answer of a write is lost for good", () => {
    const lost = () => new AmbiguousWriteError("s", "Cannot tell: as asked", {});

    test("hands out nothing, and tells the next reader, if it was written", async () => {
      const session = await open({
        ...registry,
        replace: async (...write) => {
          await registry.replace(...write);
          throw lost();
        },
      });
      await session.begin({ isTakingOver: false });
      await expect(session.reserve(block(1, 5), forward(5))).rejects.toThrow(AmbiguousWriteError);
      await session[Symbol.asyncDispose]();
      await using next = await begun();
      expect(next.subscription.delivered).toBe(5);
      expect(next.untold(undefined)).toMatchObject(block(1, 5));
    });

    test("leaves it to the next reader, if it was not", async () => {
      const session = await open({ ...registry, replace: () => Promise.reject(lost()) });
      await session.begin({ isTakingOver: false });
      await expect(session.reserve(block(1, 5), forward(5))).rejects.toThrow(AmbiguousWriteError);
      await session[Symbol.asyncDispose]();
      await using next = await begun();
      expect(next.subscription).toMatchObject({ delivered: 0, reserved: undefined });
      expect(next.untold(undefined)).toBeUndefined();
    });

    test("gives the turn back that a block without one may have taken", async () => {
      const session = await open({
        ...registry,
        replace: async (...write) => {
          await registry.replace(...write);
          throw lost();
        },
      });
      await expect(session.reserve(block(1, 5), forward(5))).rejects.toThrow(AmbiguousWriteError);
      await session[Symbol.asyncDispose]();
      expect(await current()).toMatchObject({ reader: undefined, delivered: 5 });
    });
  });

  test("waits for a slow write, and is taken over meanwhile without a block given twice", async () => {
    const gate = Promise.withResolvers<void>();
    const slow = await open({
      ...registry,
      replace: async (...write) => {
        await gate.promise;
        return await registry.replace(...write);
      },
    });
    await slow.begin({ isTakingOver: false });
    const late = slow.reserve(block(1, 5), forward(5));
    clock.advance(TURN_MS + 1);
    const fast = await begun();
    expect(await fast.reserve(block(1, 5), forward(5))).toBe("reserved");
    gate.resolve();
    await expect(late).rejects.toThrow(TurnLostError);
    await Promise.all([slow, fast].map((each) => each[Symbol.asyncDispose]()));
    expect((await current()).delivered).toBe(5);
  });
});
