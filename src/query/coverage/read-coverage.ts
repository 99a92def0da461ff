/** Reads the coverage of hosts: plans, runs and joins what agents said and what was told as missing. */
import type { SqlRow } from "../../storage/duckdb.ts";
import { figuresOf } from "../figures-answer.ts";
import type { Executor } from "../executor.ts";
import { isTopicUnder } from "../../event/topic.ts";
import { GAPS_MAX, planGaps, planSigns, SIGNS_MAX, SILENT_US } from "../planner/coverage.ts";
import type { EventsRequest, Plan } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Call } from "../route.ts";
import { type CoverageRange, coverHosts, type HostCoverage } from "./host-coverage.ts";
import { readGap, readSign } from "./told.ts";

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
}

export async function readCoverage(
  call: Call,
  { request, executor, view }: CoverageRead,
): Promise<ReadCoverage> {
  const { principal, time } = call;
  const conditions = request.conditions.filter(({ column }) => column.name === "host");
  const narrowed = { ...request, conditions };
  const plans = [
    planSigns(narrowed, principal, view),
    planGaps(narrowed, principal, view),
  ] as const;
  const [signs, gaps] = await Promise.all(plans.map((plan) => figuresOf(executor, plan, call)));
  const range = {
    fromUs: request.fromUs,
    toUs: Math.max(request.fromUs, Math.min(request.toUs, time.nowUs)),
    heardUs: Math.min(request.toUs + SILENT_US, time.nowUs),
  };
  const rows = (list: readonly SqlRow[] | undefined, most: number) => list?.slice(0, most) ?? [];
  return {
    hosts: coverHosts(
      rows(signs, SIGNS_MAX).map(readSign),
      rows(gaps, GAPS_MAX).map(readGap),
      range,
    ),
    range,
    isCut: (signs?.length ?? 0) > SIGNS_MAX || (gaps?.length ?? 0) > GAPS_MAX,
    plans,
  };
}

/** Whether a principal may see what agents say of themselves; without, coverage is not known to them. */
export function seesAgents({ scopes: { topics } }: Principal): boolean {
  return topics === "all" || topics.some((topic) => isTopicUnder("agent", topic));
}
