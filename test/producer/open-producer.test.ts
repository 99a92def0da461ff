import { randomBytes } from "node:crypto";
import { truncate } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { formatTime } from "../../src/event/event.ts";
import { PAYLOAD_JSON_BYTES_MAX } from "../../src/event/wire.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { createLog } from "../../src/runtime/log.ts";
import { decompressFrame } from "../../src/runtime/zstd.ts";
import { batch, MIB, numbers, openSmallSpool, segmentFiles } from "../support/small-spool.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

/** Lines of the batches that can be read. */
async function linesIn(directory: string): Promise<readonly unknown[]> {
  await using spool = await openSmallSpool(directory);
  const lines: string[] = [];
  for (const number of numbers(spool)) {
    const { payload } = await spool.read(number);
    const json = await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX);
    lines.push(...new TextDecoder().decode(json).split("\n").slice(0, -1));
  }
  return lines.map((line) => JSON.parse(line));
}

it("a producer tells when what a damaged spool lost happened, not when it found that", async () => {
  await using folder = await openTemporaryFolder("producer");
  const lastUs = Date.UTC(2026, 5, 1) * 1000;
  {
    await using spool = await openSmallSpool(folder.path, { bytesMax: 16 * MIB });
    for (let each = 0; each < 8; each++) {
      await spool.append([{ ...batch(randomBytes(300_000)), lastUs: lastUs + each }], undefined);
    }
  }
  const [first = ""] = await segmentFiles(folder.path);
  await truncate(join(folder.path, "segments", first), 700_000);
  const log = createLog({ level: "error", write: () => undefined });
  {
    await using producer = await openProducer({
      ...{ directory: folder.path, host: "web-1", shard: "0", log },
    });
    await producer.flush();
  }
  await using spool = await openSmallSpool(folder.path);
  const { batches, epoch } = spool.head();
  expect([batches.length, epoch.base]).toEqual([2, 0]);
  await spool.release(2);
  const last = spool.head().batches.at(-1)?.number ?? 0;
  const { payload } = await spool.read(last);
  const json = await decompressFrame(payload, PAYLOAD_JSON_BYTES_MAX);
  const [line = ""] = new TextDecoder().decode(json).split("\n");
  expect(JSON.parse(line)).toMatchObject({
    topic: "agent/gap",
    detail: {
      ...{ class: "spool", count: null },
      from: formatTime(lastUs + 1 - 60_000_000),
      to: formatTime(lastUs + 4 + 60_000_000),
    },
  });
});

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
  const lines = await linesIn(folder.path);
  expect(lines).toMatchObject([
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
