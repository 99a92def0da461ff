import { describe, expect, test } from "vitest";
import { WHOLE_MESSAGE } from "../../../src/event/event-id.ts";
import { behindCommit } from "../../../src/query/subscriptions/marks.ts";

const [ONE, OLD] = ["aaaaaaaa", "cccccccc"];
const whole = (sequence: number) => ({ sequence, idx: WHOLE_MESSAGE });

/** Put to `upTo` by a service that knows of `committed`, having been at `floor`. */
function put(upTo: number, committed: number, floor?: number) {
  return behindCommit({ streams: { [ONE]: whole(upTo) }, reached: {} }, {
    floor: floor === undefined ? {} : { [ONE]: whole(floor) },
    committedOf: () => committed,
  });
}

describe("a place that a subscription is put to", () => {
  test("stays as it is where it is committed", () => {
    expect(put(5, 5)).toEqual({ streams: { [ONE]: whole(5) }, reached: {}, ranges: [] });
  });

  test("is split where it is ahead of the commit", () => {
    expect(put(9, 5)).toEqual({
      streams: { [ONE]: whole(5) },
      reached: { [ONE]: whole(9) },
      ranges: [{ incarnation: ONE, after: 5, upTo: whole(9) }],
    });
  });

  test("never goes back behind what another service knew to be committed", () => {
    expect(put(9, 5, 7).streams).toEqual({ [ONE]: whole(7) });
    expect(put(9, 5, 9)).toEqual({ streams: { [ONE]: whole(9) }, reached: {}, ranges: [] });
  });

  test("keeps what was handed out beyond it, and streams that are no longer written", () => {
    const streams = { [ONE]: whole(9), [OLD]: whole(70) };
    const committedOf = (incarnation: string) => incarnation === OLD ? Infinity : 5;
    expect(behindCommit({ streams, reached: { [ONE]: whole(12) } }, { floor: {}, committedOf }))
      .toMatchObject({
        streams: { [ONE]: whole(5), [OLD]: whole(70) },
        reached: { [ONE]: whole(12) },
      });
  });
});
