/**
 * What left the table, by whoever's hand: by retentions, which say up to where they went, and by other tools, of which the
 * log tells the days whose files they took out. Read from the log's entries, which are never deleted, and kept in the
 * bucket so that not all of them are read again.
 *
 * Invariants: an entry is taken into the account before the account passes it; where the account grows beyond its
 * limits it says more is gone than is, never less.
 */
import { COMMIT_DETAIL } from "./delta-actions.ts";
import { PARTITION_COLUMNS } from "./delta-schema.ts";
import { isRecord } from "./json-text.ts";
import { deltaLogKey } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";
import { createRegistry, type Registry } from "./registry.ts";
import { type Cutoffs, latestCutoffs, parseCutoffs, parseRemoval } from "./removal-record.ts";

export interface Removals {
  /** The table's version up to which the log is taken into account; -1 for none. */
  readonly throughVersion: number;
  /** Up to where retentions went; one for each set of rules. */
  readonly cutoffs: readonly Cutoffs[];
  /** UTC days (YYYY-MM-DD) of which another tool took out rows, in order. */
  readonly days: readonly string[];
}

export const NOTHING_REMOVED: Removals = { throughVersion: -1, cutoffs: [], days: [] };

/** Sets of rules, and days, that are told apart; of more all rows before the latest count as gone. */
export const RULE_SETS_MAX = 50;
export const DAYS_MAX = 4_000;
const NAME = "removals";
const READS_AT_ONCE = 16;
const DAY_MS = 86_400_000;

interface ReadOptions {
  /** The table's present version. */
  readonly upTo: number;
  /** Entries read at most. */
  readonly entriesMax: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What is gone, from the account in the bucket or from what was read before, whichever has come further, and the entries
 * after it: up to the version, or as far as the entries reach that may be read.
 */
export async function readRemovals(
  store: ObjectStore,
  { before, ...options }: ReadOptions & { readonly before?: Removals | undefined },
): Promise<Removals> {
  const { signal } = options;
  const entry = await registryOf(store).get(NAME, signal === undefined ? {} : { signal });
  const account = entry?.value ?? NOTHING_REMOVED;
  const isFurther = before !== undefined && before.throughVersion > account.throughVersion;
  return await continued(isFurther ? before : account, store, options);
}

/** Takes the next entries of the log into the account. */
export async function noteRemovals(store: ObjectStore, options: ReadOptions): Promise<Removals> {
  const { signal } = options;
  const registry = registryOf(store);
  const known = (await registry.get(NAME, signal === undefined ? {} : { signal }))?.value;
  const before = known ?? NOTHING_REMOVED;
  const noted = await continued(before, store, options);
  if (noted === before) return before;
  await registry.change(
    NAME,
    (standing) => (standing?.throughVersion ?? -1) >= noted.throughVersion ? undefined : noted,
  );
  return noted;
}

async function continued(
  start: Removals,
  store: ObjectStore,
  { upTo, entriesMax, signal }: ReadOptions,
): Promise<Removals> {
  const end = Math.min(upTo, start.throughVersion + entriesMax);
  let removals = start;
  for (let from = start.throughVersion + 1; from <= end; from += READS_AT_ONCE) {
    const count = Math.min(READS_AT_ONCE, end - from + 1);
    const texts = await Promise.all(Array.from({ length: count }, async (_, place) => {
      const found = await store.get(
        deltaLogKey(from + place),
        signal === undefined ? {} : { signal },
      );
      return found === undefined ? undefined : new TextDecoder().decode(found.body);
    }));
    for (const text of texts) removals = withEntry(removals, text);
  }
  return removals;
}

/** The account with the next entry; one that another tool deleted tells nothing. */
export function withEntry(before: Removals, text: string | undefined): Removals {
  const throughVersion = before.throughVersion + 1;
  const { cutoffs, days } = text === undefined ? NOTHING_REMOVED : removedBy(text);
  return {
    throughVersion,
    ...bounded({
      cutoffs: cutoffs.length === 0
        ? before.cutoffs
        : latestCutoffs([...before.cutoffs, ...cutoffs]),
      days: days.length === 0 ? before.days : [...new Set([...before.days, ...days])].toSorted(),
    }),
  };
}

function removedBy(text: string): Pick<Removals, "cutoffs" | "days"> {
  const days: string[] = [];
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const action: unknown = JSON.parse(line);
    if (!isRecord(action)) continue;
    const { commitInfo, remove } = action;
    const detail = isRecord(commitInfo) ? commitInfo[COMMIT_DETAIL] : undefined;
    const maintenance = isRecord(detail) ? detail.maintenance : undefined;
    const record = isRecord(maintenance) ? parseRemoval(maintenance) : undefined;
    if (record !== undefined) return { cutoffs: [record.cutoffs], days: [] };
    if (!isRecord(remove) || remove.dataChange === false) continue;
    const { partitionValues, path } = remove;
    const named = isRecord(partitionValues)
      ? partitionValues[PARTITION_COLUMNS[0] ?? ""]
      : undefined;
    const day = /[0-9]{4}-[0-9]{2}-[0-9]{2}/.exec(String(named ?? path))?.[0];
    if (day !== undefined) days.push(day);
  }
  return { cutoffs: [], days };
}

function bounded({ cutoffs, days }: Pick<Removals, "cutoffs" | "days">) {
  if (cutoffs.length <= RULE_SETS_MAX && days.length <= DAYS_MAX) return { cutoffs, days };
  const ends = [
    ...cutoffs.flatMap((set) => set.map(({ beforeMs }) => beforeMs)),
    ...days.length <= DAYS_MAX ? [] : days.map((day) => Date.parse(day) + DAY_MS),
  ];
  const beforeMs = Math.max(...ends);
  return {
    cutoffs: [[{ pattern: "**", topic: undefined, host: undefined, beforeMs }]],
    days: days.length <= DAYS_MAX ? days : [],
  };
}

function registryOf(store: ObjectStore): Registry<Removals> {
  return createRegistry({ store, kind: "maintenance", parse: parseAccount });
}

function parseAccount(value: unknown): Removals {
  if (!isRecord(value)) throw new SyntaxError("it is no object");
  const { throughVersion, cutoffs, days } = value;
  if (!Number.isSafeInteger(throughVersion) || !Array.isArray(cutoffs) || !Array.isArray(days)) {
    throw new SyntaxError(`"throughVersion", "cutoffs" or "days" is missing`);
  }
  return {
    throughVersion: Number(throughVersion),
    cutoffs: cutoffs.map((set: unknown) => {
      const pairs = Array.isArray(set)
        ? set.map((each: unknown) => isRecord(each) ? [each.pattern, each.beforeMs] : [])
        : undefined;
      const parsed = pairs === undefined ? undefined : parseCutoffs(Object.fromEntries(pairs));
      if (parsed === undefined) throw new SyntaxError(`"cutoffs" is not whole`);
      return parsed;
    }),
    days: days.map(String),
  };
}
