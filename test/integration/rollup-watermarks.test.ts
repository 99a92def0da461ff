import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AcceptanceState } from "../../src/event/acceptance.ts";
import { encodeWatermark, parseWatermark, type Watermark } from "../../src/event/watermark.ts";
import { createWatermarkWriter, isBeyond, OvertakenError } from "../../src/pipeline/watermarks.ts";
import { createAnnouncer } from "../../src/pipeline/announcer.ts";
import { DEFAULT_TRUNCATION } from "../../src/pipeline/truncation.ts";
import { readBucket } from "../../src/runtime/bucket-reader.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import {
  type Bucket,
  connectNats,
  ensureBucket,
  type NatsConnection,
} from "../../src/runtime/nats.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";

const digest = (letter: string): string => letter.repeat(64);

function stateOf(
  sequence: number,
  number: number,
  more: Partial<AcceptanceState> = {},
): AcceptanceState {
  return {
    incarnation: "11111111",
    sequence,
    digest: digest("0"),
    agents: {
      a: { current: "e", epochs: { e: { number, digest: digest("a") } }, fork: undefined },
    },
    ...more,
  };
}

const watermark = (more: Partial<Watermark>): Watermark => ({
  incarnation: "11111111",
  sequence: 10,
  epoch: "e",
  number: 5,
  digest: digest("a"),
  fork: undefined,
  atUs: 1,
  ...more,
});

let server: NatsServer;
let connection: NatsConnection;
let buckets = 0;

function createBucket(): Promise<Bucket> {
  return ensureBucket(connection, `marks-${++buckets}`);
}

/** All entries of shard 0 in the bucket that was made last. */
const readAll = () => {
  const { signal } = new AbortController();
  return readBucket(connection, {
    ...{ bucket: `marks-${buckets}`, filter: "0.*" },
    ...{ clock: systemClock, signal },
  });
};

function writerOf(bucket: Bucket) {
  return createWatermarkWriter({ bucket, shard: "0", clock: systemClock, readAll });
}

function manyAgents(count: number): AcceptanceState {
  const agents = Object.fromEntries(
    Array.from({ length: count }, (_, place) => [
      `agent-${place}`,
      { current: "e", epochs: { e: { number: place, digest: digest("a") } }, fork: undefined },
    ]),
  );
  return { ...stateOf(3, 1), agents };
}

const readOf = async (bucket: Bucket, agent = "a") =>
  parseWatermark(await bucket.get(`0.${agent}`) ?? "");

describe("a state is behind a watermark", () => {
  test.each<[string, Partial<Watermark>, boolean]>([
    ["that tells the same", {}, false],
    ["of a later sequence", { sequence: 11 }, true],
    ["of an earlier sequence and number", { sequence: 9, number: 4, digest: digest("9") }, false],
    ["of a higher number", { number: 6, digest: digest("b") }, true],
    ["of the same number with another digest", { digest: digest("b") }, true],
    ["of an epoch it does not know", { epoch: "f", number: 1 }, true],
    ["of nothing in an epoch it does not know", { epoch: "f", number: 0, digest: "" }, false],
    [
      "of a later sequence of another incarnation",
      { incarnation: "22222222", sequence: 99 },
      false,
    ],
    ["of a higher number in another incarnation", { incarnation: "22222222", number: 6 }, true],
  ])("%s: %s", (_, more, expected) => {
    expect(isBeyond(watermark(more), "a", stateOf(10, 5))).toBe(expected);
  });

  test("of an agent it does not know", () => {
    expect(isBeyond(watermark({}), "b", stateOf(10, 5))).toBe(true);
  });
});

