/**
 * Vacuum: objects that nothing refers to leave the bucket: data files that left the table or never came into it, states
 * that are no shard's any more, checkpoints before the newest, trial objects. So do names removed from the registry.
 *
 * Invariant: an object goes only when it has been unneeded for the whole grace, so that whoever read an older version
 * can finish, and only when no hold may speak of it. Roll-ups take up an object that stands there already only while it
 * is younger than half of the least grace, so nothing is vacuumed that is about to be committed. Log entries, evidence,
 * quarantine, what stands in the registry, and whatever has a name that is not ours stay.
 */
import { REUSE_AGE_MAX_MS } from "../../storage/content-object.ts";
import { pointedVersion, REMOVED_KEPT_MS } from "../../storage/delta-checkpoint-write.ts";
import { type Hold, isDayHeld } from "../../storage/hold.ts";
import {
  dataFileOfKey,
  DELTA_LOG_PREFIX,
  LAST_CHECKPOINT_KEY,
  PROBE_PREFIX,
  shardOfStateKey,
  STATE_PREFIX,
  TABLE_PREFIX,
  versionOfCheckpointKey,
} from "../../storage/layout.ts";
import type { ObjectEntry } from "../../storage/object-store.ts";
import { sweepRegistry } from "../../storage/registry-sweep.ts";
import { type MaintenanceContext, nowMsOf, readHolds } from "./context.ts";
import { requireStoreClock } from "./store-clock.ts";

/** How long an object must have been unneeded. */
export const DEFAULT_GRACE_MS = 7 * 24 * 3_600_000;
/** The least grace: roll-ups count on it. */
export const GRACE_MS_MIN = 2 * REUSE_AGE_MAX_MS;
/** The longest: what left the table is remembered for a day more. */
export const GRACE_MS_MAX = REMOVED_KEPT_MS - 86_400_000;
/** Objects between two looks at the table and the holds. */
const DELETED_PER_LOOK = 100;
const DELETES_AT_ONCE = 8;

export type GarbageKind = "data" | "state" | "checkpoint" | "probe";

export interface Garbage {
  readonly kind: GarbageKind;
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
}

