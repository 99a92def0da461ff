/**
 * Names that were removed from the registry leave the bucket after a day: what stands for them guards writers that began
 * before the removal, and none takes that long.
 *
 * Invariant: no value is deleted, though stores delete without a condition. What is to go is sealed first, which is a
 * conditional write and therefore the last look at what stands there; nobody writes over a seal for ten minutes (`SEAL_MS`),
 * and only who made it deletes, at once and by one request that is never sent again. Before that request takes effect the
 * seal stands; after it nobody else is left who would delete. What remains is a request that is held up on its way, or
 * repeated by a proxy, for longer than that, while somebody makes the same name again.
 */
import { randomBytes } from "node:crypto";
import type { Log } from "../runtime/log.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import { REGISTRY_PREFIX } from "./layout.ts";
import { AmbiguousWriteError, type ObjectStore, type RequestOptions } from "./object-store.ts";
import {
  EMPTY_CONTENT_BYTES_MAX,
  encodeRegistryContent,
  parseRegistryContent,
} from "./registry-content.ts";
import { readStoreTimeMs } from "./store-time.ts";

export interface SweepOptions {
  readonly store: ObjectStore;
  readonly log: Log;
  /** By the store's clock; a day by default. */
  readonly ageMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A removed name stays for so long, in milliseconds. */
export const REMOVED_NAME_MS = 24 * 3_600_000;
/** From the seal to the end of the deletion; a tenth of the time for which a seal is respected. */
const DELETE_LIMIT_MS = 60_000;

/** Deletes what stands for names removed long ago; resolves to how many. Throws what the store throws. */
export async function sweepRegistry(options: SweepOptions): Promise<number> {
  const { store, log, ageMs = REMOVED_NAME_MS, signal } = options;
  const request = signal === undefined ? {} : { signal };
  const storeMs = await readStoreTimeMs(store, request);
  if (storeMs === undefined) throw new Error(`Cannot tell the time of ${store.url}`);
  const beforeMs = storeMs - ageMs;
  let count = 0;
  for await (const { key, sizeBytes, modifiedAtMs } of store.list(REGISTRY_PREFIX, request)) {
    if (modifiedAtMs >= beforeMs || sizeBytes > EMPTY_CONTENT_BYTES_MAX) continue;
    if (await deleteRemoved(store, key, request)) count += 1;
  }
  if (count > 0) log.info("removed names have left the registry", { names: count });
  return count;
}

/** False when there is a value, or something that is none of the registry's, or somebody else was there. */
async function deleteRemoved(
  store: ObjectStore,
  key: string,
  request: RequestOptions,
): Promise<boolean> {
  const found = await store.get(key, request);
  const removed = found === undefined ? undefined : removedOf(found.body);
  if (found === undefined || removed === undefined) return false;
  const limit = timeLimit(DELETE_LIMIT_MS);
  const signal = AbortSignal.any([limit, ...request.signal === undefined ? [] : [request.signal]]);
  const seal = encodeRegistryContent(key, {
    mark: randomBytes(8).toString("hex"),
    past: [removed.mark, ...removed.past],
    writtenAtMs: Date.now(),
    value: undefined,
    isSealed: true,
  });
  try {
    if (await store.replace(key, seal, found.etag, { signal }) === "changed") return false;
  } catch (error) {
    // Perhaps it is sealed: who needs the name waits, and a later sweep deletes it.
    if (error instanceof AmbiguousWriteError) return false;
    throw error;
  }
  signal.throwIfAborted();
  await store.delete(key, { signal, isSentOnce: true });
  return true;
}

/** What is said of a name that was removed; undefined for all else. */
function removedOf(body: Uint8Array) {
  try {
    const content = parseRegistryContent(body, () => true);
    return content.value === undefined ? content : undefined;
  } catch (error) {
    // Records of deeds lie there too, which are none of the registry's.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
