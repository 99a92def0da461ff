/** `[maintenance] keep` as the rules that retention goes by. */
import { parseKeepRules } from "../pipeline/maintenance/retention-policy.ts";
import type { KeepRule } from "../pipeline/maintenance/retention-policy.ts";
import { duration } from "./option-type.ts";

/** Throws RangeError that names the pattern. */
export function keepRulesOf(keep: Readonly<Record<string, string>>): readonly KeepRule[] {
  const entries = Object.entries(keep).map(([pattern, text]) => [pattern, duration.parse(text)]);
  return parseKeepRules(Object.fromEntries(entries));
}

export function isKeep(keep: Readonly<Record<string, string>>): boolean {
  try {
    keepRulesOf(keep);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
