/** Every rule of the sender by itself: what it sees, and what is done next. */
import { describe, expect, it } from "vitest";
import type { Watermark } from "../../src/event/watermark.ts";
import {
  createSender,
  type Sender,
  type SenderCommand,
  type SenderStart,
} from "../../src/producer/resend.ts";

const digest = (number: number): string => `d${number}`;
const START: SenderStart = {
  epoch: "e1",
  others: ["e0"],
  isClosed: false,
  released: { number: 0, digest: "" },
  batches: [],
  lastStored: undefined,
};

function watermark(number: number, sequence: number, more: Partial<Watermark> = {}): Watermark {
  return {
    incarnation: "i1",
    sequence,
    epoch: "e1",
    number,
    digest: number === 0 ? "" : digest(number),
    fork: undefined,
    atUs: 1_000_000,
    ...more,
  };
}

/** A sender that is connected, knows the stream and has read a watermark. */
function ready(start: Partial<SenderStart> = {}, first?: Watermark): Sender {
  const sender = createSender({ ...START, ...start });
  expect(sender.next()).toEqual({ kind: "offline" });
  sender.take({ kind: "connected" });
  expect(sender.next()).toEqual({ kind: "readStream" });
  sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 1_000 } });
  expect(sender.next()).toEqual({ kind: "readWatermark" });
  sender.take({ kind: "watermark", watermark: first });
  return sender;
}

function append(sender: Sender, from: number, to: number): void {
  for (let number = from; number <= to; number++) {
    sender.take({ kind: "durable", number, digest: digest(number) });
  }
}

/** Publishes batches, each stored at ten times its number. */
function publish(sender: Sender, from: number, to: number): void {
  for (let number = from; number <= to; number++) {
    expect(sender.next()).toMatchObject({ kind: "publish", number });
    sender.take({ kind: "stored", number, sequence: number * 10 });
  }
}

function refuse(sender: Sender, reported: number, lastSequence = 1_000): void {
  sender.take({ kind: "refused", reported });
  expect(sender.next()).toEqual({ kind: "readStream" });
  sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence } });
}

function publishing(number: number, expected: number, resend?: string): SenderCommand {
  const [incarnation = "", sequence] = (resend ?? "").split("-");
  return {
    kind: "publish",
    number,
    expected,
    resend: resend === undefined ? undefined : { incarnation, sequence: Number(sequence) },
  };
}

describe("publishing", () => {
  it("goes in order, each batch expecting the one before to be the last", () => {
    const sender = ready();
    expect(sender.next()).toEqual({ kind: "idle", isPolling: false });
    append(sender, 1, 3);
    expect(sender.next()).toEqual(publishing(1, 0));
    sender.take({ kind: "stored", number: 1, sequence: 10 });
    expect(sender.next()).toEqual(publishing(2, 10));
    publish(sender, 2, 3);
    expect(sender.next()).toEqual({ kind: "idle", isPolling: true });
  });

  it("goes on after a restart behind what the broker is known to hold", () => {
    const batches = [1, 2, 3].map((number) => ({
      number,
      digest: digest(number),
      stored: number < 3 ? { incarnation: "i1", sequence: number * 10 } : undefined,
    }));
    expect(ready({ batches }).next()).toEqual(publishing(3, 20));
  });

  it("goes on after a restart with nothing left behind the last one released", () => {
    const sender = ready({
      released: { number: 4, digest: digest(4) },
      lastStored: { incarnation: "i1", sequence: 40 },
    });
    append(sender, 5, 5);
    expect(sender.next()).toEqual(publishing(5, 40));
  });

  it("tries the same batch again after a pause, and asks first what stream it is", () => {
    const sender = ready();
    append(sender, 1, 1);
    sender.take({ kind: "unanswered" });
    expect(sender.next()).toEqual({ kind: "pause", failures: 1 });
    sender.take({ kind: "rested" });
    expect(sender.next()).toEqual({ kind: "readStream" });
    sender.take({ kind: "stream", status: undefined });
    expect(sender.next()).toEqual({ kind: "pause", failures: 2 });
    sender.take({ kind: "rested" });
    sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 0 } });
    expect(sender.next()).toEqual(publishing(1, 0));
    sender.take({ kind: "stored", number: 1, sequence: 1 });
    sender.take({ kind: "unanswered" });
    expect(sender.next()).toEqual({ kind: "pause", failures: 1 });
  });

  it("waits for the connection", () => {
    const sender = ready();
    append(sender, 1, 1);
    sender.take({ kind: "disconnected" });
    expect(sender.next()).toEqual({ kind: "offline" });
    sender.take({ kind: "connected" });
    expect(sender.next()).toEqual({ kind: "readStream" });
  });

  it("does not believe an answer that is not behind its last one", () => {
    const sender = ready();
    append(sender, 1, 2);
    publish(sender, 1, 1);
    sender.take({ kind: "stored", number: 2, sequence: 10 });
    expect(sender.next()).toEqual({ kind: "pause", failures: 1 });
    sender.take({ kind: "rested" });
    sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 10 } });
    expect(sender.next()).toEqual(publishing(2, 10, "i1-0"));
  });
});

