/** What time it is by the clock that dates a store's objects: told by one that is written for it and removed. */
import { randomUUID } from "node:crypto";
import { probeKey } from "./layout.ts";
import type { ObjectStore, RequestOptions } from "./object-store.ts";

/** In ms since the Unix epoch; undefined when the store does not say. Throws what the store throws. */
export async function readStoreTimeMs(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<number | undefined> {
  const key = probeKey(randomUUID());
  await store.put(key, new TextEncoder().encode("now\n"), options);
  const written = await store.head(key, options);
  await store.delete(key, options);
  return written?.modifiedAtMs;
}
