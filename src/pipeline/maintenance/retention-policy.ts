/**
 * How long rows are kept: rules by topic and host, and which of a file's rows are past their time.
 *
 * A row's age counts from its time or from when the log stored it, whichever is later, and in whole UTC days. It leaves
 * the table once every row of its file is as old, so that no file is read or written again and again.
 *
 * Invariant: what no rule speaks of is kept for ever; what cannot be told from a file's bounds is not past its time.
 */
import { byDecision, type KeepPattern, parseKeepPattern } from "../../storage/keep-pattern.ts";
import { identifierOf, literalOf } from "../../storage/sql-text.ts";
import type { DataFile } from "../../storage/table.ts";

export interface KeepRule extends KeepPattern {
  readonly keepMs: number;
}

const DAY_MS = 86_400_000;
/** Shortest time that anything is kept, in milliseconds: a slip of the pen must not empty the table. */
export const KEEP_MS_MIN = DAY_MS;
export const KEEP_RULES_MAX = 200;
/** Form of a pattern, for messages. */
export const KEEP_PATTERN_FORM =
  'a topic pattern such as "**" or "file/**", with or without a host such as "file/**@web-*"';

/**
 * Reads rules of patterns and milliseconds; the one that decides comes first: the longer topic, then the one with a
 * host, the longer host, the longer time. Throws RangeError that names the pattern.
 */
export function parseKeepRules(keep: Readonly<Record<string, number>>): readonly KeepRule[] {
  const entries = Object.entries(keep);
  if (entries.length > KEEP_RULES_MAX) {
    throw new RangeError(`Cannot use ${entries.length} rules: more than ${KEEP_RULES_MAX}`);
  }
  const rules = entries.map(([pattern, keepMs]): KeepRule => {
    const parsed = parseKeepPattern(pattern);
    if (parsed === undefined) {
      throw new RangeError(
        `Cannot keep ${JSON.stringify(pattern)}: expected ${KEEP_PATTERN_FORM}`,
      );
    }
    if (!(keepMs >= KEEP_MS_MIN)) {
      throw new RangeError(`Cannot keep ${JSON.stringify(pattern)} for less than a day`);
    }
    return { ...parsed, keepMs };
  });
  return rules.toSorted((a, b) => byDecision(a, b) || b.keepMs - a.keepMs);
}

/** Time up to which, exclusive, a rule's rows have gone: the start of a UTC day, or of a trial's. */
export function cutoffMs({ keepMs }: KeepRule, nowMs: number, { dayMs = DAY_MS } = {}): number {
  return Math.floor((nowMs - keepMs) / dayMs) * dayMs;
}

/** When the youngest row of a file was stored or happened; Infinity when the log does not say. */
export function youngestMs(file: DataFile): number {
  const bounds = ["time", "logged_at"].map((name) => {
    if (file.nullCount[name] === file.rows) return -Infinity;
    const bound = file.maximum[name];
    const time = typeof bound === "string" ? Date.parse(bound) : NaN;
    return Number.isNaN(time) ? Infinity : time;
  });
  return file.rows === 0 ? Infinity : Math.max(...bounds);
}

export interface ExpiredFile {
  readonly file: DataFile;
  /** Rules of whose rows all are past their time. */
  readonly due: readonly KeepRule[];
  /** Whether that is every row, whatever the file holds. */
  readonly isWhole: boolean;
}

/** What an earlier run removed: files that it saw, and that lie wholly before its cut-offs, need no second look. */
export interface SettledRun {
  /** When it began, ms since the Unix epoch. */
  readonly atMs: number;
  /** Up to where each rule's rows were removed, by pattern. */
  readonly cutoffs: Readonly<Record<string, number>>;
}

/** Files that were added so shortly before a run may have been added after it, by another machine's clock. */
export const CLOCKS_APART_MS = DAY_MS;

export interface FindExpiredOptions {
  readonly rules: readonly KeepRule[];
  readonly settled: SettledRun | undefined;
  /** When a file became part of the table, by the clock of who added it; Infinity when the log does not say. */
  readonly addedAtMs: (file: DataFile) => number;
  readonly nowMs: number;
  /** A real day by default. */
  readonly dayMs?: number;
}

/** Files that hold, or may hold, rows past their time. */
export function expiredFiles(
  files: Iterable<DataFile>,
  { rules, settled, addedAtMs, nowMs, dayMs = DAY_MS }: FindExpiredOptions,
): ExpiredFile[] {
  const hasRuleForAll = rules.some(({ topic, host }) => topic === undefined && host === undefined);
  const found: ExpiredFile[] = [];
  for (const file of files) {
    const youngest = youngestMs(file);
    const due = rules.filter((rule) => youngest < cutoffMs(rule, nowMs, { dayMs }));
    const isSeen = settled !== undefined && addedAtMs(file) < settled.atMs - CLOCKS_APART_MS &&
      due.every(({ pattern }) => youngest < (settled.cutoffs[pattern] ?? -Infinity));
    if (isSeen || due.length === 0) continue;
    found.push({ file, due, isWhole: hasRuleForAll && due.length === rules.length });
  }
  return found;
}

/** SQL of the rows that stay, when all of the due rules leave. */
export function keptRows(rules: readonly KeepRule[], due: readonly KeepRule[]): string {
  return byRule(rules, { of: (rule) => String(!due.includes(rule)), otherwise: "true" });
}

/** SQL of the rows that happened and were stored before the cut-off of the pattern that decides on them. */
export function rowsBefore(
  cutoffs: readonly (KeepPattern & { readonly beforeMs: number })[],
): string {
  // As with a file's bounds, a time that is not there does not count.
  const youngest = `epoch_us(greatest(${identifierOf("time")}, ${identifierOf("logged_at")}))`;
  return byRule(cutoffs, {
    of: ({ beforeMs }) => `coalesce(${youngest} < ${beforeMs * 1000}, true)`,
    otherwise: "false",
  });
}

/** SQL of what the first pattern that a row has says of it. */
function byRule<T extends KeepPattern>(
  rules: readonly T[],
  { of, otherwise }: { readonly of: (rule: T) => string; readonly otherwise: string },
): string {
  const topic = identifierOf("topic");
  const host = identifierOf("host");
  const cases = rules.map((rule) => {
    const conditions = [
      ...(rule.topic === undefined ? [] : [
        `(${topic} = ${literalOf(rule.topic)} OR starts_with(${topic}, ${
          literalOf(`${rule.topic}/`)
        }))`,
      ]),
      ...(rule.host === undefined ? [] : [
        rule.host.endsWith("*")
          ? `starts_with(${host}, ${literalOf(rule.host.slice(0, -1))})`
          : `${host} = ${literalOf(rule.host)}`,
      ]),
    ];
    const condition = conditions.length === 0 ? "true" : conditions.join(" AND ");
    return `WHEN ${condition} THEN ${of(rule)}`;
  });
  return cases.length === 0 ? otherwise : `(CASE ${cases.join(" ")} ELSE ${otherwise} END)`;
}
