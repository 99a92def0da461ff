import { describe, expect, test } from "vitest";
import { subscriptionAt } from "../../support/subscriptions.ts";
import { WHOLE_MESSAGE } from "../../../src/event/event-id.ts";
import {
  AHEAD_MAX,
  met,
  pass,
  type Progress,
  progressOf,
} from "../../../src/query/subscriptions/progress.ts";
import type { TailRow } from "../../../src/query/tail/live-queue.ts";
import type { TailPlace } from "../../../src/query/tail-place.ts";

const OLD = "aaaaaaaa";
const NEW = "bbbbbbbb";
const AT_START: Progress = {
  place: { streams: {}, reached: {}, knownUs: 0, reachedUs: 0 },
  ahead: {},
  unmet: new Set(),
};

/** As another session, perhaps of another service, takes it up. */
function resumed({ place, ahead }: Progress): Progress {
  return progressOf(subscriptionAt(0, { place, ahead }));
}

interface Source {
  readonly agent?: string;
  readonly epoch?: string;
  readonly batch?: number;
  readonly topic?: string;
  readonly incarnation?: string;
}

function row(sequence: number, idx: number, source: Source = {}): TailRow {
  const { agent = "a", epoch = "e", batch = sequence, topic = "app/test", incarnation = OLD } =
    source;
  return { incarnation, sequence, idx, json: JSON.stringify({ agent, epoch, batch, topic }) };
}

const whole = (sequence: number) => ({ sequence, idx: WHOLE_MESSAGE });

function end(streams: Readonly<Record<string, number>>): TailPlace {
  const places = Object.entries(streams).map(([name, last]) => [name, whole(last)] as const);
  return { streams: new Map(places), knownUs: 7 };
}

/** What is taken of rows, by sequence and idx, and how far that is. */
function take(
  progress: Progress,
  rows: readonly TailRow[],
  { upTo, committed }: {
    readonly upTo: Readonly<Record<string, number>>;
    readonly committed: Readonly<Record<string, number>>;
  },
) {
  const committedOf = (incarnation: string): number => committed[incarnation] ?? 0;
  const passed = pass(progress, rows, { end: end(upTo), committedOf });
  return {
    progress: passed.progress,
    taken: passed.rows.map(({ sequence, idx }) => [sequence, idx]),
  };
}

