/** A query service beside a real broker, a real bucket and a real roll-up, asked as its users do. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Client, createClient } from "../../src/client/client.ts";
import type { RecordedEvent } from "../../src/client/record.ts";
import {
  openQueryService,
  type QueryService,
  type QueryServiceOptions,
} from "../../src/query/open-query.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openRollupRig, quietLog, type RollupRig, until } from "./rollup-rig.ts";

export const QUERY_TOKEN = "integration-token-of-enough-length";
/** A range that holds every event of the tests' agents, and none of the service's own. */
export const TEST_DAY = { from: "2026-06-15", to: "2026-06-16", topic: "app/test" } as const;

export interface RunningQuery extends AsyncDisposable {
  readonly service: QueryService;
  readonly client: Client;
  ask(path: string, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** All events of the tests' agents, oldest first. */
  all(): Promise<RecordedEvent[]>;
  /** Resolves once it has found so many of them, or more. */
  found(count: number): Promise<RecordedEvent[]>;
}

export interface QueryRig extends AsyncDisposable {
  readonly rig: RollupRig;
  /** Starts a service; the same folders are used again and again. */
  start(options?: Partial<QueryServiceOptions>): Promise<RunningQuery>;
}

export async function openQueryRig(): Promise<QueryRig> {
  const rig = await openRollupRig();
  const tokenFile = join(rig.folder, "token");
  await writeFile(tokenFile, QUERY_TOKEN);
  return {
    rig,
    start: (options) => startQuery(rig, tokenFile, options),
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
}

async function startQuery(
  rig: RollupRig,
  adminTokenFile: string,
  options: Partial<QueryServiceOptions> = {},
): Promise<RunningQuery> {
  const service = await openQueryService({
    store: rig.store,
    nats: { url: rig.server.url },
    shards: ["0"],
    cacheDirectory: join(rig.folder, "cache"),
    hot: { limitBytes: 64 * 1024 * 1024 },
    tokens: { adminTokenFile },
    memoryLimitBytes: 512 * 1024 * 1024,
    host: "query.example",
    producerDirectory: join(rig.folder, "query-spool"),
    version: "0.0.0",
    flushMs: 100,
    log: process.env["DEBUG"] === undefined ? quietLog : createLog({ level: "warn" }),
    metrics: createMetrics(),
    ...options,
  });
  const client = createClient({
    url: "http://localhost",
    token: QUERY_TOKEN,
    fetch: (url, init) => service.fetch(new Request(url, init)),
  });
  const all = async (): Promise<RecordedEvent[]> => {
    const { events } = await client.stream({ ...TEST_DAY, order: "asc" });
    return await Array.fromAsync(events);
  };
  return {
    service,
    client,
    all,
    ask: (path, headers = {}) =>
      service.fetch(
        new Request(`http://localhost${path}`, {
          headers: { ...headers, authorization: `Bearer ${QUERY_TOKEN}` },
        }),
      ),
    async found(count) {
      let events: RecordedEvent[] = [];
      await until(async () => (events = await all()).length >= count);
      return events;
    },
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

/** The numbers that events carry, in their order. */
export function numbersOf(events: readonly RecordedEvent[]): number[] {
  return events.map(({ pid }) => Number(pid));
}
