import { expect, test } from "vitest";
import {
  createSubscriptionReaders,
  SUBSCRIPTIONS_READ_MS,
} from "../../src/pipeline/subscription-readers.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

test("while subscriptions cannot be read everything stays, said once for a while", async () => {
  await using folder = await openTemporaryFolder("readers");
  await using store = await openDirectoryStore({ directory: folder.path });
  const said: string[] = [];
  const log = createLog({ level: "warn", write: (line) => void said.push(line) });
  const startUs = systemClock.nowUs();
  let elapsedMs = 0;
  const clock = { ...systemClock, nowUs: () => startUs + elapsedMs * 1_000 };
  const readers = createSubscriptionReaders({ store, clock, log });
  const ask = () => readers.lowestNeeded({ shard: "0", incarnation: "a", lastSequence: 50 });
  await store.put("registry/subscriptions/broken", new TextEncoder().encode("no JSON"));
  for (let commit = 0; commit < 5; commit++) expect(await ask()).toBe(1);
  expect(said).toHaveLength(1);
  expect(said[0]).toContain("registry/subscriptions/broken");
  await store.delete("registry/subscriptions/broken");
  elapsedMs = SUBSCRIPTIONS_READ_MS;
  expect(await ask()).toBeUndefined();
  expect(said).toHaveLength(1);
});
