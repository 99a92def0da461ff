/** What a sender does about batches that the record gave up for it. */
import { expect, it } from "vitest";
import type { Watermark } from "../../src/event/watermark.ts";
import { UNKNOWN_DIGEST } from "../../src/event/wire.ts";
import { createSender, type Sender } from "../../src/producer/resend.ts";

const STREAM = { incarnation: "i1", lastSequence: 1_000 };

function tell(sender: Sender, number: number, more: Partial<Watermark>): void {
  const place = { incarnation: "i1", sequence: 90, epoch: "e1" };
  const watermark = { ...place, number, digest: `d${number}`, fork: undefined, atUs: 1, ...more };
  sender.take({ kind: "watermark", watermark });
}

/** A sender whose batches are stored, each at ten times its number. */
function published(count: number): Sender {
  const sender = createSender({
    ...{ epoch: "e1", others: [], isClosed: false, released: { number: 0, digest: "" } },
    ...{ batches: [], lastStored: undefined },
  });
  sender.take({ kind: "connected" });
  sender.take({ kind: "stream", status: STREAM });
  sender.take({ kind: "watermark", watermark: undefined });
  for (let number = 1; number <= count; number++) {
    sender.take({ kind: "durable", number, digest: `d${number}` });
    expect(sender.next()).toMatchObject({ kind: "publish", number });
    sender.take({ kind: "stored", number, sequence: number * 10 });
  }
  return sender;
}

it("releases up to the first that is here, and sends that again with those after it", () => {
  const sender = published(4);
  tell(sender, 4, { givenUp: [[2, 2]] });
  expect(sender.next()).toEqual({ kind: "release", through: 1 });
  const resend = { incarnation: "i1", sequence: 90 };
  expect(sender.next()).toEqual({ kind: "publish", number: 2, expected: 40, resend });
  sender.take({ kind: "stored", number: 2, sequence: 91 });
  expect(sender.next()).toMatchObject({ kind: "publish", number: 3, expected: 91 });
  tell(sender, 4, { sequence: 91 });
  expect(sender.next()).toEqual({ kind: "release", through: 4 });
});

it("takes one that is known by its number alone for no other batch", () => {
  const sender = published(3);
  tell(sender, 2, { digest: UNKNOWN_DIGEST, givenUp: [[2, 2]] });
  expect(sender.next()).toEqual({ kind: "release", through: 1 });
  expect(sender.next()).toMatchObject({ kind: "publish", number: 2 });
});

it("releases what was given up and is not here either", () => {
  const sender = published(3);
  tell(sender, 1, {});
  expect(sender.next()).toEqual({ kind: "release", through: 1 });
  tell(sender, 3, { givenUp: [[1, 1]] });
  expect(sender.next()).toEqual({ kind: "release", through: 3 });
});
