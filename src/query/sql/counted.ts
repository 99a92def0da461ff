/**
 * What of a statement's answer tallies know, and the statement over that.
 *
 * Invariant: it sees the files of the view and what the principal may see of them, as the statement over events does.
 */
import { findColumn } from "../../event/columns.ts";
import type { Condition } from "../filter.ts";
import type { KnownTallies } from "../metric/counted-kinds.ts";
import { type KindRows, kindRowsOf } from "../metric/kind-rows.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { countStatementOf } from "./counts.ts";
import { TOPIC_VIEWS } from "./views.ts";

export interface Counted {
  /** Text of the statement's tree over rows that stand for many events. */
  readonly tree: string;
  readonly kinds: KindRows;
}

/** Rows of counts that are handed over; with more, events are read. */
const KIND_ROWS_MAX = 10_000;

/** Undefined when the statement is not about counts, or reading events is no more work. */
export function countedOf(
  tallies: KnownTallies,
  tree: string,
  { view, principal }: { readonly view: ReadView; readonly principal: Principal },
): Counted | undefined {
  const counts = countStatementOf(tree);
  if (counts === undefined) return undefined;
  const kinds = kindRowsOf(tallies, {
    conditions: topicConditions(counts.table),
    columns: [...counts.columns],
    ...{ view, principal },
  });
  const isLess = kinds.files.length < view.files.length && kinds.rows.length <= KIND_ROWS_MAX;
  return isLess ? { tree: counts.tree, kinds } : undefined;
}

/** What a view shows of all events. */
export function topicConditions(table: string): readonly Condition[] {
  const [column, value] = [findColumn("topic"), TOPIC_VIEWS.get(table)];
  if (column === undefined || value === undefined) return [];
  return [{ column, isNegated: false, matches: [{ kind: "equal", value }] }];
}
