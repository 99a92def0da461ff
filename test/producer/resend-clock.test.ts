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
