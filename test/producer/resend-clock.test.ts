import { expect, it } from "vitest";
import { createSender } from "../../src/producer/resend.ts";

it("a watermark that passed over a batch does so too where the roll-up's clock was set back", () => {
  const sender = createSender({
    epoch: "e1",
    others: [],
    isClosed: false,
    released: { number: 0, digest: "" },
    batches: [{ number: 1, digest: "d1", stored: undefined }],
    lastStored: undefined,
  });
  const incarnation = "i1";
  const passOver = (atSeconds: number, sequence: number) => {
    const nothing = { epoch: "e1", number: 0, digest: "", fork: undefined };
    const atUs = atSeconds * 1_000_000;
    sender.take({ kind: "watermark", watermark: { incarnation, sequence, ...nothing, atUs } });
  };
  const publish = (sequence: number) => {
    expect(sender.next()).toMatchObject({ kind: "publish", number: 1 });
    sender.take({ kind: "stored", number: 1, sequence });
  };
  sender.take({ kind: "connected" });
  sender.next();
  sender.take({ kind: "stream", status: { incarnation, lastSequence: 9 } });
  sender.next();
  passOver(90_000, 9);
  publish(10);
  passOver(90_000, 20);
  publish(30);
  passOver(3_600, 30);
  expect(sender.next()).toMatchObject({ kind: "publish", number: 1 });
});

it("late watermarks are late ones, also when they were written long after each other", () => {
  const sender = createSender({
    epoch: "e1",
    others: [],
    isClosed: false,
    released: { number: 0, digest: "" },
    batches: [1, 2, 3].map((number) => ({ number, digest: `d${number}`, stored: undefined })),
    lastStored: undefined,
  });
  const tell = (number: number, atSeconds: number) => {
    const watermark = {
      ...{ incarnation: "i1", sequence: 10 * number, epoch: "e1", number, digest: `d${number}` },
      ...{ fork: undefined, atUs: atSeconds * 1_000_000 },
    };
    sender.take({ kind: "watermark", watermark });
  };
  sender.take({ kind: "connected" });
  sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 30 } });
  tell(3, 1_000);
  expect(sender.next()).toEqual({ kind: "release", through: 3 });
  tell(1, 100);
  tell(2, 500);
  expect(sender.next()).not.toMatchObject({ kind: "startEpoch" });
  // The newest of all that goes on saying less is a record that was set back.
  tell(2, 1_001);
  tell(2, 1_100);
  expect(sender.next()).toMatchObject({ kind: "startEpoch" });
});
