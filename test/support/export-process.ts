/**
 * The query service over a bucket, on a port, in a process of its own whose memory is its own.
 *
 * Arguments: folder of the bucket, folder for all else, bound of DuckDB's memory in bytes. Says `{ url, token }`, then for
 * each line it is given the most memory that it has had so far, in bytes.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { openQueryService } from "../../src/query/open-query.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";

const [bucket = "", directory = "", memoryLimit = ""] = process.argv.slice(2);
const token = "a-token-of-enough-length-for-tests";
const adminTokenFile = join(directory, "token");
await writeFile(adminTokenFile, `${token}\n`);
const service = await openQueryService({
  store: await openDirectoryStore({ directory: bucket }),
  nats: undefined,
  shards: [],
  cacheDirectory: join(directory, "cache"),
  hot: "off",
  tokens: { adminTokenFile },
  memoryLimitBytes: Number(memoryLimit),
  host: "api-1",
  producerDirectory: join(directory, "spool"),
  version: "0",
  log: createLog({ level: "error" }),
  metrics: createMetrics(),
  // Counting needs memory as well, and has the right to end an export for it.
  tallyIntervalMs: 1_000_000_000,
});
const server = await openHttpServer({
  fetch: service.fetch,
  address: { host: "127.0.0.1", port: 0 },
  tls: undefined,
});
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
say({ url: server.url, token });
say("ready");
createInterface({ input: process.stdin })
  .on("line", () => say({ peakBytes: process.resourceUsage().maxRSS * 1024 }));
