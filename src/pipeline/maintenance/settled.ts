/** What a run of retention has settled, at rest: for which rules, and so what a later run need not look at again. */
import { canonicalJson, isRecord } from "../../storage/json-text.ts";
import type { KeepRule, SettledRun } from "./retention-policy.ts";

export interface Settled extends SettledRun {
  /** Text of the rules; what they settled says nothing of others. */
  readonly rules: string;
}

export function settledBy(rules: readonly KeepRule[], run: SettledRun): Settled {
  return { rules: textOf(rules), ...run };
}

export function isSettledBy(
  settled: Settled | undefined,
  rules: readonly KeepRule[],
): settled is Settled {
  return settled !== undefined && settled.rules === textOf(rules);
}

/** Undefined for what is none: everything is then looked at again. */
export function parseSettled(value: unknown): Settled | undefined {
  if (!isRecord(value) || typeof value.rules !== "string" || !isRecord(value.cutoffs)) {
    return undefined;
  }
  if (typeof value.atMs !== "number") return undefined;
  const cutoffs = Object.entries(value.cutoffs).filter(
    (entry): entry is [string, number] => typeof entry[1] === "number",
  );
  return { rules: value.rules, atMs: value.atMs, cutoffs: Object.fromEntries(cutoffs) };
}

function textOf(rules: readonly KeepRule[]): string {
  return canonicalJson(rules.map(({ pattern, keepMs }) => [pattern, keepMs]));
}
