/** Methods of `/rpc` by themselves: what is left of a call, and what the audit is told of one that fails. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createActivity } from "../../src/query/activity.ts";
import type { Executor } from "../../src/query/executor.ts";
import { type HotTable, openHotTable } from "../../src/query/hot/table.ts";
import { openTallies } from "../../src/query/metric/tallies.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import { auditEventsGet } from "../../src/query/rpc/events-method.ts";
import type { RpcCall } from "../../src/query/rpc/method.ts";
import { auditMetricGet, auditMetricTail } from "../../src/query/rpc/metric-methods.ts";
import { createDispatcher, type Dispatcher } from "../../src/query/tail/dispatcher.ts";
import { createLiveClients } from "../../src/query/tail/live-clients.ts";
import { type Clock, systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const stack = new AsyncDisposableStack();
let hot: HotTable;
let dispatcher: Dispatcher;
let folder: string;
const log = createLog({ level: "error", write: () => undefined });

beforeAll(async () => {
  folder = stack.use(await openTemporaryFolder("rpc-methods")).path;
  await mkdir(join(folder, "bucket"));
  const store = stack.use(
    await openStore({ url: pathToFileURL(join(folder, "bucket")).href, log }),
  );
  const database = stack.use(
    await openDatabase({
      ...{ memoryLimitBytes: 60_000_000, threads: 1 },
      ...{ tempDirectory: join(folder, "spill"), tempLimitBytes: 1_000_000 },
    }),
  );
  hot = stack.use(
    await openHotTable({
      ...{ database, store, nats: undefined, shards: [], limitBytes: 1_000_000 },
      ...{ payloadDirectory: folder, scratchDirectory: folder, clock: systemClock, log },
    }),
  );
  dispatcher = stack.use(
    createDispatcher({ hot, connection: stack.use(await database.connect()), log }),
  );
});

afterAll(() => stack.disposeAsync());

/** Counts those who sleep. */
function countingClock(): { readonly clock: Clock; readonly sleeping: () => number } {
  let count = 0;
  const clock: Clock = {
    ...systemClock,
    async sleep(ms, signal) {
      count += 1;
      await systemClock.sleep(ms, signal).finally(() => count -= 1);
    },
  };
  return { clock, sleeping: () => count };
}

const BROKEN: Executor = {
  texts: () => {
    throw new Error("The database is broken");
  },
  bytes: () => {
    throw new Error("The database is broken");
  },
  rows: () => Promise.reject(new Error("The database is broken")),
  parquet: () => Promise.reject(new Error("The database is broken")),
};

type Told = Parameters<RpcCall["report"]>[0];

function callOf(params: unknown): { readonly call: RpcCall; readonly told: readonly Told[] } {
  const told: Told[] = [];
  const call = {
    params,
    principal: { name: "admin", scopes: ADMIN_SCOPES },
    time: { nowUs: systemClock.nowUs(), bootUs: 0 },
    signal: AbortSignal.timeout(20_000),
    part: () => Promise.resolve(),
    report: (end: Told) => told.push(end),
  };
  return { call, told };
}

/** A row that is not in the archive: it has to be read. */
const HOT = { table: "absent", incarnation: "0a1b2c3d", after: 0, upTo: 1 };

async function partsWith(clock: Clock) {
  const tallies = await openTallies({
    ...{ directory: folder, executor: BROKEN, acquire: () => hot.acquire(), clock, log },
    isAtHand: () => true,
  });
  const acquire = () => {
    const lease = hot.acquire();
    return { ...lease, view: { ...lease.view, hot: [HOT] } };
  };
  return {
    ...{ executor: BROKEN, streams: BROKEN, hot: { ...hot, acquire }, heartbeatMs: 100, clock },
    ...{ clients: createLiveClients(), sending: createActivity() },
    source: {
      hot,
      executor: BROKEN,
      dispatcher,
      removals: {
        after: () => Promise.resolve(undefined),
        since: () => Promise.resolve(undefined),
      },
    },
    ...{ reader: { executor: BROKEN, tallies }, liveReader: { executor: BROKEN, tallies } },
  };
}

test("auditEventsGet that awaits events of no path leaves nothing that waits for its end", async () => {
  const { clock, sleeping } = countingClock();
  const seekEnd = Date.now() + 86_400_000;
  const { call } = callOf({ paths: [], awaitFutureEvents: true, seekEnd });
  expect(await auditEventsGet(await partsWith(clock)).run(call)).toMatchObject({ events: 0 });
  await new Promise((resolve) => setImmediate(resolve));
  expect(sleeping()).toBe(0);
});

test.each(
  [
    ["auditEventsGet", auditEventsGet, { paths: [[]] }],
    ["auditMetricGet", auditMetricGet, { path: [] }],
    ["auditMetricTail", auditMetricTail, { path: [] }],
  ] as const,
)("%s that fails is told to the audit as a failure", async (_name, method, params) => {
  const { call, told } = callOf(params);
  await expect(method(await partsWith(systemClock)).run(call)).rejects.toThrow("broken");
  expect(told.at(-1)).toEqual({ rows: 0, outcome: "failure" });
});
