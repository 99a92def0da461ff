/** The service that questions of `bench/query.ts` are put to: over an archive alone, without a socket, with its rights and limits. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openQueryService, type QueryService } from "../src/query/open-query.ts";
import { systemClock } from "../src/runtime/clock.ts";
import { createLog } from "../src/runtime/log.ts";
import { createMetrics } from "../src/runtime/metrics.ts";
import { openTable } from "../src/storage/delta-table.ts";
import { dataFileKey } from "../src/storage/layout.ts";
import type { ObjectStore } from "../src/storage/object-store.ts";
import { MEMORY_BYTES, THREADS } from "./query-archive.ts";

const TOKEN = "bench-token-of-enough-length";
/** Between two looks for files that are not counted yet, in milliseconds; and where none is wanted. */
export const TALLY_INTERVAL_MS = 200;
const NEVER_MS = 1_000_000_000;
const log = createLog({ level: "error" });

export interface Asked extends AsyncDisposable {
  get(path: string, accept?: string): Promise<Response>;
  sql(statement: string): Promise<string>;
}

export async function openAsked(
  store: ObjectStore,
  folder: string,
  options: { readonly isCounting: boolean } = { isCounting: false },
): Promise<Asked> {
  await writeFile(join(folder, "token"), `${TOKEN}\n`);
  const cacheDirectory = join(folder, "cache");
  await rm(cacheDirectory, { recursive: true, force: true });
  const service: QueryService = await openQueryService({
    store,
    nats: undefined,
    shards: ["0"],
    cacheDirectory,
    hot: "off",
    tokens: { adminTokenFile: join(folder, "token") },
    memoryLimitBytes: MEMORY_BYTES,
    threads: THREADS,
    host: "bench",
    producerDirectory: join(folder, "spool"),
    version: "0",
    log,
    metrics: createMetrics(),
    tallyIntervalMs: options.isCounting ? TALLY_INTERVAL_MS : NEVER_MS,
  });
  const ask = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = { authorization: `Bearer ${TOKEN}`, ...init.headers };
    const answer = await service.fetch(
      new Request(`http://localhost${path}`, { ...init, headers }),
    );
    if (!answer.ok) throw new Error(`Cannot ask ${path}: ${await answer.text()}`);
    return answer;
  };
  return {
    get: (path, accept = "application/json") => ask(path, { headers: { accept } }),
    sql: async (sql) =>
      await (await ask("/v1/sql", { method: "POST", body: JSON.stringify({ sql }) })).text(),
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

export async function pathsOf(store: ObjectStore): Promise<string[]> {
  const { files } = await openTable({ store, clock: systemClock, log }).refresh();
  return [...files.keys()].map((path) => store.localPath(dataFileKey(path)) ?? "");
}
