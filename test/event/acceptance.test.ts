import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AcceptanceState,
  type Arrival,
  createAcceptance,
  emptyAcceptance,
  standingOf,
  startIncarnation,
  watermarkOf,
} from "../../src/event/acceptance.ts";
import type { BatchHeader } from "../../src/event/wire.ts";

const D = (letter: string) => letter.repeat(64);

function header(number: number, more: Partial<BatchHeader> = {}): BatchHeader {
  return {
    host: "web-1",
    agent: "a",
    epoch: "e1",
    number,
    count: 3,
    firstUs: 1,
    lastUs: 2,
    digest: D(String(number)),
    previous: number === 1 ? undefined : D(String(number - 1)),
    void: undefined,
    ...more,
  };
}

function arrival(sequence: number, given: BatchHeader | string, agent = "a"): Arrival {
  const batch = typeof given === "string"
    ? { ok: false, reason: given } as const
    : { ok: true, header: given } as const;
  return { sequence, storedAtUs: 1_000 + sequence, messageDigest: `m${sequence}`, agent, batch };
}

/** Verdicts on headers at sequences 1, 2, 3 … and the state after them. */
function decide(
  given: readonly (BatchHeader | string)[],
  state: AcceptanceState = emptyAcceptance("i1"),
) {
  const acceptance = createAcceptance(state);
  const decisions = given.map((each, place) =>
    acceptance.decide(arrival(state.sequence + place + 1, each))
  );
  return { decisions, verdicts: decisions.map(({ verdict }) => verdict), acceptance };
}

it("believes no name to be known because every object inherits it", () => {
  const name = "constructor";
  const strange = (number: number, more: Partial<BatchHeader> = {}): BatchHeader =>
    header(number, { epoch: name, previous: undefined, ...more });
  const { verdicts, acceptance } = decide([strange(5), header(1), strange(5), strange(1)]);
  expect(verdicts).toEqual(["ahead", "accepted", "ahead", "accepted"]);
  expect(standingOf(acceptance.state(), { agent: "a", epoch: name })?.number).toBe(1);
  const state = acceptance.state();
  expect(standingOf(state, { agent: name, epoch: name })).toBeUndefined();
  expect(watermarkOf(state, name, 1)).toBeUndefined();
});

describe("a batch", () => {
  it.each<[string, (BatchHeader | string)[], string[]]>([
    ["next in order", [header(1), header(2), header(3)], ["accepted", "accepted", "accepted"]],
    ["seen before", [header(1), header(2), header(2), header(1)], [
      "accepted",
      "accepted",
      "duplicate",
      "duplicate",
    ]],
    ["of a number that is taken by another", [header(1), header(1, { digest: D("f") })], [
      "accepted",
      "fork",
    ]],
    ["with another batch before it", [header(1), header(2, { previous: D("f") })], [
      "accepted",
      "fork",
    ]],
    ["with no batch before it", [header(1), header(2, { previous: undefined })], [
      "accepted",
      "fork",
    ]],
    ["ahead of a hole", [header(1), header(3), header(2), header(3)], [
      "accepted",
      "ahead",
      "accepted",
      "accepted",
    ]],
    ["ahead of everything", [header(2), header(1), header(2)], ["ahead", "accepted", "accepted"]],
    ["whose headers cannot be trusted", [header(1), "digest", header(2)], [
      "accepted",
      "refused",
      "accepted",
    ]],
    ["that is a void", [header(1), header(2, { void: "full" }), header(3)], [
      "accepted",
      "void",
      "accepted",
    ]],
    ["that was a void and comes back", [header(1, { void: "full" }), header(1)], [
      "void",
      "duplicate",
    ]],
  ])("%s", (_name, given, expected) => {
    expect(decide(given).verdicts).toEqual(expected);
  });

  it("of another agent stands alone", () => {
    const other = header(1, { agent: "b" });
    const { verdicts, acceptance } = decide([header(1), other, header(2)]);
    expect(verdicts).toEqual(["accepted", "accepted", "accepted"]);
    expect(Object.keys(acceptance.state().agents)).toEqual(["a", "b"]);
  });

  it("of an earlier epoch is still known, and may go on", () => {
    const next = header(1, { epoch: "e2", previous: D("1"), digest: D("x") });
    const { verdicts, acceptance } = decide([header(1), next, header(1), header(2)]);
    expect(verdicts).toEqual(["accepted", "accepted", "duplicate", "accepted"]);
    expect(watermarkOf(acceptance.state(), "a", 5)).toMatchObject({ epoch: "e2", number: 1 });
  });

  it("is decided once: an old sequence is a programmer's error", () => {
    const acceptance = createAcceptance(emptyAcceptance("i1"));
    acceptance.decide(arrival(5, header(1)));
    expect(() => acceptance.decide(arrival(5, header(2)))).toThrow(RangeError);
    expect(() => acceptance.decide(arrival(4, header(2)))).toThrow("5 was decided already");
  });
});

