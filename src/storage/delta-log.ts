/**
 * Reading the Delta log: from a known state to the newest version.
 *
 * Invariant: a state is only ever the sum of all versions up to its own; a hole in the log is an error, never the end.
 * A log of a million versions is not listed to see whether one more has come: the next version is asked for by name.
 */
import type { Log } from "../runtime/log.ts";
import { readCheckpoint } from "./delta-checkpoint.ts";
import { readVersion, unreadableVersion } from "./delta-entry.ts";
import { createReplay, EMPTY_LOG, type LogState, type Replay } from "./delta-replay.ts";
import { DELTA_LOG_PREFIX, deltaLogKey, versionOfDeltaLogKey } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";

/** At most so many log entries are asked for together. */
export const LOG_READ_AHEAD = 32;

export interface ReadLogOptions {
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
}

/** Reads what the log gained since `state`; returns the same state when that is nothing. */
export async function readLog(
  store: ObjectStore,
  state: LogState,
  options: ReadLogOptions,
): Promise<LogState> {
  const { signal } = options;
  if (state.version >= 0) return await readForward(store, state, signal);
  let read = await readCheckpoint(store, options) ?? EMPTY_LOG;
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

/** Asks for one version, then for twice as many as long as all are there. */
async function readForward(
  store: ObjectStore,
  state: LogState,
  signal: AbortSignal | undefined,
): Promise<LogState> {
  let replay: Replay | undefined;
  let next = state.version + 1;
  for (let count = 1;; count = Math.min(count * 2, LOG_READ_AHEAD)) {
    const versions = Array.from({ length: count }, (_, place) => next + place);
    const read = await Promise.all(versions.map((each) => readVersion(store, each, signal)));
    for (const actions of read) {
      if (actions === undefined) return replay?.state() ?? state;
      // Made only now: it copies the state.
      replay ??= createReplay(state);
      try {
        replay.apply(next, actions);
      } catch (cause) {
        throw unreadableVersion(store, next, cause);
      }
      next += 1;
    }
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
