/**
 * Coverage of hosts: when which source of which host watched, from what agents said and what was told as missing. The
 * JSON of an answer is made here. Pure.
 *
 * Invariants: all times lie in the range that was asked for; what is not known is `unknown`, never `watched`.
 */
import { formatTime } from "../../event/event.ts";
import { agentLines } from "./agent-lines.ts";
import type { Span } from "./layers.ts";
import {
  type AwayCause,
  gravestPresence,
  type Presence,
  presenceOf,
  presenceUntil,
  presenceWithout,
} from "./presence.ts";
import {
  type Cause,
  causeOf,
  coverSources,
  type SourceCoverage,
  type SourceRange,
} from "./source-coverage.ts";
import type { Sign, ToldGap } from "./told.ts";

export interface CoverageRange {
  readonly fromUs: number;
  /** Exclusive; not after the moment of the request. */
  readonly toUs: number;
  /** The last moment of which a sign could have been heard. */
  readonly heardUs: number;
}

/** At the end of the range; `unknown` when no agent told anything of this host. */
export type HostState = "watched" | "blind" | "silent" | "stopped" | "unknown";

export interface HostCoverage {
  readonly host: string;
  readonly range: CoverageRange;
  readonly state: HostState;
  /** Since when, as far as the range goes. */
  readonly sinceUs: number | undefined;
  readonly version: string | undefined;
  readonly boot: string | undefined;
  readonly lastSignUs: number | undefined;
  /** Those that said something of themselves, also in the day before the range. */
  readonly agents: readonly string[];
  /** At each moment that of the agent of which the least can be said in its favour. */
  readonly presence: readonly Presence[];
  /** Whether something of it could not be read, or is not followed. */
  readonly isCut: boolean;
  readonly sources: readonly SourceCoverage[];
  readonly gaps: readonly ToldGap[];
  /** Starts, stops and changes of the configuration in the range. */
  readonly signs: readonly Sign[];
}

/** Ranges of one list in an answer. */
export const RANGES_MAX = 1_000;

/** Moments from which on what was told of a host could not be read. */
export interface Cuts {
  readonly signsUs?: number | undefined;
  readonly gapsUs?: number | undefined;
}

/** Coverage of each host that signs or gaps name, by name. */
export function coverHosts(
  { signs, gaps, range, cutsOf, goneOf = () => [] }: {
    readonly signs: readonly Sign[];
    readonly gaps: readonly ToldGap[];
    readonly range: CoverageRange;
    cutsOf(host: string): Cuts;
    /** Times of which what the host's agents said is not kept any more, by time. */
    goneOf?(host: string): readonly Span[];
  },
): ReadonlyMap<string, HostCoverage> {
  const signsOf = Map.groupBy(signs, ({ host }) => host);
  const gapsOf = Map.groupBy(gaps.filter(({ isOfAll }) => !isOfAll), ({ host }) => host);
  const ofAll = gaps.filter(({ isOfAll }) => isOfAll);
  // A sign after the range says that a host was silent or not; who told nothing before it is none of the range.
  const told = signs.filter(({ timeUs }) => timeUs < range.toUs).map(({ host }) => host);
  const hosts = [...new Set([...told, ...gapsOf.keys()])].toSorted();
  return new Map(
    hosts.map((host) => [
      host,
      coverHost(host, {
        signs: signsOf.get(host) ?? [],
        gaps: [...gapsOf.get(host) ?? [], ...ofAll.map((gap) => ({ ...gap, host }))]
          .toSorted((a, b) => a.fromUs - b.fromUs),
        range,
        cuts: cutsOf(host),
        gone: goneOf(host),
      }),
    ]),
  );
}

/** Coverage of one host, of which perhaps nothing is known. */
export function coverHost(
  host: string,
  { signs, gaps, range, cuts = {}, gone = [] }: {
    readonly signs: readonly Sign[];
    readonly gaps: readonly ToldGap[];
    readonly range: CoverageRange;
    readonly cuts?: Cuts;
    readonly gone?: readonly Span[];
  },
): HostCoverage {
  const { fromUs, toUs, heardUs } = range;
  const { signsUs, gapsUs } = cuts;
  const agents = agentLines(signs).map((line) => {
    const ended = presenceUntil(presenceOf(line.signs, heardUs), line.untilUs, "nothing");
    const presence = signsUs === undefined ? ended : presenceUntil(ended, signsUs, "unknown");
    return { ...line, presence };
  });
  const whole = presenceWithout(gravestPresence(agents.map((each) => each.presence)), gone);
  const presence = whole.filter((each) => each.fromUs < toUs && each.toUs > fromUs)
    .map((each) => ({
      ...each,
      fromUs: Math.max(each.fromUs, fromUs),
      toUs: Math.min(each.toUs, toUs),
    }));
  const { sources, isCut } = coverSources({
    ...{ fromUs, toUs, agents, gaps, gapsCutUs: gapsUs, gone },
  });
  const known = signs.filter(({ timeUs }) => timeUs < toUs);
  return {
    ...{ host, range },
    ...stateOf(presence.at(-1), sources),
    version: known.findLast(({ version }) => version !== undefined)?.version,
    boot: known.findLast(({ boot }) => boot !== undefined)?.boot,
    lastSignUs: known.at(-1)?.timeUs,
    agents: [...new Set(signs.map(({ agent }) => agent))],
    ...{ presence, sources, gaps },
    isCut: isCut || signsUs !== undefined || gapsUs !== undefined,
    signs: known.filter(({ what, timeUs }) => what !== "heartbeat" && timeUs >= fromUs),
  };
}

