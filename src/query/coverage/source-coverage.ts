/**
 * When each source of a host watched, and when not, or not whole, and why. Pure.
 *
 * Invariants: the ranges of a source follow each other without a seam; of several reasons at one moment the gravest is
 * told; a source is never taken for watching because nothing was heard.
 */
import type { AgentLine } from "./agent-lines.ts";
import { firstOf, flatten, joinSpans, type Layer, type Span } from "./layers.ts";
import type { AwayCause, Presence } from "./presence.ts";
import type { SourceState, ToldGap } from "./told.ts";

/**
 * Beside those of an absence: the source, or a hook of it, is `off`; it is `blind` (its canary did not come back), `failed`, did not look at
 * this part (`unwatched`), nobody was there (`absent`), events were `dropped`, the chain of batches is `broken`, a ring
 * was `tampered` with, or what was told of this time is `deleted`.
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
  | "tampered"
  | "deleted";

export interface SourceRange {
  readonly fromUs: number;
  readonly toUs: number;
  /** `partial`: it watched, and events are missing, or hooks are `off`; `unknown`: nothing was told of this time. */
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

/**
 * What a gap means for who reads; other classes are losses that were counted, or could not be. That batches do not
 * continue each other is told of agents as a whole: of a source it is that it could not read what it looks at.
 */
export function causeOf({ class: kind, sources }: Pick<ToldGap, "class" | "sources">): Cause {
  const cause = Object.hasOwn(CAUSES, kind) ? CAUSES[kind] ?? "dropped" : "dropped";
  return cause === "broken" && sources.length > 0 ? "dropped" : cause;
}

/** During these nothing was seen; during gaps of other causes some events were not. */
const UNSEEING: ReadonlySet<Cause> = new Set(["absent", "failed", "unwatched", "blind"]);

export interface SourceCoverageOptions {
  readonly fromUs: number;
  readonly toUs: number;
  /** Of one host. */
  readonly agents: readonly PresentAgent[];
  readonly gaps: readonly ToldGap[];
  /** From here on gaps could not be read. */
  readonly gapsCutUs: number | undefined;
  /** Of these times events are not kept any more. */
  readonly gone: readonly Span[];
}

/** What agents that followed each other said, and when they were there. */
export interface PresentAgent extends AgentLine {
  readonly presence: readonly Presence[];
}

/** Sources of one host that are followed; hostile events may name any number. */
export const SOURCES_MAX = 64;

export interface SourcesCoverage {
  readonly sources: readonly SourceCoverage[];
  /** Whether more sources were named than are followed. */
  readonly isCut: boolean;
}

/** What one line of agents says, prepared to be asked by source. */
interface Telling extends PresentAgent {
  readonly names: ReadonlySet<string>;
  readonly told: readonly {
    readonly timeUs: number;
    readonly states: ReadonlyMap<string, SourceState>;
  }[];
  readonly gaps: readonly GapLayer[];
}

/** A gap, and what it comes to. */
interface GapLayer {
  readonly gap: ToldGap;
  readonly layer: Layer;
}

export function coverSources(options: SourceCoverageOptions): SourcesCoverage {
  const tellings = options.agents.map((agent) => tellingOf(agent, options.gaps));
  const names = [...new Set(tellings.flatMap((each) => [...each.names]))].toSorted();
  const sources = names.slice(0, SOURCES_MAX).map((source) => ({
    source,
    ranges: flatten(layersOf(source, { ...options, tellings }), options),
  }));
  const isCut = names.length > SOURCES_MAX ||
    options.agents.some(({ signs }) => signs.some(({ isSourcesCut }) => isSourcesCut));
  return { sources, isCut };
}

function tellingOf(agent: PresentAgent, gaps: readonly ToldGap[]): Telling {
  const told = agent.signs.flatMap(({ timeUs, sources }) => {
    if (sources === undefined) return [];
    return [{ timeUs, states: new Map(sources.map((each) => [each.source, each] as const)) }];
  });
  const agents = new Set(agent.signs.map((sign) => sign.agent));
  return {
    ...agent,
    told,
    names: new Set(told.flatMap(({ states }) => [...states.keys()])),
    gaps: gaps.filter((gap) => gap.isOfAll || agents.has(gap.agent))
      .map((gap) => ({ gap, layer: gapLayer(gap) })),
  };
}

