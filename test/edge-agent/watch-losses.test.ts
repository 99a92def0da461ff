import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import type { Source } from "../../src/edge-agent/source.ts";
import { NO_COUNTERS } from "../../src/edge-agent/sources/ring-source.ts";
import { watch } from "../../src/edge-agent/watch.ts";
import { lineFields } from "../../src/event/event.ts";
import { PAYLOAD_JSON_BYTES_MAX } from "../../src/event/wire.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { decompressFrame } from "../../src/runtime/zstd.ts";
import { numbers, openSmallSpool } from "../support/small-spool.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

it("has a loss on disk before any position that counts it as told, in whichever lane", async () => {
  await using folder = await openTemporaryFolder("watch");
  const log = createLog({ level: "error", write: () => undefined });
  const position = { ring: "r", position: 8, lost: { ring_full: 3 } };
  const event = { timeUs: 1, topic: "file/write", severity: "info" } as const;
  let isAsked = false;
  const source: Source = {
    name: "file",
    lane: "bulk",
    probe: () => Promise.resolve({ state: "on", how: "script" }),
    async *start(signal) {
      while (!isAsked) await delay(1);
      yield { fields: [lineFields(event)], timesUs: [event.timeUs], position };
      while (!signal.aborted) await delay(1);
    },
    release: () => undefined,
    counters: () => NO_COUNTERS,
    [Symbol.asyncDispose]: () => Promise.resolve(),
    losses() {
      if (isAsked) return [];
      isAsked = true;
      return [{ class: "ring_full", count: 3, reason: "full" }];
    },
  };
  {
    // Only what is asked for closes a batch.
    await using producer = await openProducer({
      directory: folder.path,
      host: "h",
      shard: "0",
      flushMs: 600_000,
      log,
    });
    const abort = new AbortController();
    const running = watch({
      producer,
      inherited: [],
      begin: () => Promise.resolve([source]),
      presence: { lastUs: undefined, touch: () => undefined },
      report: () => ({
        version: "1",
        boot: "8975aece",
        pid: 2,
        configSha256: "c",
        sources: [],
        producer: producer.counters(),
      }),
      onGapEvent: () => undefined,
      onState: () => undefined,
      clock: systemClock,
      log,
    }, abort.signal);
    await expect.poll(() => producer.counters().eventsAppended).toBeGreaterThanOrEqual(2);
    abort.abort();
    await running;
  }
  await using spool = await openSmallSpool(folder.path, { host: "h" });
  expect(spool.positions).toEqual({ file: position });
  const texts = await Promise.all(
    numbers(spool).map(async (number) => {
      const { payload } = await spool.read(number);
      return Buffer.from(await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX)).toString();
    }),
  );
  const batchOf = (topic: string): number => texts.findIndex((text) => text.includes(topic));
  expect(batchOf("agent/gap")).toBeGreaterThanOrEqual(0);
  expect(batchOf("agent/gap")).toBeLessThan(batchOf("file/write"));
});
