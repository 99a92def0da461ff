/**
 * Finds who wants a row, among many: those are asked who want any topic, or one that the row has.
 *
 * Invariant: whoever is left out without being asked wants only rows of topics that this row does not have.
 */
import type { Interest } from "../planner/tail-plan.ts";
import { createMatcher, type Matcher, type RowValues, topicsOf } from "./matcher.ts";

export interface Distribution<T extends Interest> {
  /** `values` is asked only when it matters. */
  wantedBy(values: () => RowValues): readonly T[];
}

/** Rows of a single interest's plan are those that it wants: nothing is matched then. */
export function createDistribution<T extends Interest>(
  interests: readonly T[],
): Distribution<T> {
  if (interests.length === 1) return { wantedBy: () => interests };
  const ofAnyTopic: Candidate<T>[] = [];
  const byTopic = new Map<string, Candidate<T>[]>();
  for (const interest of interests) {
    const candidate = { interest, matches: createMatcher(interest.request, interest.principal) };
    const topics = topicsOf(interest.request);
    if (topics === undefined) ofAnyTopic.push(candidate);
    for (const topic of new Set(topics)) {
      const others = byTopic.get(topic);
      if (others === undefined) byTopic.set(topic, [candidate]);
      else others.push(candidate);
    }
  }
  return {
    wantedBy(read) {
      const values = read();
      const candidates = new Set(ofAnyTopic);
      for (const topic of topicsOfRow(values)) {
        for (const each of byTopic.get(topic) ?? []) candidates.add(each);
      }
      return [...candidates].filter(({ matches }) => matches(values))
        .map(({ interest }) => interest);
    },
  };
}

interface Candidate<T> {
  readonly interest: T;
  readonly matches: Matcher;
}

/** The topics of a row and all above them. */
function* topicsOfRow({ topic, topics }: RowValues): Generator<string> {
  for (const each of [topic, ...Array.isArray(topics) ? topics : []]) {
    if (typeof each !== "string") continue;
    for (let end = each.indexOf("/"); end >= 0; end = each.indexOf("/", end + 1)) {
      yield each.slice(0, end);
    }
    yield each;
  }
}
