/**
 * Which evidence segments there are, and which of them a commit names. A segment that no commit names was put by a
 * roll-up that came second or was killed; what it holds was committed from another segment, or never.
 */
import { readVersion } from "./delta-entry.ts";
import { EVIDENCE_PREFIX, parseEvidenceKey, type SequenceRange } from "./layout.ts";
import type { ObjectStore, RequestOptions } from "./object-store.ts";

export interface EvidenceSegment {
  readonly key: string;
  readonly range: SequenceRange;
}

/** The segments of one roll-up's commit. */
export interface CommittedEvidence {
  readonly shard: string;
  readonly segments: readonly EvidenceSegment[];
}

/** Log entries that are asked for together. */
const READ_AHEAD = 32;

/** All segments in the bucket, by incarnation and then in no particular order. */
export async function* listEvidence(
  store: ObjectStore,
  options: RequestOptions = {},
): AsyncIterable<EvidenceSegment> {
  for await (const { key } of store.list(EVIDENCE_PREFIX, options)) {
    const parsed = parseEvidenceKey(key);
    if (parsed !== undefined) yield { key, range: parsed.range };
  }
}

/** What the log says of where its rows came from, and of those that were taken out again. */
export interface LogEvidence {
  /** In order. */
  readonly commits: readonly CommittedEvidence[];
  /** What versions that removed rows say of themselves, undefined where they say nothing; in order. */
  readonly removals: readonly (Readonly<Record<string, unknown>> | undefined)[];
}

/** Reads every entry of the log up to a version. Throws when one is missing or names what is no segment. */
export async function readLogEvidence(
  store: ObjectStore,
  options: RequestOptions & { readonly upTo: number },
): Promise<LogEvidence> {
  const { upTo, signal } = options;
  const commits: CommittedEvidence[] = [];
  const removals: LogEvidence["removals"][number][] = [];
  for (let from = 0; from <= upTo; from += READ_AHEAD) {
    const count = Math.min(READ_AHEAD, upTo - from + 1);
    const versions = Array.from({ length: count }, (_, at) => from + at);
    const entries = await Promise.all(versions.map((each) => readVersion(store, each, signal)));
    for (const [at, actions] of entries.entries()) {
      const version = from + at;
      if (actions === undefined) {
        throw new Error(`Cannot read the log in ${store.url}: version ${version} is missing`);
      }
      const info = actions.find((action) => action.kind === "commit")?.info;
      if (actions.some((action) => action.kind === "remove" && action.removed.isDataChange)) {
        removals.push(info?.maintenance);
      }
      if (info?.position === undefined) continue;
      const { shard } = info.position;
      commits.push({ shard, segments: info.evidence.map((key) => segmentOf(key, version)) });
    }
  }
  return { commits, removals };
}

function segmentOf(key: string, version: number): EvidenceSegment {
  const parsed = parseEvidenceKey(key);
  if (parsed !== undefined) return { key, range: parsed.range };
  throw new Error(`Cannot read version ${version}: ${JSON.stringify(key)} is no segment's key`);
}
