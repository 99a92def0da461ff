/**
 * The table as other engines find it: ClickHouse reads it through delta-kernel-rs, which shares no code with us, and must
 * see the same rows, value by value, at every version, with a checkpoint and without, in a folder and on S3.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COLUMNS } from "../../src/event/columns.ts";
import type { AuditEvent } from "../../src/event/event.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openMaintainedTable } from "../../src/storage/delta-table.ts";
import { CHECKPOINT_VERSIONS_MIN } from "../../src/storage/delta-checkpoint-write.ts";
import { checkpointKey, TABLE_PREFIX } from "../../src/storage/layout.ts";
import { createBatchAgent, NOON_US, numberedEvent, publishAll } from "../support/batches.ts";
import { missingCephGateway, openCephGateway } from "../support/ceph-gateway.ts";
import { openDataTable } from "../support/data-table.ts";
import { askForeignEngine, type ForeignRow } from "../support/foreign-engine.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openStoreAt } from "../support/real-stores.ts";
import { requireCapability } from "../support/require.ts";
import { openRollupRig, quietLog, type RollupRig } from "../support/rollup-rig.ts";
import { shardWork } from "../support/shard-work.ts";

const DAY_US = 86_400_000_000;
const ROUNDS = 3;
const EVENTS = 50;

/** Events of several days with values of every type, some of them awkward. */
function eventsOf(round: number): AuditEvent[] {
  return Array.from({ length: EVENTS }, (_, place) => ({
    ...numberedEvent(round * EVENTS + place, NOON_US + round * DAY_US + place * 1_234_567),
    severity: "high",
    outcome: place % 2 === 0 ? "success" : "failure",
    errno: place % 2 === 0 ? undefined : 13,
    uid: 4_294_967_294,
    path: `/srv/a 'quoted' "path"\\with\ttab and ünicode ${place}`,
    topics: place % 3 === 0 ? ["app/extra", "ümlaut"] : undefined,
    src_port: 65_535,
    detail: { deep: [{ number: place / 3, none: null }], text: "line\nfeed 𝄞" },
  } as AuditEvent));
}

describe.runIf(canRunNats())("another engine", () => {
  let rig: RollupRig;
  let table: { readonly folder: string };
  beforeAll(async () => {
    rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (let round = 0; round < ROUNDS; round++) {
      await publishAll(rig.connection, [await agent.batch(eventsOf(round))]);
      await rig.once();
    }
    table = { folder: rig.store.localPath(TABLE_PREFIX.slice(0, -1)) ?? "" };
  });
  afterAll(() => rig?.[Symbol.asyncDispose]());

  it("reads every value of every column as we do", async () => {
    const names = COLUMNS.map(({ name }) => `"${name}"`).join(", ");
    const order = "ORDER BY incarnation, seq, idx";
    const own = await rig.query(`SELECT ${names} FROM events ${order}`);
    const rows = await askForeignEngine(table, { sql: `SELECT ${names} FROM {table} ${order}` });
    expect(own.length).toBe(ROUNDS * EVENTS);
    expect(rows.map(asOurs)).toEqual(own);
  });

  it("prunes by partition and by statistics to the same rows", async () => {
    const from = `"time" >= '2026-06-16 00:00:00' AND "time" < '2026-06-17 00:00:00'`;
    for (const where of [from, "event_date = '2026-06-17'", "host = 'nobody'", "pid < 70"]) {
      const own = await rig.query(`SELECT count(*) AS n FROM events WHERE ${where}`);
      const sql = `SELECT count() AS n FROM {table} WHERE ${where}`;
      expect(await askForeignEngine(table, { sql }), where).toEqual(own);
    }
  });

  it("reads old versions, and goes on after a checkpoint", async () => {
    const deltaTable = openMaintainedTable({ store: rig.store, clock: systemClock, log: quietLog });
    const { version, shards } = await deltaTable.refresh();
    const counts: number[] = [];
    for (let at = 0; at <= version; at++) counts.push(await countAt(at));
    expect(counts).toEqual(counts.toSorted((left, right) => left - right));
    expect(counts.at(-1)).toBe(ROUNDS * EVENTS);
    const { incarnation = "", sequence = 0, version: last } = shards.get("0") ?? {};
    let [startedFrom, first] = [last, sequence];
    for (let more = 0; more < CHECKPOINT_VERSIONS_MIN; more++) {
      first += 1;
      const work = shardWork({ startedFrom, first, last: first, incarnation, files: [] });
      const result = await deltaTable.commit(work);
      if (result.kind === "committed") startedFrom = result.version;
    }
    const checkpoint = await deltaTable.checkpoint();
    expect(checkpoint).toBeGreaterThanOrEqual(CHECKPOINT_VERSIONS_MIN);
    expect(await rig.store.head(checkpointKey(checkpoint ?? 0))).toBeDefined();
    expect(await countAt(undefined)).toBe(ROUNDS * EVENTS);
    expect(await countAt(version)).toBe(ROUNDS * EVENTS);
  });

  it("reads nulls where older files lack a column", async () => {
    await using data = await openDataTable();
    await data.addRound({ rows: 5, start: "2026-03-01T10:00:00Z", without: ["message", "pid"] });
    await data.addRound({ rows: 7, start: "2026-03-01T11:00:00Z" });
    const folder = data.store.localPath(TABLE_PREFIX.slice(0, -1)) ?? "";
    const sql = "SELECT count() AS n, count(message) AS messages, sum(pid) AS pids FROM {table}";
    expect(await askForeignEngine({ folder }, { sql }))
      .toEqual([{ n: 12, messages: 7, pids: 7 * 2_000_000 + 21 }]);
  });

  const missing = missingCephGateway();
  it.runIf(requireCapability("s3", missing === undefined, missing ?? ""))(
    "reads it from S3",
    async () => {
      await using gateway = await openCephGateway();
      await gateway.createBucket("audit");
      Object.assign(process.env, gateway.environment);
      await using store = await openStoreAt("s3://audit/prod", gateway.endpoint);
      for await (const { key } of rig.store.list(TABLE_PREFIX)) {
        await store.put(key, (await rig.store.get(key))?.body ?? new Uint8Array());
      }
      const { accessKey, secretKey, endpoint } = gateway;
      const place = { url: `${endpoint}/audit/prod/table/`, accessKey, secretKey };
      const rows = await askForeignEngine(place, { sql: "SELECT count() AS n FROM {table}" });
      expect(rows).toEqual([{ n: ROUNDS * EVENTS }]);
    },
  );

  async function countAt(version: number | undefined): Promise<number> {
    const at = version === undefined ? {} : { version };
    const [row] = await askForeignEngine(table, { sql: "SELECT count() AS n FROM {table}", ...at });
    return Number(row?.["n"]);
  }
});

/** A row in the forms in which our queries give values. */
function asOurs(row: ForeignRow): ForeignRow {
  return Object.fromEntries(COLUMNS.map(({ name, type }) => {
    const value = row[name];
    if (type === "timestamp") return [name, `${String(value).replace(" ", "T")}Z`];
    // An absent list is an empty one to that engine.
    if (type === "strings") {
      return [name, Array.isArray(value) && value.length === 0 ? null : value];
    }
    return [name, value ?? null];
  }));
}
