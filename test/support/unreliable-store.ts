/**
 * A store over another whose conditional puts go wrong on demand: the answer is lost before or after the write, the
 * write fails for sure, or somebody else is faster.
 */
import {
  AmbiguousWriteError,
  type ObjectStore,
  type RequestOptions,
} from "../../src/storage/object-store.ts";

export type PutFault = "lost before" | "lost after" | "failed";

export interface UnreliableStore extends ObjectStore {
  /** Faults of the next conditional puts, in order; none once they are used up. */
  readonly faults: (PutFault | undefined)[];
  /** Runs before each conditional put. */
  beforePut: (key: string) => Promise<void>;
}

export function unreliable(store: ObjectStore): UnreliableStore {
  const faults: (PutFault | undefined)[] = [];
  const lost = (key: string) =>
    new AmbiguousWriteError(key, `Cannot tell whether "${key}" was written: as asked`, {});
  const putIfAbsent = async (key: string, body: Uint8Array, options?: RequestOptions) => {
    await wrapped.beforePut(key);
    const fault = faults.shift();
    if (fault === "failed") throw new Error(`Cannot write "${key}": as asked`);
    if (fault === "lost before") throw lost(key);
    const outcome = await store.putIfAbsent(key, body, options);
    if (fault === "lost after") throw lost(key);
    return outcome;
  };
  const wrapped: UnreliableStore = {
    url: store.url,
    faults,
    beforePut: () => Promise.resolve(),
    putIfAbsent,
    get: (key, options) => store.get(key, options),
    head: (key, options) => store.head(key, options),
    put: (key, body, options) => store.put(key, body, options),
    putFileIfAbsent: (key, path, options) => store.putFileIfAbsent(key, path, options),
    replace: (key, body, etag, options) => store.replace(key, body, etag, options),
    delete: (key, options) => store.delete(key, options),
    list: (prefix, options) => store.list(prefix, options),
    download: (key, path, options) => store.download(key, path, options),
    localPath: (key) => store.localPath(key),
    verifyConditionalPut: (options) => store.verifyConditionalPut(options),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
  return wrapped;
}
