/**
 * What of the record a tail is about, by topic and host, as far as that can be told without looking at events: which
 * rules of retention may have taken something of it. Pure.
 *
 * Invariant: every event that matches is of one of the topics and hosts; it may be more.
 */
import { isTopicUnder } from "../../event/topic.ts";
import { findColumn } from "../../event/columns.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import type { Wanted } from "../reports/deletions.ts";
import { topicsOf } from "./matcher.ts";

/** Pairs of topics that are told apart; with more, what the principal may see counts alone. */
const PAIRS_MAX = 10_000;
const HOST = findColumn("host");

/** None when nothing can match. */
export function wantedBy(request: TailRequest, { scopes }: Principal): readonly Wanted[] {
  const hosts = hostsOf(request) ?? (scopes.hosts === "all" ? undefined : scopes.hosts);
  const asked = topicsOf(request)?.map(serviceOf);
  const seen = scopes.topics === "all" ? undefined : scopes.topics;
  const topics = asked === undefined || seen === undefined
    ? asked ?? seen
    : asked.length * seen.length > PAIRS_MAX
    ? seen
    : both(asked, seen);
  if (topics === undefined) return [{ topic: undefined, hosts }];
  return [...new Set(topics)].map((topic) => ({ topic, hosts }));
}

/** The topics below one of each. */
function both(left: readonly string[], right: readonly string[]): readonly string[] {
  return left.flatMap((a) =>
    right.flatMap((b) => isTopicUnder(a, b) ? [a] : isTopicUnder(b, a) ? [b] : [])
  );
}

/** An application's event may be found by its further topics, which are of the same service. */
function serviceOf(topic: string): string {
  return /^app\/[^/]+/.exec(topic)?.[0] ?? topic;
}

/** Hosts of which each matching event is one; undefined for any. */
function hostsOf({ conditions }: TailRequest): readonly string[] | undefined {
  for (const { column, isNegated, matches } of conditions) {
    if (column !== HOST || isNegated) continue;
    const hosts = matches.flatMap((match) => match.kind === "equal" ? [String(match.value)] : []);
    // A name that ends in a star of its own is taken for more than it is.
    if (hosts.length === matches.length) return hosts;
  }
  return undefined;
}
