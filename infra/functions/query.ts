/**
 * The query service as a function: an exported `fetch` that reads the archive. What is not committed yet is not in its
 * answers, since an instance that sleeps between requests cannot follow the log; the audit of its reads goes to its
 * own log for the same reason.
 *
 * The default export is what `deno serve`, Bun and edge runtimes ask for.
 */
import { hostname } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { usageError } from "../../src/cli/exit.ts";
import { versionOfPackage } from "../../src/cli/program.ts";
import { shardNames } from "../../src/cli/shards.ts";
import { openQueryService, type QueryService } from "../../src/query/open-query.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { type Environment, readFunctionSettings } from "./settings.ts";

export type Fetch = (request: Request, environment?: unknown) => Promise<Response>;

/** A handler that opens the service at its first request and keeps it; a failed opening is tried again at the next. */
export function createFetch(environment: Environment, open = openService): Fetch {
  let opening: Promise<QueryService> | undefined;
  return async (request, around) => {
    opening ??= open(environment);
    try {
      const service = await opening;
      return await service.fetch(request, around);
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
}

/** The service that answers from the archive alone, by the variables of the environment. */
export async function openService(environment: Environment): Promise<QueryService> {
  const { folder, tokenFile, log, ...settings } = readFunctionSettings(environment);
  if (tokenFile === undefined) {
    throw usageError("Cannot tell who may ask: PROBITY_TOKEN_FILE is not set");
  }
  return await openQueryService({
    store: await openStore(settings.store),
    nats: undefined,
    hot: "off",
    shards: shardNames(settings.rollup.shards),
    cacheDirectory: join(folder.cache, "query"),
    tokens: { adminTokenFile: tokenFile },
    host: hostname(),
    producerDirectory: folder.spool("query"),
    version: versionOfPackage(),
    log,
    metrics: createMetrics(),
  });
}

export const fetch: Fetch = createFetch(process.env);

export default { fetch };
