/**
 * Compaction, retention and vacuum as they are asked for, by a command or by the schedule: each with its record,
 * which begins before the first change.
 */
import { withRecord } from "../../storage/admin-record.ts";
import { isSettledBy, type Settled } from "./settled.ts";
import { type CompactionSummary, compactTable } from "./compaction.ts";
import type { MaintenanceContext } from "./context.ts";
import { retainTable, type RetentionSummary } from "./retention.ts";
import type { KeepRule } from "./retention-policy.ts";
import { vacuumBucket, type VacuumSummary } from "./vacuum.ts";

export interface DeedOptions {
  /** Who does it, for the record. */
  readonly by: string;
  readonly signal?: AbortSignal | undefined;
}

export function compactAsAsked(
  context: MaintenanceContext,
  { by, signal }: DeedOptions,
): Promise<CompactionSummary> {
  return withRecord(
    context,
    { kind: "compact", by, parameters: {} },
    (begin) => compactTable(context, { onGroup: begin, signal }),
  );
}

/** Keeps by the rules; `settled` is what an earlier run said. */
export function retainAsAsked(
  context: MaintenanceContext,
  options: DeedOptions & { readonly rules: readonly KeepRule[]; readonly settled?: Settled },
): Promise<RetentionSummary> {
  const { by, signal, rules, settled } = options;
  const keep = Object.fromEntries(rules.map(({ pattern, keepMs }) => [pattern, keepMs]));
  return withRecord(
    context,
    { kind: "retain", by, parameters: { keep } },
    (begin) =>
      retainTable(context, {
        rules,
        settled: isSettledBy(settled, rules) ? settled : undefined,
        onChange: begin,
        signal,
      }),
  );
}

export function vacuumAsAsked(
  context: MaintenanceContext,
  { by, signal, graceMs }: DeedOptions & { readonly graceMs: number },
): Promise<VacuumSummary> {
  return withRecord(
    context,
    { kind: "vacuum", by, parameters: { graceMs } },
    (begin) => vacuumBucket(context, { graceMs, onStart: begin, signal }),
  );
}
