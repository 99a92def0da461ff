/** Reads the coverage of hosts: plans, runs and joins what agents said and what was told as missing. */
import type { SqlRow } from "../../storage/duckdb.ts";
import { figuresOf } from "../figures-answer.ts";
import type { Executor } from "../executor.ts";
import { isTopicUnder } from "../../event/topic.ts";
import {
  GAPS_MAX,
  planEarlierSigns,
  planGaps,
  planSigns,
  SIGNS_MAX,
  SILENT_US,
} from "../planner/coverage.ts";
import type { EventsRequest, Plan } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Call } from "../route.ts";
import { type CoverageRange, coverHosts, type HostCoverage } from "./host-coverage.ts";
import { readGap, readSign, type Sign } from "./told.ts";

export interface ReadCoverage {
  readonly hosts: ReadonlyMap<string, HostCoverage>;
  readonly range: CoverageRange;
  /** Whether there was more than is read for one answer: then what follows is not known. */
  readonly isCut: boolean;
  readonly plans: readonly Plan[];
}

export interface CoverageRead {
  /** Its range, and its conditions on `host`; others are left out. */
  readonly request: EventsRequest;
  readonly executor: Executor;
  readonly view: ReadView;
  /** Hosts are missed that were heard of so long before the range, µs; a day when left out. */
  readonly lookBackUs?: number;
}

export async function readCoverage(
  call: Call,
  { request, executor, view, lookBackUs }: CoverageRead,
): Promise<ReadCoverage> {
  const { principal, time } = call;
  const conditions = request.conditions.filter(({ column }) => column.name === "host");
  const narrowed = { ...request, conditions };
  const plans = [
    planSigns(narrowed, principal, view),
    planGaps(narrowed, principal, view),
    ...(lookBackUs === undefined
      ? []
      : [planEarlierSigns(narrowed, principal, { view, lookBackUs })]),
  ];
  const [signs, gaps, earlier = []] = await Promise.all(
    plans.map((plan) => figuresOf(executor, plan, call)),
  );
  const range = {
    fromUs: request.fromUs,
    toUs: Math.max(request.fromUs, Math.min(request.toUs, time.nowUs)),
    heardUs: Math.min(request.toUs + SILENT_US, time.nowUs),
  };
  const told = { signs: signs ?? [], gaps: gaps ?? [] };
  const signsCut = cutsOf(told.signs, "time_us");
  const gapsCut = cutsOf(told.gaps, "from_us");
  // Which hosts were left out whole when the answer is full is not known.
  const isFull = told.signs.length >= SIGNS_MAX || earlier.length >= SIGNS_MAX ||
    told.gaps.length >= GAPS_MAX;
  const hosts = coverHosts({
    ...{ signs: withEarlier(told.signs, earlier), gaps: told.gaps.map(readGap), range },
    cutsOf: (host) => ({
      signsUs: signsCut.get(host),
      gapsUs: gapsCut.get(host) ?? gapsCut.get("") ??
        (told.gaps.length >= GAPS_MAX ? request.fromUs : undefined),
    }),
  });
  const isCut = isFull || [...hosts.values()].some((each) => each.isCut);
  return { hosts, range, isCut, plans };
}

/** Signs of each host by time; the first of an agent follows the last earlier one, from which on it may have been away. */
function withEarlier(rows: readonly SqlRow[], earlierRows: readonly SqlRow[]): readonly Sign[] {
  const earlier = earlierRows.map(readSign);
  const keyOf = ({ host, agent }: Sign): string => JSON.stringify([host, agent]);
  const lastOf = new Map(earlier.map((sign) => [keyOf(sign), sign]));
  const signs = rows.map(readSign).map((sign) => {
    const last = sign.before === undefined ? lastOf.get(keyOf(sign)) : undefined;
    if (last === undefined) return sign;
    return { ...sign, before: { timeUs: last.timeUs, isStop: last.what === "stop" } };
  });
  return [...earlier, ...signs].toSorted((a, b) => a.timeUs - b.timeUs);
}

/** By host the time of the last row that was read, where there are more; rows are ordered by host and time. */
function cutsOf(rows: readonly SqlRow[], time: string): ReadonlyMap<string, number> {
  const cuts = new Map<string, number>();
  for (const [host, of] of Map.groupBy(rows, (row) => String(row["host"] ?? ""))) {
    const last = of.at(-1);
    if (last !== undefined && Number(last["total"]) > of.length) cuts.set(host, Number(last[time]));
  }
  return cuts;
}

/** Whether a principal may see what agents say of themselves; without, coverage is not known to them. */
export function seesAgents({ scopes: { topics } }: Principal): boolean {
  return topics === "all" || topics.some((topic) => isTopicUnder("agent", topic));
}
