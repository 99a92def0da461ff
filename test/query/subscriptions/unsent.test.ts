import { beforeEach, describe, expect, test } from "vitest";
import { createUnsent, SETTLED_MS, type Unsent } from "../../../src/query/subscriptions/unsent.ts";

const block = (from: number, to: number) => ({
  count: to - from + 1,
  after: from === 1 ? undefined : `aaaaaaaa-${from - 1}-0`,
  from: `aaaaaaaa-${from}-0`,
  to: `aaaaaaaa-${to}-0`,
});

describe("what may not have been received", () => {
  let nowMs: number;
  let unsent: Unsent;
  beforeEach(() => {
    nowMs = 1_000;
    unsent = createUnsent(() => nowMs);
  });

  test("is all blocks of the last moments, as one", () => {
    expect(unsent.with(block(1, 5))).toEqual(block(1, 5));
    unsent.handedOver(block(1, 5));
    unsent.taken();
    nowMs += SETTLED_MS - 1;
    expect(unsent.with(block(6, 9))).toEqual(block(1, 9));
    unsent.handedOver(block(6, 9));
    unsent.taken();
    nowMs += 1;
    expect(unsent.block()).toEqual(block(6, 9));
    nowMs += SETTLED_MS;
    expect(unsent.block()).toBeUndefined();
  });

  test("stays as long as the reader does not take what it is given", () => {
    unsent.handedOver(block(1, 5));
    unsent.taken();
    unsent.handedOver(block(6, 9));
    nowMs += 10 * SETTLED_MS;
    expect(unsent.block()).toEqual(block(1, 9));
    unsent.taken();
    expect(unsent.block()).toEqual(block(6, 9));
    nowMs += SETTLED_MS;
    expect(unsent.block()).toBeUndefined();
  });

  test("of another reader is told once, and goes on until this one has taken the notice", () => {
    unsent.adopt(block(1, 5));
    expect(unsent.untold()).toEqual(block(1, 5));
    expect(unsent.untold()).toBeUndefined();
    expect(unsent.with(block(6, 9))).toEqual(block(1, 9));
    unsent.forget();
    expect(unsent.block()).toBeUndefined();
  });

  test("has no count when a part of it has none", () => {
    unsent.adopt({ ...block(1, 5), count: undefined });
    expect(unsent.with(block(6, 9))).toEqual({ ...block(1, 9), count: undefined });
  });
});
