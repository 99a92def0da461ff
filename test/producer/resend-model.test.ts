/**
 * The sender against the receiver: whatever is lost, doubled, delayed or set back on the way, in the end every batch is
 * part of the record exactly once and in order, and the spool is empty. The same runs find each rule that is taken out.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RULES, type SenderRules } from "../../src/producer/resend-rules.ts";
import { Agent, type Delivery, World } from "./world.ts";

type Operation =
  | { readonly kind: "append" }
  | { readonly kind: "step"; readonly times: number }
  | { readonly kind: "fault"; readonly delivery: Delivery }
  | { readonly kind: "late" }
  | { readonly kind: "connect"; readonly isOn: boolean }
  | { readonly kind: "watermark"; readonly age: number }
  | { readonly kind: "round"; readonly isPurging: boolean }
  | { readonly kind: "wait"; readonly seconds: number }
  | { readonly kind: "noise" }
  | { readonly kind: "loseTail"; readonly count: number; readonly forgetIds: boolean }
  | { readonly kind: "forgetIds" }
  | { readonly kind: "removeStream" }
  | { readonly kind: "crash"; readonly lostReceipts: number }
  | { readonly kind: "void" }
  | { readonly kind: "adopt"; readonly steps: number };

const few = fc.integer({ min: 1, max: 4 });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ kind: "append" } as const) },
  { weight: 9, arbitrary: fc.record({ kind: fc.constant("step" as const), times: few }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("fault" as const),
      delivery: fc.constantFrom<Delivery>("answerLost", "lost", "late", "damaged"),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "late" } as const) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("connect" as const), isOn: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("watermark" as const), age: fc.nat({ max: 3 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("round" as const), isPurging: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      seconds: fc.constantFrom(1, 10, 100, 1_000),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "noise" } as const) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("loseTail" as const),
      count: few,
      forgetIds: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "forgetIds" } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: "removeStream" } as const) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("crash" as const),
      lostReceipts: fc.nat({ max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "void" } as const) },
);
const operations = fc.array(operation, { maxLength: 80 });

function perform(world: World, agent: Agent, each: Operation): void {
  const { broker, record } = world;
  switch (each.kind) {
    case "append":
      return agent.append(`d${agent.name}${agent.batches.length + 1}`);
    case "step":
      for (let time = 0; time < each.times; time++) {
        world.step(agent, "answered", { watermarkAge: 0 });
      }
      return;
    case "fault":
      world.step(agent, each.delivery, { watermarkAge: 0 });
      return;
    case "late":
      return world.deliverLate(agent);
    case "connect":
      return each.isOn ? agent.connect() : agent.disconnect();
    case "watermark":
      return world.readWatermark(agent, each.age);
    case "round":
      return record.round(broker, { nowUs: world.nowUs, isPurging: each.isPurging });
    case "wait":
      world.nowUs += each.seconds * 1_000_000;
      return;
    case "noise":
      if (broker.incarnation !== undefined) broker.append(undefined, false);
      return;
    case "loseTail":
      return broker.loseTail(each.count, each);
    case "forgetIds":
      return broker.ids.clear();
    case "removeStream":
      return broker.remove();
    case "crash":
      return agent.crash(each.lostReceipts);
    case "void": {
      const kept = agent.batches[agent.released];
      if (kept !== undefined) kept.isVoid = true;
      return;
    }
    case "adopt":
      return record.adopt(broker, each.steps);
  }
}

/** All faults end; the world goes on for an hour, or until nothing is left to do. */
function settle(world: World, agent: Agent): void {
  const { broker, record } = world;
  agent.connect();
  for (let round = 0; round < 120; round++) {
    for (let second = 0; second < 30; second++) {
      world.nowUs += 1_000_000;
      for (let step = 0; step < 400; step++) {
        if (world.step(agent, "answered", { watermarkAge: 0 }).kind === "idle") break;
      }
    }
    // Ids are remembered for two minutes.
    if (round % 4 === 3) broker.ids.clear();
    record.round(broker, { nowUs: world.nowUs, isPurging: round % 2 === 0 });
    if (agent.released === agent.batches.length) return;
  }
}

function begin(rules: SenderRules): { readonly world: World; readonly agent: Agent } {
  const agent = new Agent("s", rules);
  agent.connect();
  return { world: new World(), agent };
}

function performAll(world: World, agent: Agent, list: readonly Operation[]): void {
  for (const each of list) {
    world.nowUs += 1_000;
    perform(world, agent, each);
  }
}

/** One spool, whatever fails around it. */
function runAlone(list: readonly Operation[], rules: SenderRules): void {
  const { world, agent } = begin(rules);
  performAll(world, agent, list);
  settle(world, agent);
  expect(world.record.accepted).toEqual(agent.batches.map(({ digest }) => digest));
  expect(agent.released).toBe(agent.batches.length);
  expect(agent.conflicts).toBe(0);
}

/** Batches are adopted again and again from a sender that is not gone at all: each comes into the record once. */
function runAdopted(list: readonly Operation[], rules: SenderRules): void {
  const { world, agent } = begin(rules);
  performAll(world, agent, list);
  settle(world, agent);
  const { accepted } = world.record;
  expect(new Set(accepted).size).toBe(accepted.length);
  const whole = agent.batches.filter(({ isVoid }) => !isVoid);
  expect(whole.filter(({ digest }) => !accepted.includes(digest))).toEqual([]);
  expect(agent.released).toBe(agent.batches.length);
  expect(agent.conflicts).toBe(0);
}

interface CloneRun {
  readonly before: readonly Operation[];
  readonly both: readonly (readonly [boolean, Operation])[];
}

