/** What was given up may come once, and what lies ahead is known until it is accepted. */
import { describe, expect, it } from "vitest";
import {
  type AcceptanceState,
  createAcceptance,
  emptyAcceptance,
  standingOf,
  watermarkOf,
} from "../../src/event/acceptance.ts";
import { AHEAD_RANGES_MAX, withAhead } from "../../src/event/outstanding.ts";
import { type BatchHeader, GIVEN_UP, UNKNOWN_DIGEST } from "../../src/event/wire.ts";

const D = (number: number) => String(number).repeat(64);

function header(number: number, more: Partial<BatchHeader> = {}): BatchHeader {
  return {
    ...{ host: "web-1", agent: "a", epoch: "e1", number, count: 3, firstUs: 1, lastUs: 2 },
    digest: D(number),
    previous: number === 1 ? undefined : D(number - 1),
    void: undefined,
    ...more,
  };
}

const givenUp = (number: number, more: Partial<BatchHeader> = {}) =>
  header(number, { void: GIVEN_UP, count: 0, ...more });

function decide(given: readonly BatchHeader[], state: AcceptanceState = emptyAcceptance("i1")) {
  const acceptance = createAcceptance(state);
  const decisions = given.map((each, place) =>
    acceptance.decide({
      sequence: state.sequence + place + 1,
      storedAtUs: 1_000 + place,
      messageDigest: "m",
      agent: each.agent,
      batch: { ok: true, header: each },
    })
  );
  const after = acceptance.state();
  return {
    decisions,
    verdicts: decisions.map(({ verdict }) => verdict),
    state: after,
    standing: standingOf(after, { agent: "a", epoch: "e1" }),
    watermark: watermarkOf(after, "a", 9),
  };
}

describe("what came ahead", () => {
  it("is known by its places and numbers until all of it is accepted", () => {
    const before = decide([header(1), header(3), header(5), header(4)]);
    const range = { incarnation: "i1", first: 2, last: 4, lastUs: 1_003, highest: 5 };
    expect(before.standing).toEqual({ number: 1, digest: D(1), ahead: [range] });
    const half = decide([header(2), header(3), header(4)], before.state);
    expect(half.standing).toEqual({ number: 4, digest: D(4), ahead: [range] });
    expect(decide([header(5)], half.state).standing).toEqual({ number: 5, digest: D(5) });
  });

  it("of an epoch that is not the newest makes it no newer", () => {
    const next = header(1, { epoch: "e2", previous: D(1) });
    const { state } = decide([header(1), next, header(5)]);
    expect(watermarkOf(state, "a", 0)).toMatchObject({ epoch: "e2", number: 1 });
  });

  it("is remembered of the newest incarnations only", () => {
    const all = Array.from({ length: AHEAD_RANGES_MAX + 2 }, (_, at) => `i${at}`);
    const ranges = all.reduce<ReturnType<typeof withAhead>>(
      (known, incarnation) => withAhead(known, { incarnation, sequence: 1, lastUs: 1, number: 3 }),
      [],
    );
    expect(ranges.map(({ incarnation }) => incarnation)).toEqual(all.slice(2));
  });
});

describe("a batch that was given up", () => {
  const hole = [header(1), givenUp(2), header(3)];

  it("is a gap of unknown size, and the watermark names it", () => {
    const { decisions, watermark } = decide(hole);
    expect(decisions[1]).toMatchObject({
      verdict: "void",
      gaps: [{ class: "void", count: null, reason: GIVEN_UP, batches: [2, 2] }],
    });
    expect(watermark).toMatchObject({ number: 3, digest: D(3), givenUp: [[2, 2]] });
  });

  it("is taken when it comes after all, once, and changes nothing else", () => {
    const { verdicts, standing, watermark } = decide([...hole, header(2), header(2), header(3)]);
    expect(verdicts.slice(3)).toEqual(["accepted", "duplicate", "duplicate"]);
    expect(standing).toEqual({ number: 3, digest: D(3) });
    expect(watermark).not.toHaveProperty("givenUp");
  });

  it("that comes with another digest than the next one names is a fork", () => {
    const { verdicts, watermark } = decide([...hole, header(2, { digest: D(9) })]);
    expect(verdicts[3]).toBe("fork");
    expect(watermark).toMatchObject({ givenUp: [[2, 2]], fork: { number: 2, digest: D(9) } });
  });

  it("and that its sender has lost as well is waited for no longer", () => {
    const { verdicts, watermark } = decide([...hole, header(2, { void: "full" })]);
    expect(verdicts[3]).toBe("duplicate");
    expect(watermark).not.toHaveProperty("givenUp");
  });

  it("twice is given up once", () => {
    const { verdicts, standing } = decide([...hole, givenUp(2)]);
    expect(verdicts[3]).toBe("duplicate");
    expect(standing?.givenUp).toEqual([{ first: 2, last: 2, digest: D(2) }]);
  });

  it("is no batch that its sender lost: that one stays a duplicate", () => {
    const { verdicts } = decide([header(1), header(2, { void: "full" }), header(3), header(2)]);
    expect(verdicts[3]).toBe("duplicate");
  });

  it("as the first opens no epoch", () => {
    const { state, verdicts } = decide([header(3), givenUp(1), header(1)]);
    expect(verdicts).toEqual(["ahead", "void", "accepted"]);
    expect(watermarkOf(state, "a", 0)).toMatchObject({ epoch: "e1", number: 1 });
  });
});

describe("several in a row", () => {
  const unknown = { digest: UNKNOWN_DIGEST };
  const run = [
    header(1),
    givenUp(2, unknown),
    givenUp(3, { ...unknown, previous: UNKNOWN_DIGEST }),
    givenUp(4, { previous: UNKNOWN_DIGEST }),
  ];

  it("take as little room as one", () => {
    expect(decide([...run, header(5)]).standing).toEqual({
      number: 5,
      digest: D(5),
      givenUp: [{ first: 2, last: 4, digest: D(4) }],
    });
  });

  it.each([[[2, 3, 4]], [[3, 2, 4]], [[4, 3, 2]]])("may come in the order %j", (order) => {
    const { verdicts, standing } = decide([...run, header(5), ...order.map((n) => header(n))]);
    expect(verdicts.slice(5)).toEqual(["accepted", "accepted", "accepted"]);
    expect(standing).toEqual({ number: 5, digest: D(5) });
  });

  it("that were cut short go on with the sender's own", () => {
    const { verdicts, standing } = decide([...run.slice(0, 2), header(2), header(3), header(4)]);
    expect(verdicts.slice(2)).toEqual(["accepted", "accepted", "accepted"]);
    expect(standing).toEqual({ number: 4, digest: D(4) });
    const half = decide([...run.slice(0, 3), header(2), header(3), header(4), header(5)]);
    expect(half.verdicts.slice(3)).toEqual(["accepted", "accepted", "accepted", "accepted"]);
  });

  it("that were cut short are named by the batch after them, when that comes first", () => {
    const { verdicts, standing } = decide([...run.slice(0, 2), header(3)]);
    expect(verdicts[2]).toBe("accepted");
    expect(standing).toEqual({
      number: 3,
      digest: D(3),
      givenUp: [{ first: 2, last: 2, digest: D(2) }],
    });
    const late = decide([...run.slice(0, 2), header(3), header(2, { digest: D(9) }), header(2)]);
    expect(late.verdicts.slice(3)).toEqual(["fork", "accepted"]);
  });
});
