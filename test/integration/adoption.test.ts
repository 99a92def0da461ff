/** What a sender that is gone left behind a hole becomes part of the record, once, whoever else publishes it as well. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { AuditEvent } from "../../src/event/event.ts";
import { HEADER, streamOf } from "../../src/event/wire.ts";
import { adoptAll, type AdoptAllOptions } from "../../src/pipeline/adopt-all.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { connectNats, deleteStream, readMessage } from "../../src/runtime/nats.ts";
import { tellRecords } from "../../src/storage/admin-record.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import {
  createBatchAgent,
  numberedEvent,
  publishAll,
  type SentMessage,
} from "../support/batches.ts";
import { runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  makeStream,
  openRollupRig,
  quietLog,
  range,
  type RollupRig,
  until,
  watermarkOf,
} from "../support/rollup-rig.ts";

/** As if all that lies in the log were old enough. */
const AT_ONCE = { goneAfterUs: 0 };

function placeOf({ store }: RollupRig) {
  const table = openTable({ store, clock: systemClock, log: quietLog });
  return { store, table, clock: systemClock, log: quietLog };
}

async function adopted(rig: RollupRig, more: Partial<AdoptAllOptions> = {}) {
  const connect = () => connectNats({ url: rig.server.url, name: "adopt", log: quietLog });
  const { epochs } = await adoptAll(placeOf(rig), {
    ...{ by: "ann@desk", isDryRun: false, connect },
    ...more,
  });
  return epochs.map(({ agent, outcome, voids, kept, published }) => ({
    ...{ agent, outcome, voids, kept, published },
  }));
}

const gapsOf = (rig: RollupRig) =>
  rig.query(
    `SELECT agent, detail::JSON ->> 'class' AS class, detail::JSON ->> 'batches' AS batches
     FROM events WHERE topic = 'agent/gap' ORDER BY seq`,
  );

/** Batches of one event each, of which the second never reached the log. */
async function leaveHole(rig: RollupRig, name = "a"): Promise<readonly SentMessage[]> {
  const agent = createBatchAgent(name);
  const batches: SentMessage[] = [];
  for (const number of range(1, 5)) batches.push(await agent.batch([numberedEvent(number)]));
  await publishAll(rig.connection, batches.toSpliced(1, 1));
  await rig.once();
  expect(await rig.numbers()).toEqual([1]);
  return batches;
}

const again = (message: SentMessage, id: string): SentMessage => ({
  ...message,
  headers: new Map([...message.headers, [HEADER.messageId, id]]),
});