function layersOf(
  source: string,
  { tellings, gapsCutUs, gone }: SourceCoverageOptions & { readonly tellings: readonly Telling[] },
): Layer[] {
  // Of an agent that said of no source at all, nobody knows what it should watch.
  const concerned = tellings.filter(({ names }) => names.size === 0 || names.has(source));
  const firstUs = Math.min(...concerned.map(({ signs }) => signs[0]?.timeUs ?? Infinity));
  const unknown = { state: "unknown", cause: undefined, count: undefined, rank: 5 } as const;
  return [
    { ...unknown, fromUs: 0, toUs: firstUs, reason: undefined },
    ...(gapsCutUs === undefined ? [] : [{
      ...{ ...unknown, fromUs: gapsCutUs, toUs: Infinity },
      reason: "there are more gaps than could be read",
    }]),
    ...gone.map((span): Layer => ({
      ...{ ...unknown, ...span, cause: "deleted", rank: 7 },
      reason: "events of this time are not in the table any more",
    })),
    ...concerned.flatMap((telling) => {
      const layers = telling.gaps
        .filter(({ gap: { sources } }) => sources.length === 0 || sources.includes(source))
        .map(({ layer }) => layer);
      return [
        ...stateLayers(source, telling),
        ...presenceLayers(source, telling, layers),
        ...layers,
      ];
    }),
  ];
}

/** What the agent says of the source while it is there. */
function stateLayers(source: string, { told, names, untilUs }: Telling): Layer[] {
  if (!names.has(source)) return [];
  const layers: Layer[] = [];
  for (const [at, { timeUs, states }] of told.entries()) {
    const found = states.get(source);
    const isOn = found?.state === "on";
    const isWhole = isOn && found.missing === undefined;
    const cause = isWhole ? undefined : found?.state === "blind" ? "blind" : "off";
    const reason = isWhole ? undefined : isOn ? found.missing : found?.reason;
    const state = isWhole ? "watched" : isOn ? "partial" : "unwatched";
    const toUs = told[at + 1]?.timeUs ?? untilUs;
    const last = layers.at(-1);
    if (
      last !== undefined && last.state === state && last.cause === cause && last.reason === reason
    ) {
      layers[layers.length - 1] = { ...last, toUs };
    } else {
      layers.push({
        ...{ fromUs: timeUs, toUs, state, cause, reason, count: undefined },
        // What is off stays so while the agent is away.
        rank: isWhole ? 1 : isOn ? 2.5 : 4,
      });
    }
  }
  return layers;
}

function presenceLayers(
  source: string,
  { presence, told }: Telling,
  gaps: readonly Layer[],
): Layer[] {
  const unseen = joinSpans(gaps.filter((gap) => gap.state === "unwatched"));
  return presence.flatMap(({ fromUs, toUs, state, cause, isSameBoot }): Layer[] => {
    const range = { fromUs, toUs, reason: undefined, count: undefined };
    // What was before the first sign of all agents is unknown in itself.
    if (state === "here" || (state === "unknown" && fromUs === 0)) return [];
    if (state === "unknown") return [{ ...range, state, cause: undefined, rank: 5 }];
    // Programs of the kernel go on while the agent is away; who comes back reads what they kept, and says if they did not.
    // Only who comes back with the source does so.
    const next = told[firstOf(told, ({ timeUs }) => timeUs >= toUs)]?.states.get(source)?.state;
    const isBack = isSameBoot && (next === "on" || next === "blind");
    const missed = unseen[firstOf(unseen, (each) => each.toUs > fromUs)];
    const isKept = isBack && !(missed !== undefined && missed.fromUs < toUs);
    return [{ ...range, state: isKept ? "watched" : "unwatched", cause, rank: isKept ? 2 : 6 }];
  });
}

function gapLayer(gap: ToldGap): Layer {
  const { fromUs, toUs, reason, count } = gap;
  const cause = causeOf(gap);
  const isUnseeing = UNSEEING.has(cause);
  return {
    fromUs,
    toUs: Math.max(toUs, fromUs + 1),
    state: isUnseeing ? "unwatched" : "partial",
    ...{ cause, reason, count: count },
    rank: isUnseeing ? 4.5 : 3,
  };
}
