/**
 * Which evidence segments make up each shard's record, and in which order. Pure.
 *
 * Where there is a log, the segments that commits name, in the order of the commits. Where there is none, all of them:
 * incarnations by the time of their first message, in each the segments by place; what several hold is taken once.
 */
import type { CommittedEvidence, EvidenceSegment } from "../storage/evidence-list.ts";

export interface ShardPlan {
  readonly shard: string;
  readonly segments: readonly EvidenceSegment[];
}

/** How an incarnation's first segment begins. */
export interface IncarnationStart {
  readonly shard: string;
  /** When the broker stored the first message, µs since the Unix epoch. */
  readonly storedAtUs: number;
}

export function planOfCommits(commits: readonly CommittedEvidence[]): readonly ShardPlan[] {
  const shards = new Map<string, EvidenceSegment[]>();
  for (const { shard, segments } of commits) {
    const known = shards.get(shard) ?? [];
    for (const segment of segments) known.push(segment);
    shards.set(shard, known);
  }
  return plansOf(shards);
}

/** `starts` by incarnation; throws RangeError when one is missing. */
export function planOfSegments(
  segments: readonly EvidenceSegment[],
  starts: ReadonlyMap<string, IncarnationStart>,
): readonly ShardPlan[] {
  const startOf = (incarnation: string): IncarnationStart => {
    const start = starts.get(incarnation);
    if (start === undefined) throw new RangeError(`Cannot place incarnation "${incarnation}"`);
    return start;
  };
  const shards = new Map<string, EvidenceSegment[]>();
  const inOrder = segments.toSorted(({ range: a }, { range: b }) =>
    startOf(a.incarnation).storedAtUs - startOf(b.incarnation).storedAtUs ||
    compare(a.incarnation, b.incarnation) || a.first - b.first || b.last - a.last
  );
  for (const segment of inOrder) {
    const { shard } = startOf(segment.range.incarnation);
    const known = shards.get(shard);
    if (known === undefined) shards.set(shard, [segment]);
    else known.push(segment);
  }
  return plansOf(shards);
}

/** The first segment of each incarnation: the one whose beginning says when it began. */
export function firstSegments(segments: readonly EvidenceSegment[]): readonly EvidenceSegment[] {
  const first = new Map<string, EvidenceSegment>();
  for (const segment of segments) {
    const { incarnation } = segment.range;
    const known = first.get(incarnation);
    if (known === undefined || segment.range.first < known.range.first) {
      first.set(incarnation, segment);
    }
  }
  return [...first.values()];
}

function plansOf(shards: ReadonlyMap<string, readonly EvidenceSegment[]>): readonly ShardPlan[] {
  return [...shards].map(([shard, segments]) => ({ shard, segments }))
    .toSorted((a, b) => compare(a.shard, b.shard));
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
