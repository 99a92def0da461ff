/** Small spools: opened on a folder, with batches whose payload is whatever text is given. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../src/event/wire.ts";
import type { EncodedBatch } from "../../src/producer/encode.ts";
import type { Lane, RingPositions } from "../../src/producer/producer.ts";
import { openSpool, type Spool, type SpoolOptions } from "../../src/producer/spool.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";

export const MIB = 1024 * 1024;

export function openSmallSpool(
  directory: string,
  more: Partial<SpoolOptions> = {},
): Promise<Spool> {
  const log = createLog({ level: "error", write: () => undefined });
  return openSpool({ directory, host: "web-1", shard: "0", clock: systemClock, log, ...more });
}

export function batch(
  content: string | Uint8Array,
  count = 2,
  lane: Lane = "critical",
): EncodedBatch {
  const payload = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return { lane, payload, digest: digestOf(payload), count, firstUs: 1, lastUs: 2 };
}

export function positions(position: number): RingPositions {
  return { process: { ring: "r1", position } };
}

export function numbers(spool: Spool): readonly number[] {
  return spool.head().batches.map(({ number }) => number);
}

export async function segmentFiles(directory: string): Promise<string[]> {
  return (await readdir(join(directory, "segments"))).sort();
}
