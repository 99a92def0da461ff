/**
 * Which kinds of events a question counts, decided outside of SQL.
 *
 * Invariant: it decides exactly as the predicates of `planner/predicate.ts` do for the same condition and scopes.
 */
import { isTopicUnder } from "../../event/topic.ts";
import type { Condition, GlobPart, Match } from "../filter.ts";
import type { Scopes } from "../principal.ts";
import type { Kind } from "./tally.ts";

/** Whether conditions are about nothing but what tallies know: a topic with all below it, and the host. */
export function areOfKinds(conditions: readonly Condition[]): boolean {
  return conditions.every(({ column, matches }) =>
    column.name === "host" ||
    (column.name === "topic" && matches.every(({ kind }) => kind === "equal"))
  );
}

/** Conditions are such as {@link areOfKinds} knows; throws RangeError for others. */
export function kindFilter(
  conditions: readonly Condition[],
  scopes: Scopes,
): (kind: Kind) => boolean {
  const tests = [...scopeTests(scopes), ...conditions.map(testOf)];
  return (kind) => tests.every((holds) => holds(kind));
}

type Test = (kind: Kind) => boolean;

function scopeTests({ topics, hosts }: Scopes): Test[] {
  return [
    ...(topics === "all"
      ? []
      : [({ topic }: Kind) => topic !== null && topics.some((each) => isTopicUnder(topic, each))]),
    ...(hosts === "all"
      ? []
      : [({ host }: Kind) => host !== null && hosts.some((each) => isHostIn(host, each))]),
  ];
}

function isHostIn(host: string, scope: string): boolean {
  return scope.endsWith("*") ? host.startsWith(scope.slice(0, -1)) : host === scope;
}

function testOf({ column, isNegated, matches }: Condition): Test {
  const tests = matches.map((match) => {
    if (column.name === "topic" && match.kind === "equal") {
      const wanted = String(match.value);
      return ({ topic, topics }: Kind) =>
        [...topic === null ? [] : [topic], ...topics].some((each) => isTopicUnder(each, wanted));
    }
    if (column.name === "host") {
      const meets = textTest(match);
      return ({ host }: Kind) => host !== null && meets(host);
    }
    throw new RangeError(`Cannot count by "${column.name}": tallies know topic and host`);
  });
  return (kind) => {
    // As in SQL, nothing is said of a host that is not known, not even that it is no other.
    if (column.name === "host" && kind.host === null) return false;
    return tests.some((holds) => holds(kind)) !== isNegated;
  };
}

function textTest(match: Match): (text: string) => boolean {
  switch (match.kind) {
    case "equal":
      return (text) => text === String(match.value);
    case "glob": {
      const pattern = new RegExp(`^${match.parts.map(patternOf).join("")}$`, "su");
      return (text) => pattern.test(text);
    }
    case "compare": {
      const value = Buffer.from(String(match.value));
      const { operator } = match;
      return (text) => {
        const order = Buffer.compare(Buffer.from(text), value);
        if (order === 0) return operator.endsWith("=");
        return operator.startsWith(">") ? order > 0 : order < 0;
      };
    }
  }
}

function patternOf(part: GlobPart): string {
  if (typeof part !== "string") return part.wildcard === "*" ? ".*" : ".";
  return part.replaceAll(/[\\^$.*+?()[\]{}|/-]/gu, (sign) => sign === "-" ? sign : `\\${sign}`);
}
