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

/** Counts and sizes of one version, by which its checkpoint is checked. */
export function checksumKey(version: number): string {
  return `${DELTA_LOG_PREFIX}${String(version).padStart(20, "0")}.crc`;
}

export function versionOfCheckpointKey(key: string): number | undefined {
  const match = /^table\/_delta_log\/([0-9]{20})\.checkpoint\.parquet$/.exec(key);
  return match === null ? undefined : Number(match[1]);
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

/** Another name for the same file, from place 1 on; that of place 0 is its own. */
export function otherFilePath(path: string, place: number): string {
  return place === 0 ? path : path.replace(/\.parquet$/, `-${place}.parquet`);
}

/** Path of a data file that holds the rows of others; an id is never used twice. */
export function compactedFilePath(date: string, id: string): string {
  return `event_date=${date}/${COMPACTED}${id}.parquet`;
}

/** Whether a file was written from the rows of others, and is sorted. */
export function isCompactedPath(path: string): boolean {
  return path.startsWith(COMPACTED, path.indexOf("/") + 1);
}

const COMPACTED = "compact-";

/** Path and day of what may be a data file of ours, whether the table knows it or not. */
export function dataFileOfKey(
  key: string,
): { readonly path: string; readonly date: string } | undefined {
  const match = /^table\/(event_date=([0-9]{4}-[0-9]{2}-[0-9]{2})\/[^/]+\.parquet)$/.exec(key);
  const [, path, date] = match ?? [];
  return path === undefined || date === undefined ? undefined : { path, date };
}

export function dataFileKey(path: string): string {
  return `${TABLE_PREFIX}${path}`;
}

export function evidenceKey(range: SequenceRange, sha256: string): string {
  const { incarnation, first, last } = range;
  return `${EVIDENCE_PREFIX}${incarnation}/${first}-${last}-${sha256.slice(0, 12)}.segment`;
}

export const EVIDENCE_PREFIX = "evidence/";

/** What a segment's key says of it; undefined when it is no such key. */
export function parseEvidenceKey(
  key: string,
): { readonly range: SequenceRange; readonly sha256Start: string } | undefined {
  const match = /^evidence\/([0-9a-f]{8})\/([0-9]{1,16})-([0-9]{1,16})-([0-9a-f]{12})\.segment$/
    .exec(key);
  const [, incarnation, first, last, sha256Start] = match ?? [];
  if (incarnation === undefined || sha256Start === undefined) return undefined;
  return { range: { incarnation, first: Number(first), last: Number(last) }, sha256Start };
}

/** Keys of the trial objects by which a store is tested when it is opened. */
export function probeKey(id: string): string {
  return `${PROBE_PREFIX}${id}`;
}

export const PROBE_PREFIX = "probe/";

/** A state may have several names; the first is that of place 0. */
export function stateKey(shard: string, sha256: string, place = 0): string {
  const folder = place === 0 ? "" : `${place.toString(16).padStart(8, "0")}/`;
  return `${STATE_PREFIX}${shard}/${folder}${sha256}`;
}

export const STATE_PREFIX = "state/";

/** The shard that a key of a state names. */
export function shardOfStateKey(key: string): string | undefined {
  return /^state\/([a-z0-9]{1,16})\/(?:[0-9a-f]{8}\/)?[0-9a-f]{64}$/.exec(key)?.[1];
}

/** Digest of the state that stands under a key, whichever of its names that is. */
export function sha256OfStateKey(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

/** A payload that could not be read or trusted; beside it lies `.json` with headers and reason. */
export function quarantineKey(incarnation: string, sequence: number): string {
  return `quarantine/${incarnation}/${sequence}`;
}

export const REGISTRY_PREFIX = "registry/";

export function registryKey(kind: string, name: string): string {
  return `${REGISTRY_PREFIX}${kind}/${name}`;
}

function rangeName({ incarnation, first, last }: SequenceRange): string {
  return `${incarnation}-${first}-${last}`;
}

/**
 * Whether what stands under a key is never written over and never vacuumed: evidence, quarantine, and the entries of
 * the Delta log. Data files are not among them: compaction replaces them, and `rollup replay` makes them again from the
 * evidence.
 */
export function isKeptForGood(key: string): boolean {
  return /^(evidence|quarantine)\//.test(key) || versionOfDeltaLogKey(key) !== undefined;
}
