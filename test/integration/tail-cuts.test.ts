/**
 * A live tail on a real port that is cut off a thousand times, at any byte, while events come, are committed and are
 * compacted: what its client has in the end is what was written, in order, nothing twice.
 */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { createSseParser } from "../../src/client/sse.ts";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type BatchAgent, createBatchAgent, NOON_US, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openQueryRig, QUERY_TOKEN, type QueryRig } from "../support/query-rig.ts";
import { quietLog, range } from "../support/rollup-rig.ts";
import { createSeededRandom, type SeededRandom } from "../support/seeded-random.ts";

const CUTS = 1_000;
/** Some of the time few filters are live, which a plan gives their rows, some of the time many. */
const READERS = 12;
/** The table moves so often. */
const CUTS_PER_ROUND = 40;
/** What was there before anybody read, and what is written at most meanwhile. */
const EVENTS_BEFORE = 200;
const EVENTS_MAX = 40_000;
/** Events that the slowest reader may be behind what is written. */
const LAG_MAX = 400;
/** Nothing comes for so long at the end: whoever has all of it waits no longer. In milliseconds. */
const PATIENCE_MS = 30_000;
const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);

/** One client: its place, and the numbers of the events that it was given whole. */
interface Reader {
  readonly filter: string;
  readonly wants: (number: number) => boolean;
  readonly numbers: number[];
  place: string;
  cuts: number;
}

/** Opens the tail at the reader's place and drops it after so many bytes; what was not whole by then was not given. */
async function readUntilCut(
  url: string,
  reader: Reader,
  { bytes, wanted = Infinity }: { readonly bytes: number; readonly wanted?: number },
): Promise<void> {
  const answer = await fetch(`${url}/v1/tail?since=2026-06-15&${reader.filter}`, {
    headers: { authorization: `Bearer ${QUERY_TOKEN}`, "last-event-id": reader.place },
  });
  expect(answer.status).toBe(200);
  const body = answer.body?.getReader();
  const parser = createSseParser();
  const decoder = new TextDecoder();
  let left = bytes;
  let rest = "";
  while (left > 0 && reader.numbers.length < wanted) {
    const { value, done } = await body?.read() ?? { done: true };
    if (done || value === undefined) break;
    rest += decoder.decode(value.subarray(0, left), { stream: true });
    left -= value.length;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = parser.push(line);
      if (message?.event === "gap") throw new Error(`A gap was told: ${message.data}`);
      if (message?.event === "audit") reader.numbers.push(JSON.parse(message.data).pid);
      if (parser.lastId() !== "") reader.place = parser.lastId();
    }
  }
  await body?.cancel();
}

/** Bytes of one connection: mostly a few events, sometimes none whole, sometimes all there are. */
function bytesUntilCut(random: SeededRandom): number {
  return random.pick([
    () => random.between(1, 300),
    () => random.between(300, 2_000),
    () => random.between(300, 2_000),
    () => random.between(2_000, 12_000),
  ])();
}

async function publish(query: QueryRig, agent: BatchAgent, numbers: readonly number[]) {
  const events = numbers.map((pid) => ({
    timeUs: NOON_US + pid,
    topic: pid % 2 === 0 ? "app/test/even" : "app/test/odd",
    severity: "info" as const,
    pid,
    message: `number ${pid}`,
  }));
  await publishAll(query.rig.connection, [await agent.batch(events)]);
}

describe.runIf(canRunNats())("a live tail", () => {
  test(
    `that is cut off at any byte loses nothing and gives nothing twice (SEED=${seed})`,
    async () => {
      const random = createSeededRandom(seed);
      await using query = await openQueryRig();
      const agent = createBatchAgent("a");
      await publish(query, agent, range(0, EVENTS_BEFORE));
      await query.rig.once();
      await using running = await query.start({ heartbeatMs: 50, flushMs: 2_000, threads: 1 });
      await using server = await openHttpServer({
        fetch: running.service.fetch,
        address: { host: "127.0.0.1", port: 0 },
        tls: undefined,
      });
      await using maintenance = await openMaintenanceContext({
        store: query.rig.store,
        scratchDirectory: `${query.rig.folder}/maintenance`,
        // The day of the events is over.
        clock: { ...systemClock, nowUs: () => Date.UTC(2026, 11, 1) * 1_000 },
        log: quietLog,
      });
      const readers: Reader[] = range(0, READERS).map((at) => {
        const parity = at % 3;
        const topic = ["app/test", "app/test/even", "app/test/odd"][parity] ?? "";
        // None has another's filter.
        const filter = `topic=${topic}&pid=!-${at + 1}`;
        const wants = (number: number): boolean => parity === 0 || number % 2 === parity - 1;
        return { filter, wants, numbers: [], place: "", cuts: 0 };
      });
      let published = EVENTS_BEFORE;
      const areDone = (): boolean => readers.every(({ cuts }) => cuts >= CUTS / READERS);
      const writing = (async () => {
        while (!areDone() && published < EVENTS_MAX) {
          // Readers are to come to the present again and again, where the seams are.
          const slowest = Math.min(
            ...readers.map(({ place, numbers }) => place === "" ? 0 : numbers.at(-1) ?? 0),
          );
          if (published - slowest > LAG_MAX) {
            await delay(5);
            continue;
          }
          const count = random.between(1, 12);
          await publish(query, agent, range(published, published + count));
          published += count;
          await delay(random.between(0, 10));
        }
      })();
      let commits = 0;
      let compactions = 0;
      const moving = (async () => {
        await using rollup = await query.rig.open();
        let rounds = 0;
        while (!areDone()) {
          const cuts = readers.reduce((sum, each) => sum + each.cuts, 0);
          if (cuts < rounds * CUTS_PER_ROUND) {
            await delay(10);
            continue;
          }
          rounds += 1;
          commits += (await rollup.runOnce()).commits;
          if (rounds % 4 === 0) compactions += (await compactTable(maintenance)).filesRemoved;
        }
      })();
      await Promise.all(readers.map(async (reader) => {
        while (reader.cuts < CUTS / READERS) {
          await readUntilCut(server.url, reader, { bytes: bytesUntilCut(random) });
          reader.cuts += 1;
        }
      }));
      await Promise.all([writing, moving]);
      const deadlineMs = performance.now() + PATIENCE_MS;
      for (const reader of readers) {
        const wanted = range(0, published).filter(reader.wants);
        while (reader.numbers.length < wanted.length && performance.now() < deadlineMs) {
          await readUntilCut(server.url, reader, { bytes: 100_000, wanted: wanted.length });
        }
        const first = wanted.findIndex((number, at) => reader.numbers[at] !== number);
        expect(reader.numbers.length, `the first that differs: ${first}`).toBe(wanted.length);
        expect(first).toBe(-1);
      }
      expect(readers.reduce((sum, { cuts }) => sum + cuts, 0)).toBeGreaterThanOrEqual(CUTS);
      // The seams did move meanwhile.
      expect(commits).toBeGreaterThan(3);
      expect(compactions).toBeGreaterThan(0);
    },
    900_000,
  );
});
