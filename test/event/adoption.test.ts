/** A plan is what acceptance takes, whatever was kept. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createAcceptance, emptyAcceptance } from "../../src/event/acceptance.ts";
import { GIVEN_UP_MAX, planAdoption } from "../../src/event/adoption.ts";
import { type BatchHeader, GIVEN_UP, UNKNOWN_DIGEST } from "../../src/event/wire.ts";

const D = (text: string | number) => String(text).padStart(64, "a");

function kept(number: number, more: Partial<BatchHeader> = {}): { readonly header: BatchHeader } {
  const header = {
    ...{ host: "web-1", agent: "a", epoch: "e1", number, count: 3, firstUs: 5, lastUs: 8 },
    digest: D(number),
    previous: number === 1 ? undefined : D(number - 1),
    void: undefined,
    ...more,
  };
  return { header };
}

const headersOf = ({ steps }: ReturnType<typeof planAdoption<ReturnType<typeof kept>>>) =>
  steps.map((step) => step.kind === "void" ? step.header : step.batch.header);

const STANDING = { number: 1, digest: D(1) };

describe("a plan", () => {
  it("fills each hole with voids that lead to the batch after it", () => {
    const plan = planAdoption(STANDING, [kept(7), kept(3), kept(4)]);
    expect(plan).toMatchObject({ voids: 3, kept: 3, ended: undefined });
    const shown = headersOf(plan).map((each) => [each.number, each.void, each.previous]);
    expect(shown).toEqual([
      [2, GIVEN_UP, D(1)],
      [3, undefined, D(2)],
      [4, undefined, D(3)],
      [5, GIVEN_UP, D(4)],
      [6, GIVEN_UP, UNKNOWN_DIGEST],
      [7, undefined, D(6)],
    ]);
    expect(headersOf(plan).filter((each) => each.void !== undefined)).toMatchObject([
      { digest: D(2), count: 0, firstUs: 5, lastUs: 5 },
      { digest: UNKNOWN_DIGEST },
      { digest: D(6) },
    ]);
  });

  it("needs no voids when the hole was filled meanwhile, and nothing when all was taken", () => {
    expect(planAdoption({ number: 2, digest: D(2) }, [kept(3), kept(3), kept(4)])).toMatchObject({
      voids: 0,
      kept: 2,
    });
    expect(planAdoption({ number: 4, digest: D(4) }, [kept(3), kept(4)]).steps).toEqual([]);
  });

  it("begins an epoch of which nothing was taken", () => {
    const plan = planAdoption({ number: 0, digest: "" }, [kept(3)]);
    expect(headersOf(plan).map(({ previous }) => previous)).toEqual([
      undefined,
      UNKNOWN_DIGEST,
      D(2),
    ]);
  });

  it("ends where the chain does, and follows the one of two that goes on", () => {
    const stranger = kept(4, { previous: D("f") });
    expect(planAdoption(STANDING, [kept(3), stranger])).toMatchObject({
      voids: 1,
      kept: 1,
      ended: "batch 4 does not continue the one before it",
    });
    const twin = kept(3, { digest: D("f") });
    const plan = planAdoption(STANDING, [twin, kept(3), kept(4)]);
    expect(headersOf(plan).map(({ digest }) => digest)).toEqual([D(2), D(3), D(4)]);
  });

  it("gives up no more than is likely to be missing", () => {
    const plan = planAdoption(STANDING, [kept(3), kept(5 + GIVEN_UP_MAX)]);
    expect(plan).toMatchObject({ voids: 1, kept: 1 });
    expect(plan.ended).toContain("too many to give up");
  });

  it("is taken by acceptance step by step", () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 5 }),
        fc.array(fc.record({ number: fc.integer({ min: 1, max: 15 }), isTwin: fc.boolean() })),
        (accepted, came) => {
          const acceptance = createAcceptance(emptyAcceptance("i1"));
          let sequence = 0;
          const decide = (header: BatchHeader) =>
            acceptance.decide({
              sequence: ++sequence,
              storedAtUs: 1,
              messageDigest: "m",
              agent: "a",
              batch: { ok: true, header },
            }).verdict;
          for (let number = 1; number <= accepted; number++) decide(kept(number).header);
          const all = came.map(({ number, isTwin }) =>
            kept(number, isTwin ? { digest: D(`b${number}`) } : {})
          );
          const digest = accepted === 0 ? "" : D(accepted);
          for (const step of planAdoption({ number: accepted, digest }, all).steps) {
            const header = step.kind === "void" ? step.header : step.batch.header;
            expect(decide(header)).toBe(step.kind === "void" ? "void" : "accepted");
          }
        },
      ),
    );
  });
});
