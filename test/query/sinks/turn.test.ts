/** Services that compete for one sink, and what it refused, in a registry on a real folder. */
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { keepDeadLetter } from "../../../src/query/sinks/dead-letter.ts";
import {
  isInTurn,
  type SinkTurn,
  takeTurn,
  TURN_MS,
  TurnOverError,
} from "../../../src/query/sinks/turn.ts";
import { type Clock, systemClock } from "../../../src/runtime/clock.ts";
import { createLog } from "../../../src/runtime/log.ts";
import { openDirectoryStore } from "../../../src/storage/fs-store.ts";
import type { ObjectStore } from "../../../src/storage/object-store.ts";
import {
  createDeadLetterRegistry,
  createSinkRegistry,
  DEAD_LETTERS_MAX,
  type SinkState,
} from "../../../src/storage/sink.ts";
import { openTemporaryFolder } from "../../support/temporary-folder.ts";
import { unreliable } from "../../support/unreliable-store.ts";

const stack = new AsyncDisposableStack();
const { signal } = new AbortController();
const log = createLog({ level: "error" });
const NEW: SinkState = {
  place: { streams: {}, reached: {}, knownUs: 0, reachedUs: 0 },
  ...{ ahead: {}, createdUs: 0, turn: undefined, lastId: undefined },
  ...{ delivered: 0, retries: 0, dead: 0, fault: undefined, gaps: [] },
};

let store: ObjectStore;
let name = "";
let sinks = 0;
/** µs by which the clocks of these services are ahead. */
let aheadUs = 0;
const clock: Clock = { ...systemClock, nowUs: () => systemClock.nowUs() + aheadUs };

beforeAll(async () => {
  const folder = stack.use(await openTemporaryFolder("sink-turn"));
  store = stack.use(await openDirectoryStore({ directory: join(folder.path, "bucket") }));
});
beforeEach(() => {
  name = `sink-${sinks++}`;
  aheadUs = 0;
});
afterAll(() => stack.disposeAsync());

/** A registry of its own each, as processes have it. */
const registryOf = () => createSinkRegistry({ store });
const take = (): Promise<SinkTurn | undefined> =>
  takeTurn(name, {
    ...{ registry: registryOf(), clock, log, signal },
    create: () => Promise.resolve(NEW),
  });
const delivered = (turn: SinkTurn, count: number) =>
  turn.note((state) => ({ ...state, delivered: state.delivered + count }));
const standing = async () => (await registryOf().get(name))?.value;

describe("a turn", () => {
  test("is had by one of the services that compete for a new sink", async () => {
    const turns = (await Promise.all([take(), take(), take(), take()])).filter((each) => each);
    expect(turns).toHaveLength(1);
    expect(await take()).toBeUndefined();
    await turns[0]?.[Symbol.asyncDispose]();
  });

  test("that is given back is had by the next, who goes on where it ended", async () => {
    {
      await using first = await take();
      if (first === undefined) throw new Error("there is no turn");
      first.failed("it was away");
      await delivered(first, 3);
      expect(await standing()).toMatchObject({ delivered: 3, retries: 1, fault: "it was away" });
      first.failed("it still is");
    }
    expect(await standing()).toMatchObject({ retries: 2, fault: "it still is" });
    expect((await standing())?.turn).toBeUndefined();
    await using second = await take();
    expect(second?.state).toMatchObject({ delivered: 3, retries: 2 });
  });

  test("of a service that is dead ends by itself, and nothing that it does later counts", async () => {
    await using dead = await take();
    if (dead === undefined) throw new Error("there is no turn");
    aheadUs = (TURN_MS - 1_000) * 1_000;
    expect(await take()).toBeUndefined();
    aheadUs = (TURN_MS + 1_000) * 1_000;
    await using next = await take();
    if (next === undefined) throw new Error("there is no turn");
    await delivered(next, 5);
    await expect(delivered(dead, 3)).rejects.toThrow(TurnOverError);
    expect(dead.signal.aborted).toBe(true);
    await expect(delivered(dead, 3)).rejects.toThrow(TurnOverError);
    await dead[Symbol.asyncDispose]();
    await delivered(next, 1);
    expect(await standing()).toMatchObject({ delivered: 6 });
    expect(isInTurn(await standing() ?? NEW, clock.nowUs())).toBe(true);
  });

  test("writes what was to be written later with what is written next, and when it is given back", async () => {
    const more = (state: SinkState) => ({ ...state, delivered: state.delivered + 1 });
    {
      await using turn = await take();
      if (turn === undefined) throw new Error("there is no turn");
      turn.noteLater(more);
      expect(await standing()).toMatchObject({ delivered: 0 });
      await turn.note();
      expect(await standing()).toMatchObject({ delivered: 1 });
      turn.noteLater(more);
    }
    expect(await standing()).toMatchObject({ delivered: 2, turn: undefined });
    {
      await using turn = await take();
      if (turn === undefined) throw new Error("there is no turn");
      turn.noteLater((state) => ({ ...state, lastId: "before" }));
      await registryOf().change(name, (state) => state && { ...state, lastId: "skipped" });
    }
    expect(await standing()).toMatchObject({ lastId: "skipped", turn: undefined });
  });

  test("ends when somebody puts the sink elsewhere", async () => {
    await using turn = await take();
    if (turn === undefined) throw new Error("there is no turn");
    await registryOf().change(name, (state) => state && { ...state, lastId: "skipped" });
    await expect(delivered(turn, 1)).rejects.toThrow(TurnOverError);
    expect(await standing()).toMatchObject({ delivered: 0, lastId: "skipped" });
  });

  test("that is written while its service ends is left to the next", async () => {
    await registryOf().create(name, NEW);
    const ending = new AbortController();
    const slow: ObjectStore = {
      ...unreliable(store),
      async replace(...given) {
        const outcome = await store.replace(...given);
        ending.abort(new Error("the service ends"));
        return outcome;
      },
    };
    const taken = takeTurn(name, {
      ...{ registry: createSinkRegistry({ store: slow }), clock, log, signal: ending.signal },
      create: () => Promise.resolve(NEW),
    });
    await expect(taken).rejects.toThrow("the service ends");
    expect((await standing())?.turn).toBeUndefined();
    await using next = await take();
    expect(next).toBeDefined();
  });

  test("of a clock that was far ahead is not waited for", async () => {
    const untilUs = clock.nowUs() + 86_400_000_000;
    await registryOf().create(name, { ...NEW, turn: { session: "wrong", untilUs } });
    await using turn = await take();
    expect(turn?.state.turn?.session).not.toBe("wrong");
  });
});

describe("dead letters", () => {
  test("are one for each event, at most so many, and none is forgotten for another", async () => {
    const registry = createDeadLetterRegistry({ store });
    const letterOf = (number: number) => ({ id: `0a1b2c3d-${number}-0`, atUs: 1, reason: "no" });
    const full = Array.from({ length: DEAD_LETTERS_MAX - 1 }, (_, number) => letterOf(number));
    await registry.create(name, full);
    const keep = (number: number, reason = "no") =>
      keepDeadLetter(registry, { sink: name, letter: { ...letterOf(number), reason }, signal });
    await keep(5_000);
    await expect(keep(5_001)).rejects.toThrow("1000 dead letters wait to be cleared");
    await keep(5_000, "again");
    const kept = (await registry.get(name))?.value ?? [];
    expect(kept).toHaveLength(DEAD_LETTERS_MAX);
    expect(kept.at(-1)).toMatchObject({ id: "0a1b2c3d-5000-0", reason: "again" });
    expect(kept[0]).toEqual(full[0]);
  });
});
