/**
 * A query service with sinks in a process of its own, to be killed. Its only argument: JSON of url, bucket, folder,
 * token file, and the sinks. Stays until it is killed.
 */
import { join } from "node:path";
import { openQueryService } from "../../src/query/open-query.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";

const { url, bucket, folder, tokenFile, sinks } = JSON.parse(process.argv[2] ?? "{}");
const store = await openDirectoryStore({ directory: bucket });
await openQueryService({
  store,
  nats: { url },
  shards: ["0"],
  cacheDirectory: join(folder, "cache-of-process"),
  hot: { limitBytes: 64 * 1024 * 1024 },
  tokens: { adminTokenFile: tokenFile },
  memoryLimitBytes: 256 * 1024 * 1024,
  host: "query.example",
  producerDirectory: join(folder, "spool-of-process"),
  version: "0.0.0",
  log: createLog({ level: "error" }),
  metrics: createMetrics(),
  sinks,
});
process.stdout.write('"ready"\n');
setInterval(() => undefined, 60_000);
