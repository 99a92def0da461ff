/**
 * What a retention's commit says of itself in the log: how many rows it took out, and up to which time of which topics
 * and hosts. Written and read here only; by it a replay tells rows that were removed from rows that were lost.
 *
 * Invariant: what is no whole record explains the loss of no row.
 */
import { isRecord } from "../../storage/json-text.ts";
import { byDecision, type KeepPattern, parseKeepPattern } from "../../storage/keep-pattern.ts";
import { type KeepRule, rowsBefore } from "./retention-policy.ts";

export interface RemovalRecord {
  readonly rows: number;
  /** Up to where rows went, exclusive, ms since the Unix epoch; the pattern that decides comes first. */
  readonly cutoffs: readonly (KeepPattern & { readonly beforeMs: number })[];
}

const KIND = "retain";
/** Furthest from 1970 that a date can be. */
const TIME_MS_MAX = 8_640_000_000_000_000;

/** `commitInfo.probity.maintenance` of a retention. */
export function encodeRemoval(
  { rows, rules }: {
    readonly rows: number;
    readonly rules: readonly (KeepRule & { readonly beforeMs: number })[];
  },
): Record<string, unknown> {
  const keep = Object.fromEntries(rules.map(({ pattern, keepMs }) => [pattern, keepMs]));
  const before = Object.fromEntries(rules.map(({ pattern, beforeMs }) => [pattern, beforeMs]));
  return { kind: KIND, rows, keep, before };
}

/** Undefined for what is no such record, or not a whole one. */
export function parseRemoval(
  detail: Readonly<Record<string, unknown>> | undefined,
): RemovalRecord | undefined {
  if (detail?.kind !== KIND) return undefined;
  const { rows, before } = detail;
  if (typeof rows !== "number" || !Number.isSafeInteger(rows) || rows < 0) return undefined;
  if (!isRecord(before)) return undefined;
  const cutoffs: RemovalRecord["cutoffs"][number][] = [];
  for (const [pattern, beforeMs] of Object.entries(before)) {
    const parsed = parseKeepPattern(pattern);
    if (parsed === undefined || typeof beforeMs !== "number") return undefined;
    if (!Number.isSafeInteger(beforeMs) || Math.abs(beforeMs) > TIME_MS_MAX) return undefined;
    cutoffs.push({ ...parsed, beforeMs });
  }
  // Of the same topics and hosts, the rule that keeps longer decides.
  return { rows, cutoffs: cutoffs.toSorted((a, b) => byDecision(a, b) || a.beforeMs - b.beforeMs) };
}

/** SQL of the rows that were past their time at one of the removals. */
export function removableRows(removals: readonly RemovalRecord[]): string {
  // A row is past its time at one of several with the same patterns exactly if it is by their latest cut-offs.
  const latest = new Map<string, RemovalRecord["cutoffs"]>();
  for (const { cutoffs } of removals) {
    const key = JSON.stringify(cutoffs.map(({ pattern }) => pattern));
    const known = latest.get(key) ?? cutoffs;
    const both = cutoffs.map((each, at) => ({
      ...each,
      beforeMs: Math.max(each.beforeMs, known[at]?.beforeMs ?? -Infinity),
    }));
    latest.set(key, both);
  }
  const conditions = [...latest.values()].map(rowsBefore);
  return conditions.length === 0 ? "false" : `(${conditions.join(" OR ")})`;
}