describe.runIf(canRunNats())("adoption", () => {
  it("makes rows of what was left, and one gap of what never came, once", async () => {
    await using rig = await openRollupRig();
    const batches = await leaveHole(rig);
    expect(await adopted(rig)).toMatchObject([{ outcome: "waiting", published: 0 }]);
    expect(await adopted(rig, { agent: "b" })).toEqual([]);
    const planned = { agent: "a", outcome: "planned", voids: 1, kept: 2, published: 0 };
    expect(await adopted(rig, { ...AT_ONCE, isDryRun: true })).toEqual([planned]);
    // Two at once publish what one does.
    const both = await Promise.all([adopted(rig, { agent: "a" }), adopted(rig, AT_ONCE)]);
    expect(both.flat().some(({ outcome }) => outcome === "adopted")).toBe(true);
    await rig.once();
    expect(await rig.numbers()).toEqual([1, 3, 4]);
    const gap = { agent: "a", class: "void", batches: "[2,2]" };
    expect(await gapsOf(rig)).toEqual([gap]);
    expect(await watermarkOf(rig, "a")).toMatchObject({ number: 4, givenUp: [[2, 2]] });
    expect(await adopted(rig, { agent: "a" })).toEqual([]);
    // What was missing comes after all, as often as it likes.
    const [, second] = batches;
    if (second === undefined) throw new Error("no second batch");
    await publishAll(rig.connection, [again(second, "late-1"), again(second, "late-2")]);
    await rig.once();
    expect(await rig.numbers()).toEqual([1, 2, 3, 4]);
    expect(await gapsOf(rig)).toEqual([gap]);
    expect(await watermarkOf(rig, "a")).not.toHaveProperty("givenUp");
    const told: AuditEvent[] = [];
    await tellRecords(placeOf(rig), (event) => Promise.resolve(void told.push(event)));
    expect(told[0]).toMatchObject({
      topic: "audit/admin",
      user: "ann@desk",
      outcome: "success",
      detail: { action: "rollup adopt", published: 3 },
    });
  });

  it("waits until all that the log holds of the sender is committed", async () => {
    await using rig = await openRollupRig();
    const batches = await leaveHole(rig);
    await publishAll(rig.connection, batches.slice(1, 2));
    expect(await adopted(rig, AT_ONCE)).toMatchObject([{ outcome: "unsettled", published: 0 }]);
    await rig.once();
    expect(await adopted(rig, AT_ONCE)).toMatchObject([{ outcome: "adopted", voids: 0, kept: 2 }]);
    await rig.once();
    expect(await rig.numbers()).toEqual([1, 2, 3, 4]);
    expect(await gapsOf(rig)).toEqual([]);
  });

  it("leaves to a later epoch what its spool took along", async () => {
    await using rig = await openRollupRig();
    await leaveHole(rig);
    const later = createBatchAgent("a", "e2");
    const payloads = await later.batch(range(2, 5).map((number) => numberedEvent(number)));
    await publishAll(rig.connection, [payloads]);
    await rig.once();
    expect(await adopted(rig, { agent: "a" })).toMatchObject([{ outcome: "moved", published: 0 }]);
    await rig.once();
    expect(await rig.numbers()).toEqual([1, 2, 3, 4]);
  });

  it("is told to a sender that comes back: it sends what was given up, and nothing twice", async () => {
    await using rig = await openRollupRig();
    const spool = {
      directory: join(rig.folder, "spool"),
      host: "web-1",
      shard: "0",
      nats: { url: rig.server.url },
      log: quietLog,
    };
    await rig.once();
    const sent: SentMessage[] = [];
    let agent = "";
    {
      await using producer = await openProducer(spool);
      ({ agent } = producer);
      for (const number of range(1, 5)) {
        producer.emit(numberedEvent(number, Date.now() * 1_000));
        await producer.flush();
      }
      await until(() => Promise.resolve(producer.counters().batchesPublished === 4));
      for (const sequence of range(1, 5)) {
        const message = await readMessage(rig.connection, { stream: streamOf("0"), sequence });
        if (message === undefined) throw new Error(`no message ${sequence}`);
        const { [HEADER.expectedLastSubjectSequence]: _, ...headers } = Object.fromEntries(
          message.headers,
        );
        sent.push({ ...message, headers: new Map(Object.entries(headers)) });
      }
    }
    // The log comes back from its disk without the second batch, and the sender does not.
    await deleteStream(rig.connection, streamOf("0"));
    await makeStream(rig.connection);
    await publishAll(rig.connection, sent.toSpliced(1, 1));
    await rig.once();
    expect(await adopted(rig, { agent })).toMatchObject([{ outcome: "adopted", published: 3 }]);
    await rig.once();
    expect(await rig.numbers()).toEqual([1, 3, 4]);
    await using producer = await openProducer(spool);
    expect(producer.agent).toBe(agent);
    await until(async () => {
      await rig.once();
      return producer.counters().spoolBatches === 0;
    });
    expect(await rig.numbers()).toEqual([1, 2, 3, 4]);
    expect(await gapsOf(rig)).toMatchObject([{ agent, class: "void" }]);
    expect(await watermarkOf(rig, agent)).not.toHaveProperty("givenUp");
  });

  it("is a command that says what it did", async () => {
    await using rig = await openRollupRig();
    await leaveHole(rig);
    const adopt = async (...words: string[]) => {
      const data = join(rig.folder, "data");
      const store = `file://${join(rig.folder, "bucket")}`;
      const places = ["--nats", rig.server.url, "--store-url", store, "--data", data];
      const { code, stdout } = await runProbity(["rollup", "adopt", ...words, ...places]);
      return { code, said: stdout === "" ? undefined : JSON.parse(stdout) };
    };
    expect(await adopt("a")).toMatchObject({
      code: 0,
      said: { agent: "a", accepted: 1, highest: 4, outcome: "adopted", voids: 1, kept: 2 },
    });
    await rig.once();
    expect(await rig.numbers()).toEqual([1, 3, 4]);
    expect(await adopt("--dry-run")).toEqual({ code: 0, said: undefined });
  });
});
