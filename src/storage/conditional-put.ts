/**
 * The proof, made when a store is opened for writing, that it keeps its conditions. Everything that the table promises
 * rests on them; a store or a proxy that ignores them would let two writers commit the same version.
 */
import { randomUUID } from "node:crypto";
import { probeKey } from "./layout.ts";
import type { ObjectStore, RequestOptions } from "./object-store.ts";

const FIRST = new TextEncoder().encode("first\n");
const SECOND = new TextEncoder().encode("second\n");

/** Throws unless the store refuses what it must refuse, or when it cannot be asked. */
export async function verifyConditions(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<void> {
  const key = probeKey(randomUUID());
  const name = JSON.stringify(store.url);
  let fault: string | undefined;
  try {
    fault = await findFault(store, key, options);
    await store.delete(key, options);
  } catch (cause) {
    options.signal?.throwIfAborted();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot use store ${name}: a conditional put failed: ${reason}`, { cause });
  }
  if (fault !== undefined) throw new Error(`Cannot use store ${name}: ${fault}`);
}

/** Puts a random key twice, then replaces it with an etag out of date: each second write must be refused. */
async function findFault(
  store: ObjectStore,
  key: string,
  options: RequestOptions,
): Promise<string | undefined> {
  await store.putIfAbsent(key, FIRST, options);
  const second = await store.putIfAbsent(key, SECOND, options);
  const found = await store.get(key, options);
  if (second !== "exists" || found === undefined || !isEqual(found.body, FIRST)) {
    return "it does not refuse a conditional put";
  }
  const replaced = await store.replace(key, SECOND, found.etag, options);
  const repeated = await store.replace(key, FIRST, found.etag, options);
  return replaced === "replaced" && repeated === "changed"
    ? undefined
    : "it does not refuse to replace content that has changed";
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
