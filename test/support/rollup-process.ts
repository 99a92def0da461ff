/**
 * A roll-up in a process of its own, to be killed. Arguments: the broker's URL, the bucket's folder, a scratch folder,
 * and optionally `before:N` or `after:N`: it kills itself at its N-th write to the bucket.
 */
import { once } from "node:events";
import { openRollup } from "../../src/pipeline/rollup.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";

const [url = "", bucket = "", scratchDirectory = "", fault = ""] = process.argv.slice(2);
const [when, count] = fault.split(":");
let writes = 0;

async function mortal<T>(write: () => Promise<T>): Promise<T> {
  writes += 1;
  if (when === "before" && writes === Number(count)) process.kill(process.pid, "SIGKILL");
  const result = await write();
  if (when === "after" && writes === Number(count)) process.kill(process.pid, "SIGKILL");
  return result;
}

const directory = await openDirectoryStore({ directory: bucket });
const store: ObjectStore = {
  url: directory.url,
  get: (key, options) => directory.get(key, options),
  head: (key, options) => directory.head(key, options),
  put: (key, body, options) => mortal(() => directory.put(key, body, options)),
  putIfAbsent: (key, body, options) => mortal(() => directory.putIfAbsent(key, body, options)),
  putFileIfAbsent: (key, path, options) =>
    mortal(() => directory.putFileIfAbsent(key, path, options)),
  replace: (key, body, etag, options) => directory.replace(key, body, etag, options),
  delete: (key, options) => directory.delete(key, options),
  list: (prefix, options) => directory.list(prefix, options),
  download: (key, path, options) => directory.download(key, path, options),
  localPath: (key) => directory.localPath(key),
  verifyConditionalPut: (options) => directory.verifyConditionalPut(options),
  [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
};
await using rollup = await openRollup({
  store,
  nats: { url },
  shard: "0",
  intervalMs: 50,
  segmentMaxBytes: 20_000,
  scratchDirectory,
  log: createLog({ level: "warn" }),
  metrics: createMetrics(),
});
console.log(JSON.stringify("ready"));
await once(process.stdin, "data");
await rollup.run(new AbortController().signal);
