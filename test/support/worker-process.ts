/**
 * A roll-up worker in a process of its own, to be killed. Arguments: the broker's URL, the bucket's folder, a scratch
 * folder, its shards joined by commas, and optionally the shard whose first commit it stops at (SIGSTOP), just before it
 * writes the log entry. It says its shards whenever they change, `{"stopping": true}` before it stops, and
 * `{"late": outcome}` when it has tried to write that entry.
 */
import { once } from "node:events";
import { openWorker } from "../../src/pipeline/worker.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";

const [url = "", bucket = "", scratchDirectory = "", shards = "", stopAt = ""] = process.argv
  .slice(2);
const LOOK_MS = 50;
let isStopDue = stopAt !== "";
const say = (value: unknown): void => console.log(JSON.stringify(value));

const directory = await openDirectoryStore({ directory: bucket });
const store: ObjectStore = {
  url: directory.url,
  get: (key, options) => directory.get(key, options),
  head: (key, options) => directory.head(key, options),
  put: (key, body, options) => directory.put(key, body, options),
  putIfAbsent: async (key, body, options) => {
    let isLate = false;
    if (isStopDue && new TextDecoder().decode(body).includes(`"appId":"shard:${stopAt}"`)) {
      isStopDue = false;
      isLate = true;
      say({ stopping: true });
      process.kill(process.pid, "SIGSTOP");
    }
    const outcome = await directory.putIfAbsent(key, body, options);
    if (isLate) say({ late: outcome });
    return outcome;
  },
  putFileIfAbsent: (key, path, options) => directory.putFileIfAbsent(key, path, options),
  replace: (key, body, etag, options) => directory.replace(key, body, etag, options),
  delete: (key, options) => directory.delete(key, options),
  list: (prefix, options) => directory.list(prefix, options),
  download: (key, path, options) => directory.download(key, path, options),
  localPath: (key) => directory.localPath(key),
  verifyConditionalPut: (options) => directory.verifyConditionalPut(options),
  [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
};
await using worker = await openWorker({
  store,
  nats: { url },
  shards: shards.split(","),
  intervalMs: 50,
  segmentMaxBytes: 20_000,
  leaseMs: 1_500,
  scratchDirectory,
  log: createLog({ level: "warn" }),
  metrics: createMetrics(),
});
say("ready");
await once(process.stdin, "data");
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
let said = "";
const telling = setInterval(() => {
  const now = JSON.stringify({ shards: worker.shards() });
  if (now === said) return;
  said = now;
  console.log(now);
}, LOOK_MS);
await worker.run(stop.signal);
clearInterval(telling);