function stateOf(
  last: Presence | undefined,
  sources: readonly SourceCoverage[],
): Pick<HostCoverage, "state" | "sinceUs"> {
  if (last === undefined || last.state === "unknown") {
    return { state: "unknown", sinceUs: undefined };
  }
  if (last.state === "away") {
    return { state: last.cause === "stopped" ? "stopped" : "silent", sinceUs: last.fromUs };
  }
  const blind = sources.map(({ ranges }) => ranges.at(-1)).filter((each) =>
    each?.cause === "blind"
  );
  const since = blind.map((each) => each?.fromUs ?? last.fromUs);
  return blind.length === 0
    ? { state: "watched", sinceUs: last.fromUs }
    : { state: "blind", sinceUs: Math.min(...since) };
}

/** Part of a host's time that was not watched, or not whole. */
export interface Shortfall {
  readonly host: string;
  readonly fromUs: number;
  readonly toUs: number;
  /** Empty for all. */
  readonly sources: readonly string[];
  readonly state: "partial" | "unwatched" | "unknown";
  readonly cause: Cause | AwayCause | undefined;
  readonly reason: string | undefined;
  readonly count: number | undefined;
}

/** What is missing of a host in the range, by time: ranges that several sources share are one. */
export function shortfallsOf(coverage: HostCoverage): Shortfall[] {
  const { host, range: whole, sources, gaps, agents } = coverage;
  const found = new Map<string, Shortfall & { readonly sources: string[] }>();
  const add = (source: string, range: SourceRange): void => {
    const { state, ...more } = range;
    if (state === "watched") return;
    const key = JSON.stringify([range.fromUs, range.toUs, state, more.cause, more.reason]);
    const known = found.get(key);
    if (known === undefined) found.set(key, { host, state, ...more, sources: [source] });
    else known.sources.push(source);
  };
  for (const { source, ranges } of sources) for (const range of ranges) add(source, range);
  const named = [...found.values()].map((each) =>
    each.sources.length === sources.length ? { ...each, sources: [] } : each
  );
  const unnamed: Shortfall[] = sources.length > 0 ? [] : [{
    ...{ host, fromUs: whole.fromUs, toUs: whole.toUs, sources: [], state: "unknown" },
    ...{ cause: undefined, reason: "no agent said what it watches", count: undefined },
  }];
  // What is deleted is so of all sources.
  const gone = sources[0]?.ranges.filter(({ cause }) => cause === "deleted") ?? [];
  const isHidden = (gap: ToldGap): boolean =>
    gone.some((each) => each.fromUs <= gap.fromUs && gap.toUs <= each.toUs);
  const isNamed = (gap: ToldGap): boolean =>
    !isHidden(gap) && (gap.isOfAll || agents.includes(gap.agent)) && (gap.sources.length === 0 ||
      gap.sources.some((name) => sources.some(({ source }) => source === name)));
  const others = gaps.filter((gap) => sources.length === 0 || !isNamed(gap))
    .map((gap): Shortfall => ({
      ...{ host, fromUs: gap.fromUs, toUs: gap.toUs, sources: gap.sources, state: "partial" },
      ...{ cause: causeOf(gap), reason: gap.reason, count: gap.count },
    }));
  return [...named, ...unnamed, ...others].toSorted((a, b) =>
    a.fromUs - b.fromUs || a.toUs - b.toUs || (a.sources.join() < b.sources.join() ? -1 : 1)
  );
}

type Values = Readonly<Record<string, unknown>>;

/** The members of a host in a list. */
export function hostSummary({ state, sinceUs, version, boot, sources }: HostCoverage): Values {
  const off = sources.filter(({ ranges }) => {
    const last = ranges.at(-1);
    // Of one that is partly watched, hooks are off.
    return last?.cause === "off" && last.state === "unwatched";
  }).map(({ source }) => source);
  return present({
    state,
    since: sinceUs === undefined ? undefined : formatTime(sinceUs),
    ...{ version, boot },
    off: off.length === 0 ? undefined : off,
  });
}

/** What is known of one host, as its own answer has it. */
export function hostDetail(coverage: HostCoverage): Values {
  const { presence, sources, gaps, signs } = coverage;
  return {
    ...hostSummary(coverage),
    presence: listOf(presence.map((each) =>
      present({
        ...spanOf(each),
        ...{ state: each.state, cause: each.cause, version: each.version, boot: each.boot },
        version_before: each.versionBefore,
      })
    )),
    sources: sources.map(({ source, ranges }) => ({
      source,
      ranges: listOf(
        ranges.map(({ state, cause, reason, count, ...span }) =>
          present({ ...spanOf(span), ...{ state, cause, reason, count } })
        ),
      ),
    })),
    gaps: listOf(gaps.map((gap) =>
      present({
        ...spanOf(gap),
        cause: causeOf(gap),
        ...{ class: gap.class, count: gap.count, reason: gap.reason, agent: gap.agent },
        sources: gap.sources.length === 0 ? undefined : gap.sources,
        ...{ events: gap.events, id: gap.id },
      })
    )),
    changes: listOf(
      signs.map(({ timeUs, what, agent, version, boot, config, changed, outcome }) =>
        present({
          time: formatTime(timeUs),
          ...{ what, agent, version, boot, config_sha256: config, outcome },
          changed: what === "config" ? changed : undefined,
        })
      ),
    ),
  };
}

function listOf(values: readonly Values[]): Values {
  return { total: values.length, values: values.slice(0, RANGES_MAX) };
}

function spanOf({ fromUs, toUs }: { readonly fromUs: number; readonly toUs: number }): Values {
  return { from: formatTime(fromUs), to: formatTime(toUs) };
}

function present(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
