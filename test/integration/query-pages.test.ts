/** Pages against the truth, at random: events arrive, late ones too, move to the archive and are compacted meanwhile. */
import { describe, expect, test } from "vitest";
import type { EventQuery } from "../../src/client/record.ts";
import { compactTable } from "../../src/pipeline/maintenance/compaction.ts";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import type { AuditEvent } from "../../src/event/event.ts";
import { type BatchAgent, createBatchAgent, NOON_US, publishAll } from "../support/batches.ts";
import { clockAt } from "../support/data-table.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openQueryRig, type RunningQuery } from "../support/query-rig.ts";
import { quietLog, range, type RollupRig, until } from "../support/rollup-rig.ts";
import { createSeededRandom, type SeededRandom } from "../support/seeded-random.ts";

const SEED = Number(process.env["PAGES_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const RUNS = 12;
/** Between two compactions. */
const COMPACT_STEPS = 7;
/** Of events: few different times, so that pages end within equal ones. */
const TIMES = 40;
const FROM = "2026-06-15T12:00:00Z";
const ENDS = [
  "2026-06-15T12:00:00.000010Z",
  "2026-06-15T12:00:00.004500Z",
  "2026-06-15T13:00:00Z",
] as const;
const ORDERS = ["asc", "desc"] as const;
const LIMITS = [1, 7, 30, 100, 301] as const;

describe.runIf(canRunNats())("pages", () => {
  test(`have every event that was there before the first, once and in order (PAGES_SEED=${SEED})`, async () => {
    const random = createSeededRandom(SEED);
    await using query = await openQueryRig();
    const { rig } = query;
    await using running = await query.start({ cacheDirectory: `${rig.folder}/cache-pages` });
    const world = createWorld(rig, random);
    await world.arrive(20);
    await untilFound(running, world.published());
    for (let run = 0; run < RUNS; run++) {
      const order = random.pick(ORDERS);
      const limit = random.pick(LIMITS);
      const asked: EventQuery = {
        ...{ from: FROM, to: random.pick(ENDS), topic: "app/test" },
        ...(random.next() < 0.3 ? { host: "b.example" } : {}),
      };
      const before = await idsOf(running, asked);
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await running.client.page({
          ...{ ...asked, order, limit: Math.max(limit, Math.ceil(before.length / 12)) },
          ...(cursor === undefined ? {} : { cursor }),
        });
        expect(page.isComplete).toBe(true);
        seen.push(...page.events.map(({ id }) => id));
        cursor = page.next;
        await world.step();
      } while (cursor !== undefined);
      const what = JSON.stringify({ run, order, limit, ...asked });
      expect(order === "asc" ? seen : seen.toReversed(), what).toEqual(before);
      // What came meanwhile has come, so that the next truth is fixed.
      await untilFound(running, world.published());
    }
    expect(world.compactions()).toBeGreaterThan(0);
  });
});

function createWorld(rig: RollupRig, random: SeededRandom) {
  const agents: readonly [BatchAgent, BatchAgent] = [createBatchAgent("a"), createBatchAgent("b")];
  let published = 0;
  let compactions = 0;
  let steps = 0;
  const eventOf = (number: number): AuditEvent => ({
    timeUs: NOON_US + random.between(0, TIMES) * random.pick([1, 250, 1_000]),
    ...{ topic: "app/test", severity: "info", pid: number, message: `Event ${number}.` },
  });
  const arrive = async (batches: number): Promise<void> => {
    for (let batch = 0; batch < batches; batch++) {
      const count = random.between(1, 40);
      const events = range(published, published + count).map(eventOf);
      await publishAll(rig.connection, [await random.pick(agents).batch(events)]);
      published += count;
    }
  };
  const compact = async (): Promise<void> => {
    await using context = await openMaintenanceContext({
      ...{ store: rig.store, scratchDirectory: `${rig.folder}/compaction`, log: quietLog },
      clock: clockAt("2026-06-17T00:00:00Z"),
    });
    compactions += (await compactTable(context)).filesAdded;
  };
  return {
    arrive,
    published: () => published,
    compactions: () => compactions,
    /** Something that may happen between two pages. */
    async step(): Promise<void> {
      await arrive(random.between(0, 2));
      steps += 1;
      if (random.next() < 0.3) await rig.once();
      if (steps % COMPACT_STEPS === 0) await compact();
    },
  };
}

async function idsOf(running: RunningQuery, asked: EventQuery): Promise<string[]> {
  const { events } = await running.client.stream({ ...asked, order: "asc" });
  return (await Array.fromAsync(events)).map(({ id }) => id);
}

/** All that was published is found, and so what is asked next is all there was. */
async function untilFound(running: RunningQuery, count: number): Promise<void> {
  await until(async () => (await running.all()).length >= count);
}
