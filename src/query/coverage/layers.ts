/**
 * Ranges that may hide each other, seen from above. Pure.
 *
 * Invariants: what is seen has no seam from begin to end; the work grows with the number of layers, not with how many of
 * them overlap, since whoever tells of gaps chooses how they lie.
 */
import type { SourceRange } from "./source-coverage.ts";

/** A range that may hide what lies below it. */
export interface Layer extends SourceRange {
  readonly rank: number;
}

export interface Span {
  readonly fromUs: number;
  readonly toUs: number;
}

/** The uppermost layer at each moment, of one rank that which began last; none is unknown. */
export function flatten(layers: readonly Layer[], { fromUs, toUs }: Span): readonly SourceRange[] {
  const inside = layers.filter((each) => each.fromUs < toUs && each.toUs > fromUs);
  const moments = momentsOf(inside, { fromUs, toUs });
  const starts = inside.toSorted((a, b) => a.fromUs - b.fromUs);
  const ranks = [...new Set(inside.map(({ rank }) => rank))].toSorted((a, b) => b - a);
  const ofRank = new Map(ranks.map((rank): [number, Layer[]] => [rank, []]));
  const open = [...ofRank.values()];
  const ranges: SourceRange[] = [];
  let next = 0;
  let shown: Layer | undefined;
  for (const [at, moment] of moments.entries()) {
    for (
      let each = starts[next];
      each !== undefined && each.fromUs <= moment;
      each = starts[next]
    ) {
      ofRank.get(each.rank)?.push(each);
      next += 1;
    }
    const top = topOf(open, moment);
    const endUs = moments[at + 1] ?? toUs;
    const before = ranges.at(-1);
    if (before !== undefined && isSame(shown, top)) {
      ranges[ranges.length - 1] = { ...before, toUs: endUs };
    } else if (endUs > moment) ranges.push({ ...shownRange(top), fromUs: moment, toUs: endUs });
    shown = top;
  }
  return ranges;
}

/** Each moment once at which a layer begins or ends, by time; the first is that of the span. */
function momentsOf(layers: readonly Layer[], { fromUs, toUs }: Span): Float64Array {
  // Numbers sort far faster in their own array than as values of a set.
  const edges = new Float64Array(layers.length * 2 + 1).fill(fromUs);
  for (const [at, layer] of layers.entries()) {
    if (layer.fromUs > fromUs) edges[at * 2] = layer.fromUs;
    if (layer.toUs < toUs) edges[at * 2 + 1] = layer.toUs;
  }
  return edges.sort().filter((each, at) => each !== edges[at - 1]);
}

/** By rank, the gravest first. What has ended goes when it lies on top: each layer once. */
function topOf(
  open: readonly Layer[][],
  moment: number,
): Layer | undefined {
  for (const layers of open) {
    for (let last = layers.at(-1); last !== undefined; last = layers.at(-1)) {
      if (last.toUs > moment) return last;
      layers.pop();
    }
  }
  return undefined;
}

/** Spans that overlap or touch as one, by time. */
export function joinSpans(spans: readonly Span[]): readonly Span[] {
  const joined: Span[] = [];
  for (const { fromUs, toUs } of spans.toSorted((a, b) => a.fromUs - b.fromUs)) {
    const last = joined.at(-1);
    if (last === undefined || fromUs > last.toUs) joined.push({ fromUs, toUs });
    else joined[joined.length - 1] = { ...last, toUs: Math.max(last.toUs, toUs) };
  }
  return joined;
}

/** Index of the first element for which it holds; it holds for all after that. */
export function firstOf<T>(values: readonly T[], holds: (value: T) => boolean): number {
  let [from, to] = [0, values.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    const value = values[middle];
    if (value !== undefined && holds(value)) to = middle;
    else from = middle + 1;
  }
  return from;
}

/** Whether two layers look the same; of two gaps the counts are kept apart. */
function isSame(before: Layer | undefined, now: Layer | undefined): boolean {
  if (before === now) return true;
  return before?.state === now?.state && before?.cause === now?.cause &&
    before?.reason === now?.reason && before?.count === undefined && now?.count === undefined;
}

function shownRange(layer: Layer | undefined): Omit<SourceRange, "fromUs" | "toUs"> {
  const { state = "unknown", cause, reason, count } = layer ?? {};
  return { state, cause, reason, count };
}