describe("a subscription's progress", () => {
  test("over what is committed remembers a place and nothing else", () => {
    const { progress, taken } = take(AT_START, [row(1, 0), row(2, 0), row(2, 1)], {
      upTo: { [OLD]: 3 },
      committed: { [OLD]: 5 },
    });
    expect(taken).toEqual([[1, 0], [2, 0], [2, 1]]);
    expect(progress).toEqual({
      place: { streams: { [OLD]: whole(3) }, reached: {}, knownUs: 7, reachedUs: 0 },
      ahead: {},
      unmet: new Set(),
    });
  });

  test("ahead of the commit reads again from the commit, and takes nothing twice", () => {
    const first = take(AT_START, [row(1, 0), row(2, 0), row(3, 0)], {
      upTo: { [OLD]: 3 },
      committed: { [OLD]: 1 },
    });
    expect(first.progress.place).toMatchObject({
      streams: { [OLD]: whole(1) },
      reached: { [OLD]: whole(3) },
    });
    const again = take(first.progress, [row(2, 0), row(3, 0), row(3, 1), row(4, 0)], {
      upTo: { [OLD]: 4 },
      committed: { [OLD]: 3 },
    });
    expect(again.taken).toEqual([[3, 1], [4, 0]]);
    expect(Object.keys(again.progress.ahead)).toEqual(["a/e"]);
    const settled = take(again.progress, [], { upTo: { [OLD]: 4 }, committed: { [OLD]: 4 } });
    expect(settled.progress).toMatchObject({
      place: { streams: { [OLD]: whole(4) }, reached: {} },
      ahead: {},
    });
  });

  test("takes a lower batch that comes behind a committed one: it was given up before", () => {
    const first = take(AT_START, [row(3, 0, { batch: 4 })], {
      upTo: { [OLD]: 3 },
      committed: { [OLD]: 2 },
    });
    const late = row(4, 0, { batch: 2 });
    const committed = take(first.progress, [late], { upTo: { [OLD]: 4 }, committed: { [OLD]: 3 } });
    expect(committed.taken).toEqual([[4, 0]]);
    const again = take(committed.progress, [late], { upTo: { [OLD]: 4 }, committed: { [OLD]: 3 } });
    expect(again.taken).toEqual([]);
  });

  test("after the broker lost its tail takes what stands there now, and what was given not again", () => {
    const [a, b] = [{ agent: "a", batch: 1 }, { agent: "b", batch: 1 }];
    const first = take(AT_START, [row(1, 0, a), row(2, 0, b)], {
      upTo: { [OLD]: 2 },
      committed: {},
    });
    // The order is another now, and a third agent came between.
    const rows = [row(1, 0, b), row(2, 0, { agent: "c", batch: 1 }), row(3, 0, a)];
    const again = take(first.progress, rows, { upTo: { [OLD]: 3 }, committed: {} });
    expect(again.taken).toEqual([[2, 0]]);
    const committed = take(again.progress, [], { upTo: { [OLD]: 3 }, committed: { [OLD]: 2 } });
    // Where it stands now is not committed yet.
    expect(Object.keys(committed.progress.ahead)).toEqual(["a/e"]);
  });

  test("taken up again knows what was given until it meets it, however far the commit is", () => {
    const [a, b] = [{ agent: "a", batch: 1 }, { agent: "b", batch: 1 }];
    const first = take(AT_START, [row(1, 0, a), row(2, 0, b)], {
      upTo: { [OLD]: 2 },
      committed: {},
    });
    // A third agent came before them, and the service has not seen yet what came last.
    const rows = [row(1, 0, { agent: "c", batch: 1 }), row(2, 0, b)];
    const again = take(resumed(first.progress), rows, {
      upTo: { [OLD]: 2 },
      committed: { [OLD]: 3 },
    });
    expect(again.taken).toEqual([[1, 0]]);
    expect(Object.keys(again.progress.ahead)).toEqual(["a/e"]);
    const last = take(resumed(again.progress), [
      row(3, 0, a),
      row(3, 1, a),
      row(4, 0, { ...a, batch: 2 }),
    ], {
      upTo: { [OLD]: 4 },
      committed: { [OLD]: 4 },
    });
    expect(last.taken).toEqual([[3, 1], [4, 0]]);
    expect(last.progress.ahead).toEqual({});
  });

  test("after the broker lost everything takes nothing twice in the next incarnation", () => {
    const batches = (incarnation: string, from: number) =>
      [1, 2, 3].map((batch) => row(from + batch, 0, { batch, incarnation }));
    const first = take(AT_START, batches(OLD, 10), {
      upTo: { [OLD]: 13 },
      committed: { [OLD]: 11 },
    });
    const upTo = { [OLD]: 11, [NEW]: 2 };
    // Batch 1 was committed, so its agent sends the others only.
    const again = take(first.progress, batches(NEW, 0).slice(1), {
      upTo,
      committed: { [OLD]: Infinity },
    });
    expect(again.taken).toEqual([]);
    const next = take(again.progress, [row(4, 0, { batch: 4, incarnation: NEW })], {
      upTo: { [OLD]: 11, [NEW]: 4 },
      committed: { [OLD]: Infinity, [NEW]: 4 },
    });
    expect(next.taken).toEqual([[4, 0]]);
    expect(next.progress.ahead).toEqual({});
  });

  test("put ahead of the commit, as by going forward, still knows what was given until it is committed", () => {
    const first = take(AT_START, [row(1, 0), row(2, 0)], { upTo: { [OLD]: 2 }, committed: {} });
    const forward: Progress = {
      ...first.progress,
      place: { ...first.progress.place, streams: { [OLD]: whole(5) }, reached: {} },
    };
    const quiet = take(forward, [], { upTo: { [OLD]: 5 }, committed: {} });
    expect(Object.keys(quiet.progress.ahead)).toEqual(["a/e"]);
    // The broker lost all of it.
    const again = [
      row(1, 0, { batch: 2, incarnation: NEW }),
      row(2, 0, { batch: 3, incarnation: NEW }),
    ];
    expect(
      take(quiet.progress, again, { upTo: { [OLD]: 5, [NEW]: 2 }, committed: { [OLD]: Infinity } })
        .taken,
    ).toEqual([[2, 0]]);
    const settled = take(quiet.progress, [], { upTo: { [OLD]: 5 }, committed: { [OLD]: 2 } });
    expect(settled.progress.ahead).toEqual({});
  });

  test("is settled by what is known to stand where it stood, though its filter no longer shows it", () => {
    const first = take(AT_START, [row(1, 0, { agent: "a" }), row(2, 0, { agent: "b" })], {
      upTo: { [OLD]: 2 },
      committed: {},
    });
    const again = take(resumed(first.progress), [], {
      upTo: { [OLD]: 2 },
      committed: { [OLD]: 2 },
    });
    expect(Object.keys(again.progress.ahead)).toEqual(["a/e", "b/e"]);
    const settled = take(met(again.progress, new Set(["a/e"])), [], {
      upTo: { [OLD]: 2 },
      committed: { [OLD]: 2 },
    });
    expect(Object.keys(settled.progress.ahead)).toEqual(["b/e"]);
  });

  test("keeps an agent's epochs apart", () => {
    const first = take(AT_START, [row(1, 0, { batch: 5 }), row(2, 0, { epoch: "f", batch: 1 })], {
      upTo: { [OLD]: 2 },
      committed: {},
    });
    const rows = [row(1, 0, { batch: 5 }), row(2, 0, { epoch: "f", batch: 1 })];
    expect(take(first.progress, rows, { upTo: { [OLD]: 2 }, committed: {} }).taken).toEqual([]);
  });

  test("takes a gap by its place, for its batch number need not be one that was taken", () => {
    const gap = { topic: "agent/gap", batch: 1 };
    const first = take(AT_START, [row(1, 0, { batch: 4 }), row(2, 0, gap)], {
      upTo: { [OLD]: 2 },
      committed: {},
    });
    expect(first.taken).toEqual([[1, 0], [2, 0]]);
    const again = take(first.progress, [row(2, 0, gap), row(3, 0, gap)], {
      upTo: { [OLD]: 3 },
      committed: {},
    });
    expect(again.taken).toEqual([[3, 0]]);
  });

  test("never goes back behind what is committed, whatever an older table version says", () => {
    const first = take(AT_START, [], { upTo: { [OLD]: 9 }, committed: { [OLD]: 9 } });
    const later = take(first.progress, [], { upTo: { [OLD]: 9 }, committed: { [OLD]: 4 } });
    expect(later.progress.place.streams).toEqual({ [OLD]: whole(9) });
  });

  test("remembers a bounded number of epochs, and with more goes by places", () => {
    const many = Array.from(
      { length: AHEAD_MAX + 10 },
      (_, at) => row(at + 1, 0, { agent: `a${at}`, batch: 1 }),
    );
    const upTo = { [OLD]: many.length };
    const first = take(AT_START, many, { upTo, committed: {} });
    expect(first.taken).toHaveLength(many.length);
    expect(Object.keys(first.progress.ahead)).toHaveLength(AHEAD_MAX);
    expect(take(first.progress, many, { upTo, committed: {} }).taken).toEqual([]);
  });
});
