/** Which rows earlier retentions may have removed: by it a replay tells rows that were removed from rows that were lost. */
import { latestCutoffs, type RemovalRecord } from "../../storage/removal-record.ts";
import { rowsBefore } from "./retention-policy.ts";

/** SQL of the rows that were past their time at one of the removals. */
export function removableRows(removals: readonly RemovalRecord[]): string {
  const conditions = latestCutoffs(removals.map(({ cutoffs }) => cutoffs)).map(rowsBefore);
  return conditions.length === 0 ? "false" : `(${conditions.join(" OR ")})`;
}
