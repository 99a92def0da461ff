/** One log entry of the table in the bucket: fetched, decoded and parsed, or refused with the table's name and version. */
import { type Action, LOG_ENTRY_BYTES_MAX, parseLogEntry } from "./delta-actions.ts";
import { deltaLogKey } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";

/** The actions of one version; undefined when it is not there. */
export async function readVersion(
  store: ObjectStore,
  version: number,
  signal?: AbortSignal,
): Promise<readonly Action[] | undefined> {
  const found = await store.get(deltaLogKey(version), signal === undefined ? {} : { signal });
  if (found === undefined) return undefined;
  try {
    if (found.body.length > LOG_ENTRY_BYTES_MAX) {
      throw new RangeError(`it is larger than ${LOG_ENTRY_BYTES_MAX} bytes`);
    }
    return parseLogEntry(new TextDecoder("utf-8", { fatal: true }).decode(found.body));
  } catch (cause) {
    throw unreadableVersion(store, version, cause);
  }
}

/** The error for a version that cannot be understood or does not fit what came before it. */
export function unreadableVersion(store: ObjectStore, version: number, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(`Cannot read version ${version} of the table in ${store.url}: ${reason}`, {
    cause,
  });
}