describe.runIf(canRunNats())("a watermark", () => {
  beforeAll(async () => {
    server = await openNatsServer();
    const log = createLog({ level: "error" });
    connection = await connectNats({ url: server.url, name: "test", log });
  });
  afterAll(async () => {
    await connection[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  test("is written for the agents named, and read back", async () => {
    const bucket = await createBucket();
    const writer = writerOf(bucket);
    await writer.write(stateOf(10, 5), ["a", "unknown"]);
    expect([...(await readAll()).keys()]).toEqual(["0.a"]);
    expect(await writer.read()).toEqual(
      new Map([["a", expect.objectContaining({ sequence: 10, number: 5 })]]),
    );
  });

  test("goes on from its own revision without looking", async () => {
    const bucket = await createBucket();
    let looks = 0;
    const writer = writerOf({
      ...bucket,
      entry: (key) => {
        looks += 1;
        return bucket.entry(key);
      },
    });
    await writer.write(stateOf(10, 5));
    await writer.write(stateOf(20, 6));
    expect((await readOf(bucket))?.sequence).toBe(20);
    expect(looks).toBe(1);
  });

  test("replaces an older one, and one of an incarnation that is gone", async () => {
    const bucket = await createBucket();
    await bucket.put("0.a", encodeWatermark(watermark({ sequence: 9 })));
    await writerOf(bucket).write(stateOf(10, 5));
    expect((await readOf(bucket))?.sequence).toBe(10);
    await writerOf(bucket).write(stateOf(0, 5, { incarnation: "22222222" }));
    expect(await readOf(bucket)).toMatchObject({ incarnation: "22222222", sequence: 0 });
  });

  test("replaces what is none", async () => {
    const bucket = await createBucket();
    await bucket.put("0.a", "rubbish");
    await writerOf(bucket).write(stateOf(10, 5));
    expect((await readOf(bucket))?.sequence).toBe(10);
  });

  test("never goes back: the roll-up that is behind is told", async () => {
    const bucket = await createBucket();
    const [ahead, behind] = [writerOf(bucket), writerOf(bucket)];
    await behind.write(stateOf(10, 5));
    await ahead.write(stateOf(20, 6));
    await expect(behind.write(stateOf(10, 5))).rejects.toThrow(OvertakenError);
    expect((await readOf(bucket))?.sequence).toBe(20);
  });

  test("of two at the same sequence may be either's", async () => {
    const bucket = await createBucket();
    const [one, two] = [writerOf(bucket), writerOf(bucket)];
    for (const sequence of [10, 20]) {
      await one.write(stateOf(sequence, 5));
      await two.write(stateOf(sequence, 5));
      await one.write(stateOf(sequence, 5));
    }
    expect((await readOf(bucket))?.sequence).toBe(20);
  });

  test("of a roll-up that slept through a new incarnation is not written", async () => {
    const bucket = await createBucket();
    const [asleep, awake] = [writerOf(bucket), writerOf(bucket)];
    await asleep.write(stateOf(10, 5));
    await awake.write(stateOf(0, 5, { incarnation: "22222222" }));
    await expect(asleep.write(stateOf(10, 5))).rejects.toThrow(OvertakenError);
    expect((await readOf(bucket))?.incarnation).toBe("22222222");
  });

  test("tells, after a reset, agents that are not known that nothing of theirs is there", async () => {
    const bucket = await createBucket();
    await bucket.put("0.b", encodeWatermark(watermark({ sequence: 99, epoch: "g", number: 7 })));
    await bucket.put("0.a", encodeWatermark(watermark({ sequence: 99, number: 9 })));
    const state = stateOf(0, 5, { incarnation: "22222222" });
    const writer = writerOf(bucket);
    await writer.reset(state);
    expect(await readOf(bucket, "b"))
      .toMatchObject({ incarnation: "22222222", sequence: 0, epoch: "g", number: 0, digest: "" });
    expect(await readOf(bucket, "a")).toMatchObject({ incarnation: "22222222", number: 5 });
    for (const [agent, each] of await writer.read()) {
      expect(isBeyond(each, agent, state)).toBe(false);
    }
  });

  test("is written for many agents at once", async () => {
    const bucket = await createBucket();
    await writerOf(bucket).write(manyAgents(500));
    expect((await readAll()).size).toBe(500);
    expect((await readOf(bucket, "agent-321"))?.number).toBe(321);
  });

  test("that was read is replaced without another look, unless others wrote since", async () => {
    const bucket = await createBucket();
    await writerOf(bucket).write(stateOf(10, 5));
    let looks = 0;
    const entry = (key: string) => {
      looks += 1;
      return bucket.entry(key);
    };
    const [one, two] = [writerOf({ ...bucket, entry }), writerOf({ ...bucket, entry })];
    for (const writer of [one, two]) await writer.read();
    await one.write(stateOf(11, 6));
    expect(looks).toBe(0);
    await expect(two.write(stateOf(10, 5))).rejects.toThrow(OvertakenError);
    expect(looks).toBe(1);
    expect((await readOf(bucket))?.number).toBe(6);
  });

  test("is not written any more once the write of another has failed and was reported", async () => {
    const bucket = await createBucket();
    let isOver = false;
    let late = 0;
    const update: Bucket["update"] = async (key, text, revision) => {
      if (key === "0.agent-0") throw new Error("as in the test");
      const written = await bucket.update(key, text, revision);
      if (isOver) late += 1;
      return written;
    };
    await expect(writerOf({ ...bucket, update }).write(manyAgents(500)))
      .rejects.toThrow("as in the test");
    isOver = true;
    const { size } = await readAll();
    expect(size).toBeLessThan(500);
    await bucket.put("0.after", "");
    expect([late, (await readAll()).size]).toEqual([0, size + 1]);
  });
});

describe.runIf(canRunNats())(
  "the watermarks of many agents are rewritten beside the rounds",
  () => {
    beforeAll(async () => {
      server = await openNatsServer();
      const log = createLog({ level: "error" });
      connection = await connectNats({ url: server.url, name: "test", log });
    });
    afterAll(async () => {
      await connection[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    });

    /** One over a bucket that is told of every write; `failure` resolves at the first that is reported. */
    function announcerOf(
      bucket: Bucket,
      state: () => AcceptanceState,
      onWrite = (_: string) => {},
    ) {
      const failure = Promise.withResolvers<unknown>();
      const stop = new AbortController();
      const position = {
        ...{
          committedSequence: 0,
          lastSequence: 0,
          oldestUs: undefined,
          waitingSinceUs: undefined,
        },
      };
      const update: Bucket["update"] = (key, text, revision) => {
        onWrite(key);
        return bucket.update(key, text, revision);
      };
      const announcer = createAnnouncer({
        ...{ connection, shard: "0", clock: systemClock, log: createLog({ level: "error" }) },
        ...{ position, truncation: DEFAULT_TRUNCATION },
      }, {
        watermarks: writerOf({ ...bucket, update }),
        created: "",
        state,
        onFailure: failure.resolve,
        signal: stop.signal,
      });
      return { announcer, failure: failure.promise, stop };
    }

    test("and those of a commit in between", async () => {
      const bucket = await createBucket();
      const written: string[] = [];
      const { announcer } = announcerOf(
        bucket,
        () => manyAgents(2_000),
        (key) => written.push(key),
      );
      await using _ = announcer;
      // A difference of two readings of the clock, in floating point.
      expect(announcer.keep()).toBeCloseTo(30_000, 6);
      // The log's stream is not there, which is found once the agents are told.
      await expect(announcer.announce({ version: 1, agents: ["agent-1999"] })).rejects.toThrow();
      expect(written).toContain("0.agent-1999");
      expect(written.length).toBeLessThan(1_000);
    });

    test("until the session ends, and no longer", async () => {
      const bucket = await createBucket();
      const { announcer } = announcerOf(bucket, () => manyAgents(2_000));
      announcer.keep();
      await announcer[Symbol.asyncDispose]();
      const { size } = await readAll();
      expect(size).toBeLessThan(1_000);
      await bucket.put("0.after", "");
      expect((await readAll()).size).toBe(size + 1);
    });

    test("until the end of one run over what is there, unless it is stopped", async () => {
      const bucket = await createBucket();
      const { announcer, stop } = announcerOf(bucket, () => manyAgents(2_000));
      await using _ = announcer;
      await announcer.tellAll();
      expect((await readAll()).size).toBe(2_000);
      const telling = announcer.tellAll();
      stop.abort(new Error("stopped in the test"));
      await expect(telling).rejects.toThrow("stopped in the test");
    });

    test("and a roll-up that came further is reported", async () => {
      const bucket = await createBucket();
      await writerOf(bucket).write(stateOf(20, 6));
      const { announcer, failure } = announcerOf(bucket, () => stateOf(10, 5));
      await using _ = announcer;
      announcer.keep();
      expect(await failure).toBeInstanceOf(OvertakenError);
    });
  },
);