/** A disk is copied and both copies run for a while; then the copy ends. Nothing of the first may be missing. */
function runCloned({ before, both }: CloneRun, rules: SenderRules): void {
  const { world, agent } = begin(rules);
  performAll(world, agent, before);
  const twin = agent.clone("t");
  twin.connect();
  for (const [isTwin, each] of both) performAll(world, isTwin ? twin : agent, [each]);
  settle(world, agent);
  const accepted = new Set(world.record.accepted);
  expect(agent.batches.filter(({ digest }) => !accepted.has(digest))).toEqual([]);
  expect(agent.released).toBe(agent.batches.length);
}

interface SetBackRun {
  readonly before: readonly Operation[];
  readonly commits: number;
  readonly after: readonly Operation[];
}

/** The bucket goes back in time, and an operator accepts a new stream. What was released is gone; no more than that. */
function runSetBack({ before, commits, after }: SetBackRun, rules: SenderRules): void {
  const { world, agent } = begin(rules);
  performAll(world, agent, before);
  // What the newest watermark lets go of is gone before the bucket goes back.
  for (let step = 0; step < 4; step++) world.step(agent, "lost", { watermarkAge: 0 });
  const { released } = agent;
  world.record.setBack(commits);
  world.broker.make();
  // The roll-up writes every watermark when it starts.
  world.record.watermarks = [];
  world.record.round(world.broker, { nowUs: world.nowUs, isPurging: false });
  performAll(world, agent, after);
  settle(world, agent);
  const accepted = new Set(world.record.accepted);
  const kept = agent.batches.slice(released);
  expect(kept.filter(({ digest }) => !accepted.has(digest))).toEqual([]);
  expect(agent.released).toBe(agent.batches.length);
}

const honest = operations;
/** A batch that comes damaged, and two behind it. */
const HOLE: readonly Operation[] = [
  { kind: "connect", isOn: true },
  { kind: "step", times: 40 },
  { kind: "append" },
  { kind: "append" },
  { kind: "append" },
  { kind: "fault", delivery: "damaged" },
  { kind: "step", times: 2 },
  { kind: "round", isPurging: false },
];
const fewer = fc.array(operation, { maxLength: 20 });
const adopted: fc.Arbitrary<readonly Operation[]> = fc.array(
  fc.tuple(fewer, fc.nat({ max: 4 }), fewer).map(([before, steps, after]): Operation[] => [
    ...[...before, ...HOLE, { kind: "adopt" as const, steps }],
    ...[{ kind: "round" as const, isPurging: false }, ...after],
  ]),
  { minLength: 1, maxLength: 3 },
).map((parts) => parts.flat());
const cloned: fc.Arbitrary<CloneRun> = fc.record({
  before: operations,
  both: fc.array(fc.tuple(fc.boolean(), operation), { maxLength: 80 }),
});
const setBack: fc.Arbitrary<SetBackRun> = fc.record({
  before: operations,
  commits: fc.integer({ min: 1, max: 5 }),
  after: operations,
});

const RUNS = Number(process.env["MODEL_RUNS"] ?? 5_000);
const options = { numRuns: RUNS, verbose: true };

describe("sender and receiver", () => {
  it("bring every batch into the record once and in order, whatever fails", () => {
    fc.assert(fc.property(honest, (list) => runAlone(list, RULES)), options);
  });

  it("bring every batch into the record once when it is adopted from a sender that is there", () => {
    fc.assert(fc.property(adopted, (list) => runAdopted(list, RULES)), options);
  });

  it("lose nothing of a spool whose copy runs beside it", () => {
    fc.assert(fc.property(cloned, (list) => runCloned(list, RULES)), options);
  });

  it("go on after the record was set back, and lose only what was released before", () => {
    fc.assert(fc.property(setBack, (list) => runSetBack(list, RULES)), options);
  });
});

/** Rules whose absence no other rule makes up for; the others only save time or bytes, see resend.test.ts. */
describe("the model finds the bug when this rule is taken out:", () => {
  const alone = (rules: SenderRules) => fc.property(honest, (list) => runAlone(list, rules));
  const beside = (rules: SenderRules) => fc.property(cloned, (list) => runCloned(list, rules));
  const later = (rules: SenderRules) => fc.property(setBack, (list) => runSetBack(list, rules));

  it.each(
    [
      ["refusal", "gone: none of ours is left and not all were covered", alone],
      ["refusal", "unknown: a lost acknowledgement of ours, or another's message", alone],
      ["standing", "covered", alone],
      ["standing", "the record holds another batch", beside],
      ["standing", "the record was set back", later],
      ["standing", "an old watermark", later],
      ["progress", "all up to the barrier is decided", alone],
      ["progress", "the record passed over a batch", alone],
    ] as const,
  )("%s: %s", (table, name, property) => {
    const rules = without(table, name);
    const { failed } = fc.check<unknown[]>(property(rules), {
      numRuns: 100_000,
      endOnFailure: true,
    });
    expect(failed).toBe(true);
  }, 60_000);
});

function without(table: keyof SenderRules, name: string): SenderRules {
  const { refusal, standing, progress } = RULES;
  const isLeft = (rule: { readonly name: string }): boolean => rule.name !== name;
  expect([...refusal, ...standing, ...progress].filter((rule) => !isLeft(rule)).length).toBe(1);
  return {
    refusal: table === "refusal" ? refusal.filter(isLeft) : refusal,
    standing: table === "standing" ? standing.filter(isLeft) : standing,
    progress: table === "progress" ? progress.filter(isLeft) : progress,
  };
}
