/**
 * What a principal sees of what a report is about. Pure.
 *
 * Invariant: nothing counts as seen of which the principal sees only a part.
 */
import { isTopicUnder } from "../../event/topic.ts";
import type { Scopes } from "../principal.ts";

/** Topics of which not all events are seen. */
export function hiddenTopics(topics: readonly string[], scopes: Scopes): readonly string[] {
  const seen = scopes.topics;
  if (seen === "all") return [];
  return topics.filter((topic) => !seen.some((each) => isTopicUnder(topic, each)));
}

export function seesHost({ hosts }: Scopes, host: string): boolean {
  return hosts === "all" ||
    hosts.some((each) => each.endsWith("*") ? host.startsWith(each.slice(0, -1)) : host === each);
}
