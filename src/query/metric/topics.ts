/**
 * Numbers of events by topic: what tallies answer is added up; what they do not is left to a plan that reads it,
 * together with the hot rows.
 *
 * Invariant: the sum of both is what a count over all events of the view gives.
 */
import type { EventsRequest, Plan } from "../planner.ts";
import { planTopics } from "../planner/figures.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { type KnownTallies, takeCounted } from "./counted-kinds.ts";
import { areOfKinds } from "./kind-filter.ts";

export interface TopicCounts {
  /** Rows with `topic` and `rows`, as those of the plan. */
  readonly rows: readonly { readonly topic: string | null; readonly rows: number }[];
  /** Counts the rest; of no step when there is none. */
  readonly plan: Plan;
}

export function countTopics(
  tallies: KnownTallies,
  request: EventsRequest,
  { view, principal }: { readonly view: ReadView; readonly principal: Principal },
): TopicCounts {
  // Tallies do not know other columns.
  if (!areOfKinds(request.conditions)) {
    return { rows: [], plan: planTopics(request, principal, view) };
  }
  const counts = new Map<string | null, number>();
  const files = takeCounted(tallies, request, {
    ...{ view, principal },
    take({ kinds, rows }, places) {
      for (const at of places) {
        const topic = tallies.book.kinds[kinds[at] ?? 0]?.topic ?? null;
        counts.set(topic, (counts.get(topic) ?? 0) + (rows[at] ?? 0));
      }
    },
  });
  const rest = planTopics(request, principal, { ...view, files });
  const tallied = view.files.length - files.length;
  const steps = files.length === 0 && view.hot.length === 0 ? [] : rest.steps;
  return {
    rows: [...counts].map(([topic, rows]) => ({ topic, rows })),
    plan: { ...rest, steps, prunedFiles: tallied + rest.prunedFiles },
  };
}
