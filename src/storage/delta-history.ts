/**
 * What each version of the table did, from the log entries themselves, for people. Entries are never deleted, so it
 * reaches back to the first.
 */
import { COMMIT_DETAIL } from "./delta-actions.ts";
import { isRecord } from "./json-text.ts";
import { deltaLogKey } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";

export interface VersionSummary {
  readonly version: number;
  /** By the clock of who wrote it; undefined when it does not say. */
  readonly timeMs: number | undefined;
  /** `STREAMING UPDATE` of a roll-up, `OPTIMIZE`, `DELETE`, `CREATE TABLE`, or another engine's. */
  readonly operation: string;
  /** Of a roll-up. */
  readonly shard: string | undefined;
  readonly filesAdded: number;
  readonly filesRemoved: number;
  /** Rows of the files added. */
  readonly rowsAdded: number;
  readonly bytesAdded: number;
  /** Whether columns were added with it. */
  readonly changesSchema: boolean;
}

/** Versions read at the same time. */
const READS_AT_ONCE = 16;

/** The last versions up to one, newest first. Throws what the store throws, and for an entry that is missing. */
export async function readHistory(
  store: ObjectStore,
  { upTo, count, signal }: {
    readonly upTo: number;
    readonly count: number;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<VersionSummary[]> {
  const request = signal === undefined ? {} : { signal };
  const summaries: VersionSummary[] = [];
  const first = Math.max(0, upTo - count + 1);
  for (let from = upTo; from >= first; from -= READS_AT_ONCE) {
    const length = Math.min(READS_AT_ONCE, from - first + 1);
    const versions = Array.from({ length }, (_, place) => from - place);
    summaries.push(
      ...await Promise.all(versions.map(async (version) => {
        const found = await store.get(deltaLogKey(version), request);
        if (found === undefined) {
          throw new Error(`Cannot read version ${version} of the table in ${store.url}: missing`);
        }
        return summarize(version, new TextDecoder().decode(found.body));
      })),
    );
  }
  return summaries;
}

function summarize(version: number, text: string): VersionSummary {
  const sum = { filesAdded: 0, filesRemoved: 0, rowsAdded: 0, bytesAdded: 0 };
  let info: Readonly<Record<string, unknown>> = {};
  let changesSchema = false;
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const action: unknown = JSON.parse(line);
    if (!isRecord(action)) continue;
    if (isRecord(action.commitInfo)) info = action.commitInfo;
    if (isRecord(action.metaData)) changesSchema = version > 0;
    if (isRecord(action.remove)) sum.filesRemoved += 1;
    if (!isRecord(action.add)) continue;
    sum.filesAdded += 1;
    sum.bytesAdded += typeof action.add.size === "number" ? action.add.size : 0;
    sum.rowsAdded += rowsOf(action.add.stats);
  }
  const detail = info[COMMIT_DETAIL];
  const shard = isRecord(detail) ? detail.shard : undefined;
  return {
    version,
    timeMs: typeof info.timestamp === "number" ? info.timestamp : undefined,
    operation: typeof info.operation === "string" ? info.operation : "",
    shard: typeof shard === "string" ? shard : undefined,
    ...sum,
    changesSchema,
  };
}

function rowsOf(stats: unknown): number {
  const value: unknown = typeof stats === "string" ? JSON.parse(stats) : undefined;
  return isRecord(value) && typeof value.numRecords === "number" ? value.numRecords : 0;
}
