/** Reads the coverage of hosts: plans, runs and joins what agents said and what was told as missing. */
import type { SqlRow } from "../../storage/duckdb.ts";
import type { DataFile } from "../../storage/table.ts";
import { figuresOf } from "../figures-answer.ts";
import type { Tallies } from "../metric/tallies.ts";
import type { Executor } from "../executor.ts";
import { isTopicUnder } from "../../event/topic.ts";
import {
  GAPS_MAX,
  planEarlierSigns,
  planGaps,
  planLastHeard,
  planSigns,
  SIGNS_MAX,
  SILENT_US,
} from "../planner/coverage.ts";
import type { EventsRequest, Plan } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Call } from "../route.ts";
import type { Span } from "./layers.ts";
import { type CoverageRange, coverHosts, type HostCoverage } from "./host-coverage.ts";
import { addHeard, talliedHosts, UNTALLIED_LOOK_BACK_US } from "./last-heard.ts";
import { readGap, readSign, type Sign } from "./told.ts";

export interface ReadCoverage {
  readonly hosts: ReadonlyMap<string, HostCoverage>;
  readonly range: CoverageRange;
  /** Whether there was more than is read for one answer: then what follows is not known. */
  readonly isCut: boolean;
  readonly plans: readonly Plan[];
  /** When hosts were last heard of before the range, µs; empty unless asked for. */
  readonly lastHeard: ReadonlyMap<string, number>;
  /** A host that was heard of only before this moment may not be among them, µs. */
  readonly knownFromUs: number;
}

export interface CoverageRead {
  /** Its range, and its conditions on `host`; others are left out. */
  readonly request: EventsRequest;
  readonly executor: Executor;
  readonly view: ReadView;
  /** Hosts are missed that were heard of so long before the range, µs; a day when left out. */
  readonly lookBackUs?: number;
  /** With them hosts are missed that were heard of at any time before the range. */
  readonly tallies?: Pick<Tallies, "book" | "tallyOf">;
  /** Times of which what a host's agents said is not kept any more, by time; none when left out. */
  readonly goneOf?: (host: string) => readonly Span[];
}

/** Data files read for what hosts said last, those of the hosts that were heard of last. */
const LAST_SIGN_FILES_MAX = 64;

export async function readCoverage(
  call: Call,
  { request, executor, view, lookBackUs, tallies, goneOf = () => [] }: CoverageRead,
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
  const [signs = [], gaps = [], lately = []] = await Promise.all(
    plans.map((plan) => figuresOf(executor, plan, call)),
  );
  const heard = tallies === undefined
    ? NOTHING_HEARD
    : await readLastHeard(call, { request: narrowed, executor, view, tallies, signs });
  const earlier = [...lately, ...heard.signs];
  const range = {
    fromUs: request.fromUs,
    toUs: Math.max(request.fromUs, Math.min(request.toUs, time.nowUs)),
    heardUs: Math.min(request.toUs + SILENT_US, time.nowUs),
  };
  const signsCut = cutsOf(signs, "time_us");
  const gapsCut = cutsOf(gaps, "from_us");
  // Which hosts were left out whole when the answer is full is not known.
  const isFull = signs.length >= SIGNS_MAX || earlier.length >= SIGNS_MAX ||
    gaps.length >= GAPS_MAX || heard.isCut;
  const hosts = coverHosts({
    ...{ signs: withEarlier(signs, earlier), gaps: gaps.map(readGap), range, goneOf },
    cutsOf: (host) => ({
      signsUs: signsCut.get(host),
      gapsUs: gapsCut.get(host) ?? gapsCut.get("") ??
        (gaps.length >= GAPS_MAX ? request.fromUs : undefined),
    }),
  });
  const isCut = isFull || [...hosts.values()].some((each) => each.isCut);
  const { lastHeard, knownFromUs } = heard;
  return { hosts, range, isCut, plans: [...plans, ...heard.plans], lastHeard, knownFromUs };
}

interface LastHeard extends Pick<ReadCoverage, "lastHeard" | "knownFromUs" | "plans" | "isCut"> {
  /** Of hosts of which nobody said anything in the range or the day before it. */
  readonly signs: readonly SqlRow[];
}

const NOTHING_HEARD: LastHeard = {
  ...{ lastHeard: new Map(), knownFromUs: 0, plans: [], isCut: false, signs: [] },
};

async function readLastHeard(
  call: Call,
  { request, executor, view, tallies, signs }: CoverageRead & {
    readonly tallies: Pick<Tallies, "book" | "tallyOf">;
    readonly signs: readonly SqlRow[];
  },
): Promise<LastHeard> {
  const { principal } = call;
  const { hosts, unread, knownFromUs } = talliedHosts(tallies, request, { view, principal });
  const lookBackUs = UNTALLIED_LOOK_BACK_US;
  const plan = planOfFiles(
    unread,
    view,
    (part) => planLastHeard(request, principal, { view: part, lookBackUs }),
  );
  const rows = await figuresOf(executor, plan, call);
  addHeard(hosts, rows);
  const said = new Set(signs.map(({ host }) => String(host)));
  const silent = [...hosts].filter(([host]) => !said.has(host));
  const told = silent.flatMap(([, { sign }]) => sign ?? [])
    .toSorted((a, b) => b.timeUs - a.timeUs);
  const last = new Set([...new Set(told.map(({ file }) => file))].slice(0, LAST_SIGN_FILES_MAX));
  const earliestUs = told.filter(({ file }) => last.has(file)).at(-1)?.timeUs ?? Infinity;
  const earlier = planOfFiles(
    [...new Set([...unread, ...last])],
    view,
    (part) =>
      planEarlierSigns(request, principal, {
        view: part,
        lookBackUs: Math.max(lookBackUs, request.fromUs - earliestUs),
      }),
  );
  const found = silent.length === 0 ? [] : await figuresOf(executor, earlier, call);
  return {
    lastHeard: new Map([...hosts].map(([host, { lastUs }]) => [host, lastUs])),
    knownFromUs,
    plans: silent.length === 0 ? [plan] : [plan, earlier],
    isCut: rows.length >= SIGNS_MAX || told.some(({ file }) => !last.has(file)),
    signs: found.filter(({ host }) => !said.has(String(host))),
  };
}

/** Files that are not among these count as pruned. */
function planOfFiles(
  files: readonly DataFile[],
  view: ReadView,
  make: (part: ReadView) => Plan,
): Plan {
  const plan = make({ ...view, files });
  return { ...plan, prunedFiles: plan.prunedFiles + view.files.length - files.length };
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
