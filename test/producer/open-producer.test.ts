import { randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { PAYLOAD_JSON_BYTES_MAX } from "../../src/event/wire.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { createLog } from "../../src/runtime/log.ts";
import { decompressFrame } from "../../src/runtime/zstd.ts";
import { numbers, openSmallSpool } from "../support/small-spool.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

it("a producer tells what it had to leave out while it closed", async () => {
  await using folder = await openTemporaryFolder("producer");
  const log = createLog({ level: "error", write: () => undefined });
  {
    const options = { directory: folder.path, host: "web-1", shard: "0", log };
    await using producer = await openProducer(options);
    producer.append('"number":1}', Date.now() * 1000);
    // Short enough for a batch, and more than a message holds even when it is compressed.
    producer.append(`"text":"${randomBytes(1_200_000).toString("hex")}"}`, Date.now() * 1000);
  }
  await using spool = await openSmallSpool(folder.path);
  const lines: string[] = [];
  for (const number of numbers(spool)) {
    const { payload } = await spool.read(number);
    const json = await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX);
    lines.push(...new TextDecoder().decode(json).split("\n").slice(0, -1));
  }
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { number: 1 },
    { topic: "agent/gap", detail: { class: "line_too_large", count: 1 } },
  ]);
});

it("a producer goes on when a listener cannot take a position", async () => {
  await using folder = await openTemporaryFolder("producer");
  const errors: string[] = [];
  const log = createLog({ level: "error", write: (text) => void errors.push(text) });
  const options = { directory: folder.path, host: "web-1", shard: "0", log };
  await using producer = await openProducer(options);
  const told: number[] = [];
  producer.onDurable(() => {
    throw new Error("database or disk is full");
  });
  producer.onDurable(({ file }) => void told.push(file?.position ?? 0));
  for (const position of [1, 2]) {
    producer.append(`"number":${position}}`, Date.now() * 1000);
    producer.mark("file", { ring: "r", position });
    await producer.flush();
  }
  expect(told).toEqual([1, 2]);
  expect(errors.join()).toContain("database or disk is full");
});
