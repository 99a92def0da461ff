/**
 * When each source of a host watched, and when not, or not whole, and why. Pure.
 *
 * Invariants: the ranges of a source follow each other without a seam; of several reasons at one moment the gravest is
 * told; a source is never taken for watching because nothing was heard.
 */
import type { AwayCause, Presence } from "./presence.ts";
import type { Sign, ToldGap } from "./told.ts";

/**
 * Beside those of an absence: the source is `off` or `blind` (its canary did not come back), `failed`, did not look at
 * this part (`unwatched`), nobody was there (`absent`), events were `dropped`, the chain of batches is `broken`, or a ring
 * was `tampered` with.
 */
export type Cause =
  | AwayCause
  | "off"
  | "blind"
  | "failed"
  | "unwatched"
  | "absent"
  | "dropped"
  | "broken"
  | "tampered";

export interface SourceRange {
  readonly fromUs: number;
  readonly toUs: number;
  /** `partial`: it watched, and events are missing; `unknown`: nothing was told of this time. */
  readonly state: "watched" | "partial" | "unwatched" | "unknown";
  readonly cause: Cause | undefined;
  readonly reason: string | undefined;
  /** Events that are missing; undefined when unknowable. */
  readonly count: number | undefined;
}

export interface SourceCoverage {
  readonly source: string;
  readonly ranges: readonly SourceRange[];
}

const CAUSES: Readonly<Record<string, Cause>> = {
  absent: "absent",
  outage: "failed",
  unwatched: "unwatched",
  state: "unwatched",
  blind: "blind",
  tampered: "tampered",
  fork: "broken",
  unreadable: "broken",
  epoch: "broken",
  stream: "broken",
};

/** What a class of gaps means for who reads; all others are losses that were counted, or could not be. */
export function causeOf(gapClass: string): Cause {
  return Object.hasOwn(CAUSES, gapClass) ? CAUSES[gapClass] ?? "dropped" : "dropped";
}

/** During these nothing was seen; during gaps of other causes some events were not. */
const UNSEEING: ReadonlySet<Cause> = new Set(["absent", "failed", "unwatched", "blind"]);

/** A range that may hide what lies below it. */
interface Layer extends SourceRange {
  readonly rank: number;
}

export interface SourceCoverageOptions {
  readonly fromUs: number;
  readonly toUs: number;
  /** Of one host, by time. */
  readonly signs: readonly Sign[];
  readonly presence: readonly Presence[];
  readonly gaps: readonly ToldGap[];
}

export function coverSources(options: SourceCoverageOptions): readonly SourceCoverage[] {
  const { signs, gaps, fromUs, toUs } = options;
  const agents = new Set(signs.map(({ agent }) => agent));
  const own = gaps.filter(({ agent, isOfAll }) => isOfAll || agents.has(agent));
  const names = new Set(
    signs.flatMap(({ sources = [] }) => sources.map(({ source }) => source)),
  );
  return [...names].toSorted().map((source) => {
    const concerned = own.filter(({ sources }) => sources.length === 0 || sources.includes(source));
    const layers = [
      ...stateLayers(source, signs),
      ...presenceLayers(options, concerned),
      ...concerned.map(gapLayer),
    ];
    return { source, ranges: flatten(layers, { fromUs, toUs }) };
  });
}

/** What the agent says of the source while it is there. */
function stateLayers(source: string, signs: readonly Sign[]): Layer[] {
  const told = signs.filter(({ sources }) => sources !== undefined);
  return told.map((sign, at) => {
    const found = sign.sources?.find((each) => each.source === source);
    const isOn = found?.state === "on";
    const cause = isOn ? undefined : found?.state === "blind" ? "blind" : "off";
    return {
      fromUs: sign.timeUs,
      toUs: told[at + 1]?.timeUs ?? Infinity,
      state: isOn ? "watched" : "unwatched",
      cause,
      reason: isOn ? undefined : found?.reason,
      count: undefined,
      rank: isOn ? 1 : 4,
    };
  });
}

function presenceLayers(
  { presence }: SourceCoverageOptions,
  gaps: readonly ToldGap[],
): Layer[] {
  return presence.flatMap(({ fromUs, toUs, state, cause, isSameBoot }): Layer[] => {
    const range = { fromUs, toUs, reason: undefined, count: undefined };
    if (state === "here") return [];
    if (state === "unknown") return [{ ...range, state, cause: undefined, rank: 5 }];
    // Programs of the kernel go on while the agent is away; who comes back reads what they kept, and says if they did not.
    const isBack = toUs !== Infinity && isSameBoot;
    const isMissed = gaps.some((gap) =>
      UNSEEING.has(causeOf(gap.class)) && gap.fromUs < toUs && gap.toUs > fromUs
    );
    const isKept = isBack && !isMissed;
    return [{ ...range, state: isKept ? "watched" : "unwatched", cause, rank: isKept ? 2 : 6 }];
  });
}

function gapLayer({ fromUs, toUs, class: kind, reason, count }: ToldGap): Layer {
  const cause = causeOf(kind);
  const isUnseeing = UNSEEING.has(cause);
  return {
    fromUs,
    toUs: Math.max(toUs, fromUs + 1),
    state: isUnseeing ? "unwatched" : "partial",
    ...{ cause, reason, count: count },
    rank: isUnseeing ? 4.5 : 3,
  };
}

/** The uppermost layer at each moment; none is unknown. */
function flatten(
  layers: readonly Layer[],
  { fromUs, toUs }: { readonly fromUs: number; readonly toUs: number },
): readonly SourceRange[] {
  const inside = layers.filter((each) => each.fromUs < toUs && each.toUs > fromUs);
  const edges = inside.flatMap((each) => [each.fromUs, each.toUs])
    .filter((each) => each > fromUs && each < toUs);
  const moments = [...new Set([fromUs, ...edges])].toSorted((a, b) => a - b);
  const starts = inside.toSorted((a, b) => a.fromUs - b.fromUs);
  const ranges: SourceRange[] = [];
  let open: Layer[] = [];
  let next = 0;
  let shown: Layer | undefined;
  for (const [at, moment] of moments.entries()) {
    open = open.filter((each) => each.toUs > moment);
    for (
      let each = starts[next];
      each !== undefined && each.fromUs <= moment;
      each = starts[next]
    ) {
      if (each.toUs > moment) open.push(each);
      next += 1;
    }
    const top = open.reduce<Layer | undefined>(
      (best, each) => best === undefined || each.rank >= best.rank ? each : best,
      undefined,
    );
    const endUs = moments[at + 1] ?? toUs;
    const before = ranges.at(-1);
    if (before !== undefined && isSame(shown, top)) {
      ranges[ranges.length - 1] = { ...before, toUs: endUs };
    } else if (endUs > moment) ranges.push({ ...shownRange(top), fromUs: moment, toUs: endUs });
    shown = top;
  }
  return ranges;
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