describe("error 10071", () => {
  it("with what is expected by now: publishes again", () => {
    const sender = ready();
    append(sender, 1, 2);
    publish(sender, 1, 1);
    refuse(sender, 10);
    expect(sender.next()).toEqual(publishing(2, 10));
  });

  it("with 0, all of ours covered: purged, expects 0 from then on", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 3);
    publish(sender, 1, 2);
    sender.take({ kind: "watermark", watermark: watermark(2, 20) });
    expect(sender.next()).toEqual({ kind: "release", through: 2 });
    refuse(sender, 0);
    expect(sender.next()).toEqual(publishing(3, 0));
  });

  it("with 0, not all of ours covered: all that is not released goes again", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 3);
    publish(sender, 1, 2);
    refuse(sender, 0);
    expect(sender.next()).toEqual(publishing(1, 0, "i1-5"));
    publish(sender, 1, 1);
    expect(sender.next()).toEqual(publishing(2, 10, "i1-5"));
    publish(sender, 2, 2);
    expect(sender.next()).toEqual(publishing(3, 20));
  });

  it("with an earlier one of ours: the tail was lost, all behind it goes again", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 4);
    publish(sender, 1, 3);
    refuse(sender, 10);
    expect(sender.next()).toEqual(publishing(2, 10, "i1-5"));
  });

  it("with our last released one: all behind it goes again", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 3);
    publish(sender, 1, 2);
    sender.take({ kind: "watermark", watermark: watermark(1, 10) });
    expect(sender.next()).toEqual({ kind: "release", through: 1 });
    refuse(sender, 10);
    expect(sender.next()).toEqual(publishing(2, 10, "i1-10"));
  });

  it("with one that is not known: waits until a watermark has decided on it; it was ours", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 2);
    refuse(sender, 9);
    expect(sender.next()).toEqual({ kind: "readWatermark" });
    sender.take({ kind: "watermark", watermark: watermark(0, 8) });
    expect(sender.next()).toEqual({ kind: "idle", isPolling: true });
    sender.take({ kind: "watermark", watermark: watermark(1, 9) });
    expect(sender.next()).toEqual({ kind: "release", through: 1 });
    expect(sender.next()).toEqual(publishing(2, 9));
  });

  it("with one that is not known, and was not taken: publishes again behind it", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 1);
    refuse(sender, 9);
    sender.take({ kind: "watermark", watermark: watermark(0, 12) });
    expect(sender.next()).toEqual(publishing(1, 9, "i1-12"));
  });

  it("is forgotten when the stream is another by then", () => {
    const sender = ready();
    append(sender, 1, 2);
    publish(sender, 1, 1);
    sender.take({ kind: "refused", reported: 77 });
    sender.take({ kind: "stream", status: { incarnation: "i2", lastSequence: 0 } });
    expect(sender.next()).toEqual(publishing(1, 0, "i2-0"));
  });

  it("about a message that the stream has lost since: publishes again", () => {
    const sender = ready();
    append(sender, 1, 1);
    refuse(sender, 9, 8);
    expect(sender.next()).toEqual(publishing(1, 0));
  });
});

describe("the stream", () => {
  it("made anew gets all that is not released, with fresh ids", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 2);
    publish(sender, 1, 2);
    sender.take({ kind: "watermark", watermark: watermark(1, 3, { incarnation: "i2" }) });
    expect(sender.next()).toEqual({ kind: "release", through: 1 });
    expect(sender.next()).toEqual({ kind: "readStream" });
    sender.take({ kind: "stream", status: { incarnation: "i2", lastSequence: 3 } });
    expect(sender.next()).toEqual(publishing(2, 0, "i2-3"));
  });

  it("that ends before our last gets what is behind its end again", () => {
    const sender = ready();
    append(sender, 1, 3);
    publish(sender, 1, 3);
    sender.take({ kind: "connected" });
    sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 25 } });
    sender.take({ kind: "watermark", watermark: undefined });
    expect(sender.next()).toEqual(publishing(3, 20, "i1-0"));
  });

  it("is asked once in a while as long as something stays uncovered", () => {
    const sender = ready();
    append(sender, 1, 1);
    publish(sender, 1, 1);
    let asked = 0;
    for (let poll = 1; poll <= 120; poll++) {
      sender.take({ kind: "watermark", watermark: watermark(0, 5) });
      if (sender.next().kind !== "readStream") continue;
      asked += 1;
      sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 10 } });
    }
    expect(asked).toBe(2);
  });

  it("gets all again, ever less often, while the record never heard of us", () => {
    const sender = ready();
    append(sender, 1, 1);
    const polls: number[] = [];
    for (let poll = 1; poll <= 4_000; poll++) {
      const command = sender.next();
      if (command.kind === "publish") {
        polls.push(poll);
        sender.take({ kind: "stored", number: 1, sequence: polls.length * 10 });
      }
      if (command.kind === "readStream") {
        sender.take({ kind: "stream", status: { incarnation: "i1", lastSequence: 1_000 } });
      }
      sender.take({ kind: "watermark", watermark: undefined });
    }
    expect(polls).toEqual([1, 601, 1_801]);
  });
});

