/**
 * What a retention's commit says of itself in the log: how many rows it took out, and up to which time of which topics
 * and hosts.
 *
 * Invariant: what is no whole record explains the loss of no row.
 */
import { isRecord } from "./json-text.ts";
import { byDecision, type KeepPattern, parseKeepPattern } from "./keep-pattern.ts";

/** The pattern that decides comes first; up to where rows went, exclusive, ms since the Unix epoch. */
export type Cutoffs = readonly (KeepPattern & { readonly beforeMs: number })[];

export interface RemovalRecord {
  readonly rows: number;
  readonly cutoffs: Cutoffs;
}

const KIND = "retain";
/** Furthest from 1970 that a date can be. */
const TIME_MS_MAX = 8_640_000_000_000_000;

/** `commitInfo.probity.maintenance` of a retention. */
export function encodeRemoval(
  { rows, rules }: {
    readonly rows: number;
    readonly rules: readonly (KeepPattern & {
      readonly keepMs: number;
      readonly beforeMs: number;
    })[];
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
  const cutoffs = parseCutoffs(before);
  return cutoffs === undefined ? undefined : { rows, cutoffs };
}

/** Undefined for what is not whole. */
export function parseCutoffs(before: unknown): Cutoffs | undefined {
  if (!isRecord(before)) return undefined;
  const cutoffs: Cutoffs[number][] = [];
  for (const [pattern, beforeMs] of Object.entries(before)) {
    const parsed = parseKeepPattern(pattern);
    if (parsed === undefined || typeof beforeMs !== "number") return undefined;
    if (!Number.isSafeInteger(beforeMs) || Math.abs(beforeMs) > TIME_MS_MAX) return undefined;
    cutoffs.push({ ...parsed, beforeMs });
  }
  // Of the same topics and hosts, the rule that keeps longer decides.
  return cutoffs.toSorted((a, b) => byDecision(a, b) || a.beforeMs - b.beforeMs);
}

/** Of several with the same patterns one, with their latest cut-offs: a row is past its time at one of them by these. */
export function latestCutoffs(all: Iterable<Cutoffs>): readonly Cutoffs[] {
  const latest = new Map<string, Cutoffs>();
  for (const cutoffs of all) {
    const key = JSON.stringify(cutoffs.map(({ pattern }) => pattern));
    const known = latest.get(key) ?? cutoffs;
    const both = cutoffs.map((each, at) => ({
      ...each,
      beforeMs: Math.max(each.beforeMs, known[at]?.beforeMs ?? -Infinity),
    }));
    latest.set(key, both);
  }
  return [...latest.values()];
}
