/** Batches on their way to targets that fail in every manner, with a clock that only notes how long was waited. */
import { describe, expect, test } from "vitest";
import { deliverBatch } from "../../../src/query/sinks/delivery.ts";
import { LaterError, RefusedError, type SinkTarget } from "../../../src/query/sinks/target.ts";
import { systemClock } from "../../../src/runtime/clock.ts";
import { sinkEvents } from "../../support/sink-events.ts";

/** Throws what the other side has against a delivery of these events, by number from 0. */
type Answer = (numbers: readonly number[], signal: AbortSignal) => void | Promise<void>;

interface Try {
  readonly attemptsMax?: number;
  readonly attemptLimitMs?: number;
  /** Throws when there is no room for a dead letter. */
  readonly bury?: () => void;
  readonly end?: AbortController;
}

async function deliver(count: number, answer: Answer, options: Try = {}) {
  const { attemptsMax = 3, attemptLimitMs, bury = () => {}, end = new AbortController() } = options;
  const events = sinkEvents(count);
  const seen = {
    offered: new Array<readonly number[]>(),
    taken: new Array<number>(),
    failures: new Array<string>(),
    waits: new Array<number>(),
    buried: new Array<readonly [number, string]>(),
  };
  const target: SinkTarget = {
    async deliver(batch, signal) {
      const numbers = batch.map((event) => events.indexOf(event));
      seen.offered.push(numbers);
      await answer(numbers, signal);
      seen.taken.push(...numbers);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const done = deliverBatch(events, {
    ...{ target, attemptsMax, signal: end.signal },
    ...(attemptLimitMs === undefined ? {} : { attemptLimitMs }),
    clock: {
      ...systemClock,
      sleep(ms, signal) {
        signal?.throwIfAborted();
        seen.waits.push(ms);
        return Promise.resolve();
      },
    },
    onFailure: (reason) => void seen.failures.push(reason),
    bury: (event, reason) => {
      bury();
      seen.buried.push([events.indexOf(event), reason]);
      return Promise.resolve();
    },
  });
  return { ...seen, error: await done.then(() => undefined, (error: unknown) => error) };
}

const refusing = (...poison: readonly number[]): Answer => (numbers) => {
  if (poison.some((each) => numbers.includes(each))) throw new RefusedError("no\nthanks");
};

describe("a batch", () => {
  test("is offered again, at growing intervals, for as long as the other side is away", async () => {
    let left = 200;
    const { taken, buried, waits, failures } = await deliver(3, () => {
      if (left-- > 0) throw new Error("away");
    });
    expect({ taken, buried }).toEqual({ taken: [0, 1, 2], buried: [] });
    expect(failures).toHaveLength(200);
    expect(waits[0]).toBeLessThanOrEqual(500);
    expect(waits[0]).toBeGreaterThanOrEqual(250);
    expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
    expect(Math.min(...waits.slice(10))).toBeGreaterThanOrEqual(30_000);
  });

  test("comes back when the other side asks for it, within an hour", async () => {
    const asked = [7_000, 1e9];
    const { waits, taken } = await deliver(1, () => {
      const waitMs = asked.shift();
      if (waitMs !== undefined) throw new LaterError("later", waitMs);
    });
    expect({ waits, taken }).toEqual({ waits: [7_000, 3_600_000], taken: [0] });
  });

  test("of which one event is refused loses that one, in the order of the others", async () => {
    const { taken, buried, offered } = await deliver(8, refusing(5), { attemptsMax: 5 });
    expect(taken).toEqual([0, 1, 2, 3, 4, 6, 7]);
    // Whatever was refused along with others is not held against it alone.
    expect(buried).toEqual([[5, "no thanks"]]);
    const alone = offered.filter((numbers) => numbers.length === 1 && numbers[0] === 5);
    expect(offered.filter((numbers) => numbers.includes(5))).toHaveLength(5);
    expect(alone).toHaveLength(2);
  });

  test("of which all events are refused makes a dead letter of each", async () => {
    const { taken, buried } = await deliver(4, refusing(0, 1, 2, 3), { attemptsMax: 1 });
    expect(taken).toEqual([]);
    expect(buried.map(([number]) => number)).toEqual([0, 1, 2, 3]);
  });

  test("waits where its dead letter finds no room", async () => {
    let isFull = true;
    let tries = 0;
    const bury = (): void => {
      tries += 1;
      isFull = tries < 4;
      if (isFull) throw new Error("1000 dead letters wait to be cleared");
    };
    const { taken, buried, failures, waits } = await deliver(2, refusing(0), {
      ...{ attemptsMax: 1, bury },
    });
    expect(buried).toEqual([[0, "no thanks"]]);
    expect(taken).toEqual([1]);
    expect(waits).toHaveLength(3);
    expect(failures.filter((reason) => reason.startsWith("1000 dead letters"))).toHaveLength(3);
  });

  test("that takes longer than one attempt may is offered in halves, and none of it is lost", async () => {
    // Each event takes so long that four of them never are taken in one attempt.
    const answer: Answer = async (numbers, signal) => {
      if (numbers.length <= 2) return;
      await new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason), { once: true })
      );
    };
    const { taken, buried, offered } = await deliver(4, answer, { attemptLimitMs: 20 });
    expect({ taken, buried }).toEqual({ taken: [0, 1, 2, 3], buried: [] });
    expect(offered).toEqual([[0, 1, 2, 3], [0, 1], [2, 3]]);
  });

  test("ends with the turn, and buries nothing then", async () => {
    const end = new AbortController();
    const reason = new Error("over");
    const { error, buried, taken, failures } = await deliver(2, () => {
      end.abort(reason);
      throw new RefusedError("no");
    }, { attemptsMax: 1, end });
    expect(error).toBe(reason);
    expect({ buried, taken, failures }).toEqual({ buried: [], taken: [], failures: [] });
  });
});