describe("a watermark", () => {
  it("releases what it covers, only on an equal digest", () => {
    const sender = ready();
    append(sender, 1, 3);
    publish(sender, 1, 3);
    sender.take({ kind: "watermark", watermark: watermark(2, 20) });
    expect(sender.next()).toEqual({ kind: "release", through: 2 });
    expect(sender.next()).toEqual({ kind: "idle", isPolling: true });
    sender.take({ kind: "watermark", watermark: watermark(3, 30, { digest: "other" }) });
    expect(sender.next()).toMatchObject({
      kind: "startEpoch",
      reason: "the record holds another batch 3 than this spool",
    });
  });

  it("releases even what it was never answered for", () => {
    const sender = ready();
    append(sender, 1, 2);
    sender.take({ kind: "unanswered" });
    sender.take({ kind: "watermark", watermark: watermark(1, 10) });
    expect(sender.next()).toEqual({ kind: "release", through: 1 });
  });

  it("that passed over a batch has it and all behind it published again, ever less often", () => {
    const sender = ready();
    append(sender, 1, 2);
    publish(sender, 1, 2);
    const at = (seconds: number, sequence: number) =>
      sender.take({
        kind: "watermark",
        watermark: watermark(0, sequence, { atUs: seconds * 1_000_000 }),
      });
    at(100, 20);
    expect(sender.next()).toEqual(publishing(1, 20, "i1-20"));
    sender.take({ kind: "stored", number: 1, sequence: 30 });
    sender.take({ kind: "stored", number: 2, sequence: 40 });
    at(101, 40);
    expect(sender.next()).toMatchObject({ kind: "idle" });
    at(102, 40);
    expect(sender.next()).toEqual(publishing(1, 40, "i1-40"));
  });

  it("that is old changes nothing", () => {
    const sender = ready({}, watermark(0, 5));
    append(sender, 1, 3);
    publish(sender, 1, 3);
    sender.take({ kind: "watermark", watermark: watermark(2, 20, { atUs: 9_000_000 }) });
    expect(sender.next()).toEqual({ kind: "release", through: 2 });
    for (const old of [watermark(1, 10), watermark(1, 10, { epoch: "e0", number: 7 })]) {
      sender.take({ kind: "watermark", watermark: old });
      expect(sender.next()).toEqual({ kind: "idle", isPolling: true });
    }
  });

  it.each<[string, Watermark[]]>([
    ["names more than there is", [watermark(9, 90)]],
    ["refused ours as a fork", [
      watermark(1, 30, { fork: { epoch: "e1", number: 3, digest: digest(3) } }),
    ]],
    ["names a stranger's epoch", [watermark(4, 30, { epoch: "x9", digest: "x" })]],
    ["names less than was released, for longer than any delay", [
      watermark(0, 95, { atUs: 10_000_000 }),
      watermark(0, 96, { atUs: 99_000_000 }),
      watermark(0, 97, { atUs: 100_000_000 }),
    ]],
  ])("that %s begins a new epoch", (_name, list) => {
    const sender = ready();
    append(sender, 1, 3);
    publish(sender, 1, 3);
    sender.take({ kind: "watermark", watermark: watermark(1, 10) });
    expect(sender.next()).toEqual({ kind: "release", through: 1 });
    for (const each of list.slice(0, -1)) {
      sender.take({ kind: "watermark", watermark: each });
      expect(sender.next().kind).not.toBe("startEpoch");
    }
    sender.take({ kind: "watermark", watermark: list.at(-1) });
    expect(sender.next().kind).toBe("startEpoch");
  });

  it.each<[string, Watermark]>([
    ["names a fork of another", watermark(1, 5, { fork: { epoch: "e1", number: 2, digest: "x" } })],
    ["names no epoch, for nothing was readable", watermark(0, 5, { epoch: "" })],
    ["names another epoch of this spool", watermark(8, 5, { epoch: "e0", digest: "x" })],
    [
      "names a stranger's epoch before ours was read",
      watermark(8, 5, { epoch: "x9", digest: "x" }),
    ],
  ])("that %s does not", (_name, each) => {
    const sender = ready();
    append(sender, 1, 2);
    publish(sender, 1, 2);
    sender.take({ kind: "watermark", watermark: each });
    expect(sender.next().kind).not.toBe("startEpoch");
  });
});

describe("a closed epoch", () => {
  it("is finished when all of it is released", () => {
    const batches = [{ number: 1, digest: digest(1), stored: undefined }];
    const sender = ready({ isClosed: true, batches });
    publish(sender, 1, 1);
    sender.take({ kind: "watermark", watermark: watermark(1, 10) });
    expect(sender.next()).toEqual({ kind: "release", through: 1 });
    expect(sender.next()).toEqual({ kind: "finished" });
  });
});
