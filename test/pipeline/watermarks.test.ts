import { expect, test } from "vitest";
import type { AcceptanceState } from "../../src/event/acceptance.ts";
import { parseWatermark } from "../../src/event/watermark.ts";
import { createWatermarkWriter } from "../../src/pipeline/watermarks.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { Bucket, BucketEntry } from "../../src/runtime/nats.ts";

const AGENTS = Array.from({ length: 80 }, (_, at) => `agent${String(at).padStart(2, "0")}`);

function stateAt(sequence: number): AcceptanceState {
  const digest = `d${sequence}`;
  const standing = { current: "e1", epochs: { e1: { number: sequence, digest } }, fork: undefined };
  const agents = Object.fromEntries(AGENTS.map((agent) => [agent, standing]));
  return { incarnation: "0123abcd", sequence, digest, agents };
}

/** A bucket in memory whose updates wait for whatever `gate` gives for their key. */
function createGatedBucket() {
  const entries = new Map<string, BucketEntry>();
  let last = 0;
  const bucket: Bucket & { gate: (key: string) => Promise<void> } = {
    gate: () => Promise.resolve(),
    get: (key) => Promise.resolve(entries.get(key)?.text),
    entry: (key) => Promise.resolve(entries.get(key)),
    put: (key, text) => {
      entries.set(key, { text, revision: ++last });
      return Promise.resolve();
    },
    async update(key, text, revision) {
      await bucket.gate(key);
      if ((entries.get(key)?.revision ?? 0) !== revision) return undefined;
      entries.set(key, { text, revision: ++last });
      return last;
    },
  };
  return { bucket, entries };
}

test("a rewriting that failed goes no further once it was reported, and no watermark goes back", async () => {
  const { bucket, entries } = createGatedBucket();
  const readAll = () => Promise.resolve(entries);
  const writer = createWatermarkWriter({ bucket, shard: "0", clock: systemClock, readAll });
  await writer.write(stateAt(1));
  // The first is refused, the others are on their way.
  const first = Promise.withResolvers<void>();
  const others = Promise.withResolvers<void>();
  bucket.gate = (key) => {
    if (key.endsWith("00")) return Promise.reject(new Error("lost"));
    return key.endsWith("05") ? first.promise : others.promise;
  };
  const rewriting = writer.write(stateAt(2));
  const failed = expect(rewriting).rejects.toThrow("lost");
  const next = Promise.allSettled([rewriting]).then(async () => {
    // The next commit's writes all arrive, but for one that waits behind the one before it.
    bucket.gate = (key) => key.endsWith("05") ? first.promise : Promise.resolve();
    await writer.write(stateAt(3));
  });
  await pause();
  first.resolve();
  await pause();
  others.resolve();
  await Promise.all([failed, next]);
  await pause();
  const sequences = [...entries.values()].map(({ text = "" }) => parseWatermark(text)?.sequence);
  expect(sequences).toEqual(AGENTS.map(() => 3));
});

/** All that can go on without waiting for anybody does. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