describe("gaps", () => {
  it("tell of a void what was lost and why", () => {
    const { decisions } = decide([header(1), header(2, { void: "the spool was full" })]);
    expect(decisions[1]?.gaps).toEqual([{
      class: "void",
      count: 3,
      reason: "the spool was full",
      agent: "a",
      epoch: "e1",
      batches: [2, 2],
      times: [1, 2],
    }]);
  });

  it.each<[string, BatchHeader[], number]>([
    ["the first epoch begins without one before", [header(1)], 0],
    ["the first epoch names one that the record never had", [header(1, { previous: D("9") })], 1],
    [
      "an epoch continues the last batch",
      [header(1), header(1, { epoch: "e2", previous: D("1") })],
      0,
    ],
    ["an epoch continues another batch", [
      header(1),
      header(2),
      header(1, { epoch: "e2", previous: D("1") }),
    ], 1],
    ["an epoch begins anew", [header(1), header(1, { epoch: "e2" })], 1],
    ["an epoch begins anew after one that was only seen", [
      header(2),
      header(1, { epoch: "e2" }),
    ], 0],
  ])("%s: %#", (_name, given, count) => {
    const { decisions } = decide(given);
    expect(decisions.at(-1)?.gaps.filter((gap) => gap.class === "epoch").length).toBe(count);
  });

  it("tell of a hole in the stream, but not of where it begins", () => {
    const acceptance = createAcceptance(emptyAcceptance("i1"));
    expect(acceptance.decide(arrival(7, header(1))).gaps).toEqual([]);
    const { gaps } = acceptance.decide(arrival(10, header(2)));
    expect(gaps).toMatchObject([{ class: "stream", count: null }]);
    expect(gaps[0]?.reason).toContain("8 to 9");
  });

  it("tell of a fork, and the watermark names it until a new epoch", () => {
    const twin = header(2, { digest: D("f"), previous: D("1") });
    const { decisions, acceptance } = decide([header(1), header(2), twin]);
    expect(decisions[2]?.gaps).toMatchObject([{ class: "fork", count: 3, batches: [2, 2] }]);
    const fork = { epoch: "e1", number: 2, digest: D("f") };
    expect(watermarkOf(acceptance.state(), "a", 0)).toMatchObject({ number: 2, fork });
    const after = decide([header(1, { epoch: "e2", previous: D("2") })], acceptance.state());
    expect(watermarkOf(after.acceptance.state(), "a", 0)?.fork).toBeUndefined();
  });
});

describe("watermarks", () => {
  it("exist only for agents that were heard of", () => {
    expect(watermarkOf(emptyAcceptance("i1"), "a", 0)).toBeUndefined();
  });

  it("say that nothing was taken of an agent whose batches all came ahead or damaged", () => {
    const ahead = decide([header(4)]).acceptance.state();
    expect(watermarkOf(ahead, "a", 9)).toEqual({
      incarnation: "i1",
      sequence: 1,
      epoch: "e1",
      number: 0,
      digest: "",
      fork: undefined,
      atUs: 9,
    });
    const damaged = decide(["digest"]).acceptance.state();
    expect(watermarkOf(damaged, "a", 9)).toMatchObject({ sequence: 1, epoch: "", number: 0 });
    expect(decide([header(1)], damaged).decisions[0]).toMatchObject({
      verdict: "accepted",
      gaps: [],
    });
  });

  it("survive a new incarnation, whose places start anew", () => {
    const state = startIncarnation(decide([header(1), header(2)]).acceptance.state(), "i2");
    expect(state).toMatchObject({ incarnation: "i2", sequence: 0, digest: "" });
    const { verdicts, acceptance } = decide([header(2), header(3)], state);
    expect(verdicts).toEqual(["duplicate", "accepted"]);
    expect(watermarkOf(acceptance.state(), "a", 0)).toMatchObject({ incarnation: "i2", number: 3 });
  });
});

describe("acceptance", () => {
  const given = fc.array(
    fc.oneof(
      fc.record({ epoch: fc.constantFrom("e1", "e2"), number: fc.integer({ min: 1, max: 5 }) })
        .map(({ epoch, number }) => header(number, { epoch })),
      fc.constant("damaged"),
    ),
    { maxLength: 40 },
  );

  it("is a function of state and message: read in pieces, it decides the same", () => {
    fc.assert(
      fc.property(given, fc.nat({ max: 40 }), (list, cut) => {
        const whole = decide(list);
        const first = decide(list.slice(0, cut));
        const second = decide(list.slice(cut), first.acceptance.state());
        expect([...first.decisions, ...second.decisions]).toEqual(whole.decisions);
        expect(second.acceptance.state()).toEqual(whole.acceptance.state());
      }),
      { verbose: true },
    );
  });

  it("accepts of every epoch an unbroken prefix, each batch once", () => {
    fc.assert(
      fc.property(given, (list) => {
        const { verdicts } = decide(list);
        for (const epoch of ["e1", "e2"]) {
          const taken = list.flatMap((each, place) =>
            typeof each !== "string" && each.epoch === epoch && verdicts[place] === "accepted"
              ? each.number
              : []
          );
          expect(taken).toEqual(taken.map((_, place) => place + 1));
        }
      }),
      { verbose: true },
    );
  });

  it("does not change a state that it was given or gave", () => {
    const before = decide([header(1)]).acceptance;
    const state = before.state();
    const copy = structuredClone(state);
    before.decide(arrival(9, header(2)));
    decide([header(2), header(3)], state);
    expect(state).toEqual(copy);
  });
});
