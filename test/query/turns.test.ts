import { describe, expect, test } from "vitest";
import { createBudgets, HALF_LIFE_MS } from "../../src/query/budgets.ts";
import {
  createTurns,
  RELIEF_LEAST_MS,
  type Turn,
  type TurnsOptions,
} from "../../src/query/turns.ts";

const { signal } = new AbortController();

/** Places at a time that the test moves. */
function setUp(limits: Partial<TurnsOptions> = {}) {
  let nowMs = 1_000;
  const elapsedMs = () => nowMs;
  const budgets = createBudgets({ elapsedMs });
  const some = { size: 2, share: 1, waitingMax: 4, guaranteedMs: 500 };
  const turns = createTurns({ ...some, budgets, elapsedMs, ...limits });
  return { turns, budgets, pass: (ms: number) => nowMs += ms };
}

/** What a promise is by now. */
async function stateOf(turn: Promise<Turn>): Promise<string> {
  const state = turn.then(() => "entered", (error) => String(error.problem?.status ?? error));
  await new Promise((resolve) => setTimeout(resolve));
  return await Promise.race([state, Promise.resolve("waiting")]);
}

describe("turns", () => {
  test("leave a place for others, however many one principal asks for", async () => {
    const { turns } = setUp({ size: 3, share: 2 });
    const heavy = [1, 2, 3, 4].map(() => turns.take("heavy", signal));
    const states = await Promise.all(heavy.map(stateOf));
    expect(states).toEqual(["entered", "entered", "waiting", "waiting"]);
    expect(await stateOf(turns.take("light", signal))).toBe("entered");
    expect(turns.load).toEqual({ running: 3, waiting: 2 });
  });

  test("go to who has used the least of late, not to who came first", async () => {
    const { turns, pass } = setUp({ size: 1 });
    const first = await turns.take("heavy", signal);
    const again = turns.take("heavy", signal);
    const light = turns.take("light", signal);
    pass(100);
    first[Symbol.dispose]();
    expect(await stateOf(again)).toBe("waiting");
    (await light)[Symbol.dispose]();
    expect(await stateOf(again)).toBe("entered");
  });

  test("are fair to all that ask without end", async () => {
    const { turns, pass } = setUp({ size: 1, waitingMax: 100 });
    const had: Record<string, number> = { heavy: 0, a: 0, b: 0 };
    const waiting = ["heavy", "heavy", "heavy", "heavy", "a", "b"].map((name) => ({ name }));
    let running = await turns.take("heavy", signal);
    const entered: { readonly name: string; readonly turn: Turn }[] = [];
    const ask = ({ name }: { readonly name: string }): void =>
      void turns.take(name, signal).then((turn) => entered.push({ name, turn }));
    waiting.forEach(ask);
    for (let round = 0; round < 90; round++) {
      pass(10);
      running[Symbol.dispose]();
      await new Promise(setImmediate);
      const next = entered.shift();
      if (next === undefined) throw new Error("a free place went to nobody");
      had[next.name] = (had[next.name] ?? 0) + 1;
      running = next.turn;
      ask(next);
    }
    for (const count of Object.values(had)) expect(count).toBeGreaterThanOrEqual(29);
  });

  test("end the longest of who has used the most once somebody with less waits", async () => {
    const { turns, pass } = setUp();
    const [one, other] = [await turns.take("most", signal), await turns.take("much", signal)];
    pass(499);
    const light = turns.take("light", signal);
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect([one.lost.aborted, other.lost.aborted]).toEqual([false, false]);
    pass(100);
    await expect.poll(() => one.lost.aborted || other.lost.aborted).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(one.lost.aborted).not.toBe(other.lost.aborted);
    const lost = one.lost.aborted ? one : other;
    expect(lost.lost.reason).toMatchObject({
      problem: { status: 429 },
      headers: { "Retry-After": expect.any(String) },
    });
    expect(await stateOf(light)).toBe("waiting");
    lost[Symbol.dispose]();
    expect(await stateOf(light)).toBe("entered");
  });

  test("end nobody's for somebody who has used more", async () => {
    const { turns, pass } = setUp({ size: 1 });
    const heavy = await turns.take("heavy", signal);
    pass(2_000);
    heavy[Symbol.dispose]();
    const light = await turns.take("light", signal);
    pass(600);
    const again = turns.take("heavy", signal);
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(light.lost.aborted).toBe(false);
    expect(await stateOf(again)).toBe("waiting");
  });

  test("are not lost to another's lack of memory by who has just come", async () => {
    const { turns, pass } = setUp({ guaranteedMs: 60_000 });
    const heavy = await turns.take("heavy", signal);
    pass(RELIEF_LEAST_MS - 1);
    expect(turns.relieve("fresh")).toBe(false);
    expect(heavy.lost.aborted).toBe(false);
    pass(1);
    expect(turns.relieve("heavy")).toBe(false);
    expect(turns.relieve("fresh")).toBe(true);
    expect(heavy.lost.aborted).toBe(true);
  });

  test("are refused first to who has the most waiting", async () => {
    const { turns } = setUp({ size: 1, waitingMax: 3 });
    await turns.take("heavy", signal);
    const heavy = [1, 2, 3].map(() => turns.take("heavy", signal));
    await expect(turns.take("heavy", signal)).rejects.toMatchObject({
      problem: { status: 429 },
      headers: { "Retry-After": expect.any(String) },
    });
    const light = turns.take("light", signal);
    expect(await Promise.all([...heavy, light].map(stateOf)))
      .toEqual(["waiting", "waiting", "429", "waiting"]);
    const third = turns.take("third", signal);
    expect(await Promise.all([...heavy, light, third].map(stateOf)))
      .toEqual(["waiting", "429", "429", "waiting", "waiting"]);
    // Where everybody has one, nobody asked for too much.
    await expect(turns.take("fourth", signal)).rejects.toMatchObject({ problem: { status: 503 } });
  });

  test("are left by who goes", async () => {
    const { turns } = setUp({ size: 1 });
    const running = await turns.take("a", signal);
    const leaving = new AbortController();
    const left = turns.take("b", leaving.signal);
    const stays = turns.take("c", signal);
    leaving.abort();
    await expect(left).rejects.toThrow();
    running[Symbol.dispose]();
    running[Symbol.dispose]();
    expect(await stateOf(stays)).toBe("entered");
    expect(turns.load).toEqual({ running: 1, waiting: 0 });
  });
});

describe("what a principal has used", () => {
  test("counts while it runs, and half after a while", () => {
    const { budgets, pass } = setUp();
    const end = budgets.begin("ann");
    pass(800);
    expect(budgets.usedMs("ann")).toBe(800);
    end();
    end();
    expect(budgets.usedMs("ann")).toBe(800);
    pass(HALF_LIFE_MS);
    expect(budgets.usedMs("ann")).toBeCloseTo(400);
    expect(budgets.usedMs("nobody")).toBe(0);
  });

  test("is kept of who has used much, however many others come", () => {
    const { budgets, pass } = setUp();
    const end = budgets.begin("heavy");
    pass(10_000);
    end();
    for (let number = 0; number < 20_000; number++) budgets.begin(`n${number}`)();
    expect(budgets.usedMs("heavy")).toBe(10_000);
  });
});
