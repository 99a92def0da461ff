/**
 * Reading the Delta log: from a known state to the newest version.
 *
 * Invariant: a state is only ever the sum of all versions up to its own; a hole in the log is an error, never the end.
 * A log of a million versions is not listed to see whether one more has come: the next version is asked for by name.
 */
import { type Action, LOG_ENTRY_BYTES_MAX, parseLogEntry } from "./delta-actions.ts";
import { createReplay, type LogState } from "./delta-replay.ts";
import { DELTA_LOG_PREFIX, deltaLogKey, versionOfDeltaLogKey } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";

/** At most so many log entries are asked for together. */
export const LOG_READ_AHEAD = 32;

/** Reads what the log gained since `state`; returns the same state when that is nothing. */
export async function readLog(
  store: ObjectStore,
  state: LogState,
  signal?: AbortSignal,
): Promise<LogState> {
  if (state.version >= 0) return await readForward(store, state, signal);
  let read = state;
  for (;;) {
    read = await readForward(store, read, signal);
    const next = await firstVersionAfter(store, read.version, signal);
    if (next === undefined) return read;
    if (next === read.version + 1) continue;
    throw new Error(
      `Cannot read table in ${store.url}: version ${read.version + 1} is missing, ${next} is there`,
    );
  }
}

/** The actions of one version; undefined when it is not there. */
export async function readVersion(
  store: ObjectStore,
  version: number,
  signal?: AbortSignal,
): Promise<readonly Action[] | undefined> {
  const text = await readEntry(store, version, signal);
  if (text === undefined) return undefined;
  try {
    return parseLogEntry(text);
  } catch (cause) {
    throw unreadable(store, version, cause);
  }
}

/** Asks for one version, then for twice as many as long as all are there. */
async function readForward(
  store: ObjectStore,
  state: LogState,
  signal: AbortSignal | undefined,
): Promise<LogState> {
  const replay = createReplay(state);
  let next = state.version + 1;
  for (let count = 1;; count = Math.min(count * 2, LOG_READ_AHEAD)) {
    const versions = Array.from({ length: count }, (_, place) => next + place);
    const texts = await Promise.all(versions.map((version) => readEntry(store, version, signal)));
    for (const text of texts) {
      if (text === undefined) return next === state.version + 1 ? state : replay.state();
      applyEntry(store, { replay, version: next, text });
      next += 1;
    }
  }
}

async function readEntry(
  store: ObjectStore,
  version: number,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const found = await store.get(deltaLogKey(version), signal === undefined ? {} : { signal });
  if (found === undefined) return undefined;
  try {
    if (found.body.length > LOG_ENTRY_BYTES_MAX) {
      throw new RangeError(`it is larger than ${LOG_ENTRY_BYTES_MAX} bytes`);
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(found.body);
  } catch (cause) {
    throw unreadable(store, version, cause);
  }
}

function applyEntry(
  store: ObjectStore,
  entry: {
    readonly replay: ReturnType<typeof createReplay>;
    readonly version: number;
    readonly text: string;
  },
): void {
  const { replay, version, text } = entry;
  try {
    replay.apply(version, parseLogEntry(text));
  } catch (cause) {
    throw unreadable(store, version, cause);
  }
}

/** The first version that stands in the log after another, whatever is missing between them. */
async function firstVersionAfter(
  store: ObjectStore,
  version: number,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const startAfter = version < 0 ? DELTA_LOG_PREFIX : deltaLogKey(version);
  const options = signal === undefined ? { startAfter } : { startAfter, signal };
  for await (const { key } of store.list(DELTA_LOG_PREFIX, options)) {
    const found = versionOfDeltaLogKey(key);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unreadable(store: ObjectStore, version: number, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(`Cannot read version ${version} of the table in ${store.url}: ${reason}`, {
    cause,
  });
}
