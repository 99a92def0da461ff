/**
 * The bucket's layout: every key is made here. `table/` stands beside its siblings, so that a foreign VACUUM of the
 * table touches nothing else.
 */

export const TABLE_PREFIX = "table/";
export const DELTA_LOG_PREFIX = "table/_delta_log/";

/** Versions and sequences in keys are padded so that key order is number order. */
export function deltaLogKey(version: number): string {
  return `${DELTA_LOG_PREFIX}${String(version).padStart(20, "0")}.json`;
}

export function versionOfDeltaLogKey(key: string): number | undefined {
  const match = /^table\/_delta_log\/([0-9]{20})\.json$/.exec(key);
  return match === null ? undefined : Number(match[1]);
}

/** The sum of all versions up to one; never written over what stands there by us. */
export function checkpointKey(version: number): string {
  return `${DELTA_LOG_PREFIX}${String(version).padStart(20, "0")}.checkpoint.parquet`;
}

/** Names the newest checkpoint. */
export const LAST_CHECKPOINT_KEY = `${DELTA_LOG_PREFIX}_last_checkpoint`;

export interface SequenceRange {
  readonly incarnation: string;
  readonly first: number;
  readonly last: number;
}

/** Path of a data file inside `table/`, as the Delta log names it. */
export function dataFilePath(range: SequenceRange, date: string, sha256: string): string {
  return `event_date=${date}/${rangeName(range)}-${sha256.slice(0, 12)}.parquet`;
}

export function dataFileKey(path: string): string {
  return `${TABLE_PREFIX}${path}`;
}

export function evidenceKey(range: SequenceRange, sha256: string): string {
  const { incarnation, first, last } = range;
  return `evidence/${incarnation}/${first}-${last}-${sha256.slice(0, 12)}.segment`;
}

/** Keys of the trial objects by which a store is tested when it is opened. */
export function probeKey(id: string): string {
  return `probe/${id}`;
}

export function stateKey(shard: string, sha256: string): string {
  return `state/${shard}/${sha256}`;
}

/** A payload that could not be read or trusted; beside it lies `.json` with headers and reason. */
export function quarantineKey(incarnation: string, sequence: number): string {
  return `quarantine/${incarnation}/${sequence}`;
}

export function registryKey(kind: string, name: string): string {
  return `registry/${kind}/${name}`;
}

function rangeName({ incarnation, first, last }: SequenceRange): string {
  return `${incarnation}-${first}-${last}`;
}
