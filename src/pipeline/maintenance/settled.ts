/** What retention has settled: up to where the rows of each rule were removed, and by which rules. */
import { canonicalJson, isRecord } from "../../storage/json-text.ts";
import type { KeepRule, SettledCutoffs } from "./retention-policy.ts";

export interface Settled {
  /** Text of the rules; what they settled says nothing of others. */
  readonly rules: string;
  readonly cutoffs: SettledCutoffs;
}

export function settledBy(rules: readonly KeepRule[], cutoffs: SettledCutoffs): Settled {
  return { rules: textOf(rules), cutoffs };
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
  const cutoffs = Object.entries(value.cutoffs).filter(
    (entry): entry is [string, number] => typeof entry[1] === "number",
  );
  return { rules: value.rules, cutoffs: Object.fromEntries(cutoffs) };
}

function textOf(rules: readonly KeepRule[]): string {
  return canonicalJson(rules.map(({ pattern, keepMs }) => [pattern, keepMs]));
}
