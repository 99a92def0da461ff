/** The query service beside a real broker and roll-up: what is found does not depend on where it lies. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { createBatchAgent, NOON_US, numberedEvent, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { numbersOf, openQueryRig, TEST_DAY } from "../support/query-rig.ts";
import { publishNumbers, range, until } from "../support/rollup-rig.ts";

describe.runIf(canRunNats())("what is found", () => {
  test("is the same before and after it moved to the archive", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    await using running = await query.start();
    const [a, b] = [createBatchAgent("a"), createBatchAgent("b")];
    await publishNumbers(rig, a, range(0, 50));
    await publishNumbers(rig, b, range(50, 70));
    // A batch that nobody can read, and one that comes after a hole: rows that acceptance makes.
    await publishAll(rig.connection, [await b.lines("not JSON\n", { count: 1 })]);
    await publishAll(rig.connection, [
      a.raw(new Uint8Array(), { void: "the spool was full", count: 7 }),
    ]);
    await publishNumbers(rig, a, range(70, 80));
    const before = await running.found(80);
    const gaps = async () => {
      const { events } = await running.client.page({ topic: "agent/gap", order: "asc" });
      return events;
    };
    await until(async () => (await gaps()).length === 2);
    const gapsBefore = await gaps();
    const facts = async () => {
      const { isComplete, scannedFiles } = await running.client.page(TEST_DAY);
      return { isComplete, scannedFiles };
    };
    expect(await facts()).toEqual({ isComplete: true, scannedFiles: 0 });
    const inSql = async () => (await running.client.sql("SELECT count(*) AS n FROM app")).rows;
    expect(await inSql()).toEqual([{ n: 80 }]);

    await rig.once();
    await until(async () => (await facts()).scannedFiles === 1);
    expect(await running.all()).toEqual(before);
    expect(await gaps()).toEqual(gapsBefore);
    expect(await facts()).toEqual({ isComplete: true, scannedFiles: 1 });
    expect(await inSql()).toEqual([{ n: 80 }]);

    // A service that has seen nothing of it says the same.
    await running[Symbol.asyncDispose]();
    await using fresh = await query.start();
    expect(await fresh.found(80)).toEqual(before);
  });

  test("is neither missing nor doubled at any moment while roll-ups commit", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    await using running = await query.start();
    const agent = createBatchAgent("a");
    let published = 0;
    let looks = 0;
    let isDone = false;
    const publishing = (async () => {
      for (; published < 3_000; published += 50) {
        // However slow the machine is, looks fall in between.
        while (looks < Math.floor(published / 400)) await delay(5);
        await publishNumbers(rig, agent, range(published, published + 50));
      }
      isDone = true;
    })();
    const committing = (async () => {
      while (!isDone) await rig.once();
    })();
    while (!isDone) {
      const least = numbersOf(await running.all()).length;
      const found = numbersOf(await running.all());
      expect(found).toEqual(range(0, found.length));
      expect(found.length).toBeGreaterThanOrEqual(least);
      looks += 1;
    }
    await Promise.all([publishing, committing]);
    await rig.once();
    expect(numbersOf(await running.found(3_000))).toEqual(range(0, 3_000));
    const head = await running.ask("/v1/events?from=2026-06-15&to=2026-06-16&topic=app/test");
    expect(head.headers.get("probity-complete")).toBe("true");
  });

  test("pages stay what they were while events arrive and move", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    await using running = await query.start();
    const agent = createBatchAgent("a");
    // Times that lie among each other, so that what comes later belongs between what was there.
    const publish = (from: number, to: number) =>
      agent.batch(range(from, to).map((each) => numberedEvent(each, NOON_US + each % 97)))
        .then((batch) => publishAll(rig.connection, [batch]));
    await publish(0, 500);
    await running.found(500);
    for (const order of ["asc", "desc"] as const) {
      const expected = (await running.all()).map(({ id }) => id);
      const seen: string[] = [];
      let cursor: string | undefined;
      let next = expected.length;
      do {
        const page = await running.client.page({
          ...TEST_DAY,
          order,
          limit: 60,
          ...(cursor === undefined ? {} : { cursor }),
        });
        seen.push(...page.events.map(({ id }) => id));
        cursor = page.next;
        await publish(next, next += 20);
        await running.found(next);
        if (seen.length === 180) await rig.once();
      } while (cursor !== undefined);
      expect(seen).toEqual(order === "asc" ? expected : expected.toReversed());
    }
  });

  test("is visible within a second of its publishing", async () => {
    await using query = await openQueryRig();
    await using running = await query.start();
    const agent = createBatchAgent("a");
    await publishNumbers(query.rig, agent, [0]);
    await running.found(1);
    const tookMs: number[] = [];
    for (const number of range(1, 8)) {
      const startedMs = performance.now();
      await publishNumbers(query.rig, agent, [number]);
      await running.found(number + 1);
      tookMs.push(performance.now() - startedMs);
    }
    // Most of them: the machine may be busy with something else at any moment.
    expect(tookMs.toSorted((a, b) => a - b)[4], String(tookMs)).toBeLessThan(1_000);
    // Also of an hour before all that was there, which hot rows until then could be left out for.
    const hour = { from: "2026-06-15T11:00:00Z", to: "2026-06-15T12:00:00Z" };
    const inSql = async () =>
      (await running.client.sql(
        `SELECT count(*) AS n FROM app WHERE time < TIMESTAMPTZ '${hour.to}'`,
      )).rows;
    expect((await running.client.page(hour)).events).toEqual([]);
    expect(await inSql()).toEqual([{ n: 0 }]);
    const late = numberedEvent(6, NOON_US - 1_800_000_000);
    await publishAll(query.rig.connection, [await agent.batch([late])]);
    await running.found(9);
    expect((await running.client.page(hour)).events).toHaveLength(1);
    expect(await inSql()).toEqual([{ n: 1 }]);
  });

  test("includes who looked for it", async () => {
    await using query = await openQueryRig();
    await using running = await query.start();
    await running.ask("/v1/events?user=somebody&limit=3");
    await running.service.fetch(new Request("http://localhost/v1/events"), {
      incoming: { socket: { remoteAddress: "::ffff:192.0.2.7" } },
    });
    let events: readonly Record<string, unknown>[] = [];
    await until(async () => {
      events = (await running.client.page({ topic: "audit", service: "probity-query" })).events;
      return events.length >= 2 && events.some(({ topic }) => topic === "audit/login");
    });
    expect(events).toContainEqual(expect.objectContaining({
      topic: "audit/query",
      host: "query.example",
      user: "admin",
      outcome: "success",
      detail: expect.objectContaining({
        principal: "admin",
        route: "GET /v1/events",
        parameters: { user: "somebody", limit: "3" },
        rows: 0,
      }),
    }));
    expect(events).toContainEqual(expect.objectContaining({
      topic: "audit/login",
      outcome: "failure",
      severity: "medium",
      src_ip: "192.0.2.7",
    }));
    const { events: starts } = await running.client.page({ topic: "agent/start" });
    expect(starts).toHaveLength(1);
  });
});