export interface VacuumOptions {
  /** 7 days by default, at least {@link GRACE_MS_MIN}. */
  readonly graceMs?: number;
  /** Called before anything is deleted. */
  readonly onStart?: (garbage: readonly Garbage[]) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

export interface VacuumSummary {
  readonly objects: number;
  readonly bytes: number;
  /** Found, but needed, held or written again by the time they should have gone. */
  readonly spared: number;
  /** Removed names that left the registry. */
  readonly names: number;
}

/** What a vacuum would delete now. Throws RangeError for too short a grace. */
export async function findGarbage(
  context: MaintenanceContext,
  { graceMs = DEFAULT_GRACE_MS, signal }: VacuumOptions = {},
): Promise<readonly Garbage[]> {
  const leastMs = 2 * context.reuseAgeMaxMs;
  if (!(graceMs >= leastMs && graceMs <= GRACE_MS_MAX)) {
    const accepted = `${leastMs} to ${GRACE_MS_MAX} ms`;
    throw new RangeError(`Cannot vacuum with a grace of ${graceMs} ms: accepted: ${accepted}`);
  }
  const request = signal === undefined ? {} : { signal };
  const beforeMs = nowMsOf(context) - graceMs;
  const old: ObjectEntry[] = [];
  /** Of states and checkpoints that are old, the last of each shard: what followed it is younger. */
  const last = new Map<string, ObjectEntry>();
  for (const prefix of [TABLE_PREFIX, STATE_PREFIX, PROBE_PREFIX]) {
    for await (const entry of context.store.list(prefix, request)) {
      if (entry.modifiedAtMs >= beforeMs) continue;
      old.push(entry);
      const line = lineOf(entry.key);
      const before = line === undefined ? undefined : last.get(line);
      if (line === undefined || (before?.modifiedAtMs ?? -Infinity) > entry.modifiedAtMs) continue;
      last.set(line, entry);
    }
  }
  // The table is read after the bucket: what was committed meanwhile is needed.
  const needs = await readNeeds(context, signal);
  const lately = new Set([...last.values()].map(({ key }) => key));
  return old.flatMap((entry) => {
    const kind = kindOf(entry.key);
    return kind === undefined || lately.has(entry.key) || isNeeded(entry.key, needs, beforeMs)
      ? []
      : [{ ...entry, kind }];
  });
}

/** Deletes what nothing refers to. Throws what the store throws; what is deleted stays so. The registry may wait. */
export async function vacuumBucket(
  context: MaintenanceContext,
  options: VacuumOptions = {},
): Promise<VacuumSummary> {
  const { graceMs = DEFAULT_GRACE_MS, signal, onStart } = options;
  const garbage = await findGarbage(context, options);
  if (garbage.length > 0) {
    await requireStoreClock(context, signal);
    await onStart?.(garbage);
  }
  const sum = { objects: 0, bytes: 0, spared: 0 };
  for (let from = 0; from < garbage.length; from += DELETED_PER_LOOK) {
    const needs = await readNeeds(context, signal);
    const beforeMs = nowMsOf(context) - graceMs;
    const chunk = garbage.slice(from, from + DELETED_PER_LOOK);
    const unneeded = chunk.filter(({ key }) => !isNeeded(key, needs, beforeMs));
    sum.spared += chunk.length - unneeded.length;
    for (let at = 0; at < unneeded.length; at += DELETES_AT_ONCE) {
      await Promise.all(
        unneeded.slice(at, at + DELETES_AT_ONCE).map(async (each) => {
          if (!await deleteUnchanged(context, each, signal)) {
            sum.spared += 1;
            return;
          }
          sum.objects += 1;
          sum.bytes += each.sizeBytes;
        }),
      );
    }
  }
  return { ...sum, names: await sweepNames(context, signal) };
}

/** Names are small: that they stay is no failure of the vacuum. */
async function sweepNames(
  { store, log }: MaintenanceContext,
  signal: AbortSignal | undefined,
): Promise<number> {
  try {
    return await sweepRegistry({ store, log, signal });
  } catch (error) {
    signal?.throwIfAborted();
    log.warn("removed names stay in the registry", { error: String(error) });
    return 0;
  }
}

interface Needs {
  readonly files: ReadonlyMap<string, unknown>;
  /** When each file that left the table did, by path. */
  readonly removedAtMs: ReadonlyMap<string, { readonly removedAtMs: number }>;
  readonly states: ReadonlySet<string>;
  readonly checkpoint: number;
  readonly holds: readonly Hold[];
}

async function readNeeds(
  context: MaintenanceContext,
  signal: AbortSignal | undefined,
): Promise<Needs> {
  const { table, store } = context;
  const request = signal === undefined ? {} : { signal };
  const { files, shards } = await table.refresh(signal);
  const pointer = await store.get(LAST_CHECKPOINT_KEY, request);
  return {
    files,
    removedAtMs: table.removed(),
    states: new Set([...shards.values()].map(({ state }) => state)),
    checkpoint: pointer === undefined ? -1 : pointedVersion(pointer.body) ?? -1,
    holds: await readHolds(context, signal),
  };
}

function kindOf(key: string): GarbageKind | undefined {
  if (dataFileOfKey(key) !== undefined) return "data";
  if (shardOfStateKey(key) !== undefined) return "state";
  if (key.startsWith(DELTA_LOG_PREFIX)) {
    return versionOfCheckpointKey(key) === undefined ? undefined : "checkpoint";
  }
  return key.startsWith(PROBE_PREFIX) ? "probe" : undefined;
}

/** Objects of which each takes the place of the one before: the states of a shard, the checkpoints. */
function lineOf(key: string): string | undefined {
  const shard = shardOfStateKey(key);
  if (shard !== undefined) return `state of ${shard}`;
  return versionOfCheckpointKey(key) === undefined ? undefined : "checkpoint";
}

function isNeeded(key: string, needs: Needs, beforeMs: number): boolean {
  const data = dataFileOfKey(key);
  if (data !== undefined) {
    const removed = needs.removedAtMs.get(data.path);
    return needs.files.has(data.path) ||
      (removed !== undefined && removed.removedAtMs >= beforeMs) ||
      isDayHeld(data.date, needs.holds);
  }
  if (shardOfStateKey(key) !== undefined) return needs.states.has(key);
  const checkpoint = versionOfCheckpointKey(key);
  return checkpoint !== undefined && checkpoint >= needs.checkpoint;
}

/** Deletes the object that was listed; false when another stands there by now, or none. */
async function deleteUnchanged(
  { store }: MaintenanceContext,
  { key, modifiedAtMs }: Garbage,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const request = signal === undefined ? {} : { signal };
  const found = await store.head(key, request);
  // Stores answer with whole seconds here and milliseconds there.
  if (found === undefined || found.modifiedAtMs >= modifiedAtMs + 1_000) return false;
  await store.delete(key, request);
  return true;
}
