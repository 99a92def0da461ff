/**
 * What retention may have removed: by the rules and times that its last run wrote down.
 *
 * Invariant: what a run may have taken counts as gone, whether or not it said so: a run that was disturbed says nothing,
 * nor does one by hand.
 */
import { isTopicUnder } from "../../event/topic.ts";
import { isRecord } from "../../storage/json-text.ts";
import { type KeepPattern, parseKeepPattern } from "../../storage/keep-pattern.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { createRegistry } from "../../storage/registry.ts";

/** A rule; of several, the first that speaks of a row decides. */
export interface Deletion extends KeepPattern {
  /** Events before this moment may be gone, µs. */
  readonly beforeUs: number;
}

const DAY_MS = 86_400_000;

/** Runs are a day apart. So long after the last one another may have taken more without saying so, ms. */
const UNTOLD_MS = 2 * DAY_MS;

/** Undefined when it cannot be told what was removed. */
export async function readDeletions(
  store: ObjectStore,
  { nowUs, signal }: { readonly nowUs: number; readonly signal: AbortSignal },
): Promise<readonly Deletion[] | undefined> {
  const tasks = createRegistry({ store, kind: "maintenance", parse: (value) => value });
  try {
    const state = (await tasks.get("retain", { signal }))?.value;
    if (state === undefined) return [];
    // A first run that is at it, or was disturbed, has not said yet by which rules.
    const { settled, doneAtMs } = isRecord(state) ? state : {};
    const atMs = isRecord(settled) ? settled.atMs : undefined;
    if (typeof atMs !== "number" || typeof doneAtMs !== "number") return undefined;
    const lastMs = Math.max(atMs, doneAtMs) + UNTOLD_MS;
    return parseDeletions(settled, Math.min(nowUs, lastMs * 1_000));
  } catch {
    signal.throwIfAborted();
    return undefined; // The report says so, of every host.
  }
}

/** Undefined for what is no whole account of a run; `nowUs` is the moment of the last run that may have been. */
export function parseDeletions(settled: unknown, nowUs: number): readonly Deletion[] | undefined {
  if (!isRecord(settled) || typeof settled.rules !== "string" || !isRecord(settled.cutoffs)) {
    return undefined;
  }
  const rules: unknown = JSON.parse(settled.rules);
  if (!Array.isArray(rules)) return undefined;
  const found: Deletion[] = [];
  for (const rule of rules) {
    if (!Array.isArray(rule)) return undefined;
    const [text, keepMs]: readonly unknown[] = rule;
    if (typeof text !== "string" || typeof keepMs !== "number") return undefined;
    const pattern = parseKeepPattern(text);
    if (pattern === undefined) return undefined;
    const told = settled.cutoffs[text];
    const nextMs = Math.floor((nowUs / 1_000 - keepMs) / DAY_MS) * DAY_MS;
    const beforeMs = typeof told === "number" ? Math.max(told, nextMs) : nextMs;
    found.push({ ...pattern, beforeUs: beforeMs * 1_000 });
  }
  return found;
}

/** Up to which moment, exclusive, events of a topic, or of one below it, may be gone from a host; 0 when none are, µs. */
export function deletedUntilUs(
  deletions: readonly Deletion[],
  { topic, host }: { readonly topic: string; readonly host: string },
): number {
  let untilUs = 0;
  for (const each of deletions) {
    if (!isOfHost(each, host)) continue;
    const isWhole = each.topic === undefined || isTopicUnder(topic, each.topic);
    if (!isWhole && !isTopicUnder(each.topic, topic)) continue;
    untilUs = Math.max(untilUs, each.beforeUs);
    if (isWhole) break;
  }
  return untilUs;
}

function isOfHost({ host: wanted }: Deletion, host: string): boolean {
  if (wanted === undefined) return true;
  return wanted.endsWith("*") ? host.startsWith(wanted.slice(0, -1)) : host === wanted;
}
