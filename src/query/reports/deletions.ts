/**
 * What may have been removed: by the rules and times that the last daily retention wrote down, and by what the log tells
 * of retentions by hand and of other tools.
 *
 * Invariant: what a run may have taken counts as gone, whether or not it said so: a run that was disturbed says nothing.
 */
import { isTopicUnder } from "../../event/topic.ts";
import { isRecord } from "../../storage/json-text.ts";
import { type KeepPattern, parseKeepPattern } from "../../storage/keep-pattern.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { createRegistry } from "../../storage/registry.ts";
import { readRemovals, type Removals } from "../../storage/removals.ts";
import { joinSpans, type Span } from "../coverage/layers.ts";

/** A rule; of several, the first that speaks of a row decides. */
export interface Deletion extends KeepPattern {
  /** Events before this moment may be gone, µs. */
  readonly beforeUs: number;
}

const DAY_MS = 86_400_000;

/** Runs are a day apart. So long after the last one another may have taken more without saying so, ms. */
const UNTOLD_MS = 2 * DAY_MS;

/** What may be gone; each set has its own rules. */
export interface Deletions {
  /** By the daily retention, and by what the log tells. */
  readonly sets: readonly (readonly Deletion[])[];
  /** Those of them by which something was removed, as the log tells. */
  readonly told: readonly (readonly Deletion[])[];
  /** Times of which another tool took out rows, of whatever topic and host, µs; by time. */
  readonly spans: readonly Span[];
}

export interface DeletionReader {
  /**
   * Undefined when it cannot be told what was removed; `behind` while not all of the log is taken into account: the next
   * call goes on where this one ended.
   */
  read(options: {
    readonly nowUs: number;
    /** The table's version that is answered from. */
    readonly upTo: number;
    readonly signal: AbortSignal;
  }): Promise<Deletions | "behind" | undefined>;
}

/** Entries of the log that are read in one go, and how long one answer takes them into account, in milliseconds. */
const ENTRIES_MAX = 64;
const CATCH_UP_MS = 2_000;

/** Remembers how far it has read: an account that is far behind is caught up with by several answers. */
export function createDeletionReader({ store }: { readonly store: ObjectStore }): DeletionReader {
  const tasks = createRegistry({ store, kind: "maintenance", parse: (value) => value });
  let before: Removals | undefined;
  return {
    async read({ nowUs, upTo, signal }) {
      const untilMs = performance.now() + CATCH_UP_MS;
      try {
        let removals: Removals;
        do {
          removals = await readRemovals(store, { before, upTo, entriesMax: ENTRIES_MAX, signal });
          before = removals;
        } while (removals.throughVersion < upTo && performance.now() < untilMs);
        if (removals.throughVersion < upTo) return "behind";
        const state = (await tasks.get("retain", { signal }))?.value;
        const daily = state === undefined ? [] : dailyDeletions(state, nowUs);
        return daily === undefined ? undefined : deletionsOf(removals, daily);
      } catch {
        signal.throwIfAborted();
        return undefined; // The report says so, of every host.
      }
    },
  };
}

function deletionsOf(removals: Removals, daily: readonly Deletion[]): Deletions {
  const told = removals.cutoffs.map((set) =>
    set.map(({ beforeMs, ...pattern }) => ({ ...pattern, beforeUs: beforeMs * 1_000 }))
  );
  const days = removals.days.map((day) => Date.parse(day) * 1_000);
  const spans = days.map((fromUs) => ({ fromUs, toUs: fromUs + DAY_MS * 1_000 }));
  return { sets: [daily, ...told], told, spans: joinSpans(spans) };
}

function dailyDeletions(state: unknown, nowUs: number): readonly Deletion[] | undefined {
  // A first run that is at it, or was disturbed, has not said yet by which rules.
  const { settled, doneAtMs } = isRecord(state) ? state : {};
  const atMs = isRecord(settled) ? settled.atMs : undefined;
  if (typeof atMs !== "number" || typeof doneAtMs !== "number") return undefined;
  const lastMs = Math.max(atMs, doneAtMs) + UNTOLD_MS;
  return parseDeletions(settled, Math.min(nowUs, lastMs * 1_000));
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

/** Up to which moment events of a topic, or of one below it, may be gone from a host by any of the sets, µs. */
export function retainedFromUs(
  { sets }: Deletions,
  of: { readonly topic: string; readonly host: string },
): number {
  return Math.max(0, ...sets.map((set) => deletedUntilUs(set, of)));
}

/** Times of which events of a topic may be gone from a host, by time; all of them when that cannot be told. */
export function goneSpans(
  deletions: Deletions | undefined,
  of: { readonly topic: string; readonly host: string },
): readonly Span[] {
  if (deletions === undefined) return [{ fromUs: 0, toUs: Infinity }];
  const retained = { fromUs: 0, toUs: retainedFromUs(deletions, of) };
  return joinSpans([retained, ...deletions.spans]).filter(({ fromUs, toUs }) => fromUs < toUs);
}

/**
 * Of which times what agents said of themselves is not kept any more, by host and time: of these nobody knows whether a
 * host was there, whatever is left says.
 */
export function goneOfAgents(
  deletions: Deletions | undefined,
): (host: string) => readonly Span[] {
  return (host) => goneSpans(deletions, { topic: "agent", host });
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

/** What is asked about: a topic with all below it, and hosts, `*` at the end for all that begin so; undefined for all. */
export interface Wanted {
  readonly topic: string | undefined;
  readonly hosts: readonly string[] | undefined;
}

/** Up to which moment, exclusive, some of what is wanted may be gone by a set of rules; 0 when none of it is, µs. */
export function removableUntilUs(
  deletions: readonly Deletion[],
  { topic, hosts }: Wanted,
): number {
  let untilUs = 0;
  for (const each of deletions) {
    const isAnyHost = each.host === undefined;
    if (!isAnyHost && hosts?.every((host) => !mayBeSame(host, String(each.host))) === true) {
      continue;
    }
    const isWhole = each.topic === undefined ||
      topic !== undefined && isTopicUnder(topic, each.topic);
    if (!isWhole && topic !== undefined && !isTopicUnder(each.topic, topic)) continue;
    untilUs = Math.max(untilUs, each.beforeUs);
    // Rules after it decide on none of what is wanted.
    if (isWhole && isAnyHost) break;
  }
  return untilUs;
}

/** Whether there may be a host that two patterns speak of. */
function mayBeSame(left: string, right: string): boolean {
  const [a, b] = [left, right].map((each) => each.endsWith("*") ? each.slice(0, -1) : undefined);
  if (a !== undefined && b !== undefined) return a.startsWith(b) || b.startsWith(a);
  if (a !== undefined) return right.startsWith(a);
  return b === undefined ? left === right : left.startsWith(b);
}

function isOfHost({ host: wanted }: Deletion, host: string): boolean {
  if (wanted === undefined) return true;
  return wanted.endsWith("*") ? host.startsWith(wanted.slice(0, -1)) : host === wanted;
}
