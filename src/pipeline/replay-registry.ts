/**
 * What a bucket made by replay takes along beside the record: legal holds, without which the next retention would remove
 * what must stay, and subscriptions, whose places are in the record and therefore the same there.
 *
 * Invariant: objects are copied as they are, or the copy fails: nothing that holds is left behind unseen.
 */
import { openHolds } from "../storage/hold.ts";
import { REGISTRY_PREFIX } from "../storage/layout.ts";
import {
  AmbiguousWriteError,
  type ObjectStore,
  type RequestOptions,
  type StoredObject,
} from "../storage/object-store.ts";

export interface RegistryCopyOptions {
  readonly source: ObjectStore;
  readonly target: ObjectStore;
  readonly signal?: AbortSignal | undefined;
}

/** What was copied, by key. */
export type CopiedRegistry = ReadonlyMap<string, StoredObject>;

const KINDS = ["holds", "subscriptions"] as const;

/**
 * Copies holds and subscriptions; what was copied `before` is written over where the source has changed since. Throws
 * when a hold cannot be read, and when something else stands in the target.
 */
export async function copyRegistry(
  { source, target, signal }: RegistryCopyOptions,
  before: CopiedRegistry = new Map(),
): Promise<CopiedRegistry> {
  const request = signal === undefined ? {} : { signal };
  // What a hold that cannot be read speaks of is unknown; here it is said, and not by the first retention.
  await openHolds(source).list(request);
  const copied = new Map<string, StoredObject>();
  for (const kind of KINDS) {
    for await (const { key } of source.list(`${REGISTRY_PREFIX}${kind}/`, request)) {
      const found = await source.get(key, request);
      if (found === undefined) continue;
      const { body } = found;
      await putCopy(target, { key, body, before: before.get(key)?.body }, request);
      copied.set(key, found);
    }
  }
  return copied;
}

async function putCopy(
  target: ObjectStore,
  { key, body, before }: {
    readonly key: string;
    readonly body: Uint8Array;
    readonly before: Uint8Array | undefined;
  },
  request: RequestOptions,
): Promise<void> {
  if (before !== undefined && isSame(before, body)) return;
  const standing = await target.get(key, request);
  if (standing !== undefined && isSame(standing.body, body)) return;
  const isOurs = standing === undefined || (before !== undefined && isSame(standing.body, before));
  if (!isOurs) throw conflict(target, key);
  try {
    const isWritten = standing === undefined
      ? await target.putIfAbsent(key, body, request) === "created"
      : await target.replace(key, body, standing.etag, request) === "replaced";
    if (isWritten) return;
  } catch (error) {
    if (!(error instanceof AmbiguousWriteError)) throw error;
  }
  // An attempt whose answer was lost may have been refused by itself: what stands there decides.
  const found = await target.get(key, request);
  if (found === undefined || !isSame(found.body, body)) throw conflict(target, key);
}

function conflict(target: ObjectStore, key: string): Error {
  return new Error(`Cannot replay into ${target.url}: something else stands at "${key}"`);
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
