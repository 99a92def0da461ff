/**
 * A report: tables of what the record tells of a range and hosts, what was not watched, and what of it can be shown.
 *
 * Invariants: the same record, range and hosts give the same report: nothing in it comes from a clock, and every list has
 * an order; a range without an event is called that, and never without what was not watched beside it.
 */
import { formatTime } from "../../event/event.ts";
import type { SqlRow } from "../../storage/duckdb.ts";
import type { Shortfall } from "../coverage/host-coverage.ts";
import type { ToldGap } from "../coverage/told.ts";
import { causeOf } from "../coverage/source-coverage.ts";
import { REPORT_ROWS_MAX } from "../planner/reports.ts";
import type { ReportName } from "./kinds.ts";

export type Cell = string | number | undefined;

export interface TableColumn {
  readonly name: string;
  /** As people read it. */
  readonly title: string;
}

export interface ReportTable {
  readonly name: string;
  readonly title: string;
  readonly columns: readonly TableColumn[];
  /** As many cells as columns. */
  readonly rows: readonly (readonly Cell[])[];
  /** Rows there are; more than are given when the table is cut. */
  readonly total: number;
}

export interface Report {
  readonly name: ReportName;
  readonly title: string;
  readonly fromUs: number;
  readonly toUs: number;
  /** Hosts that the report is about, by name. */
  readonly hosts: readonly string[];
  /** What the token sees. */
  readonly sees: {
    readonly topics: readonly string[] | "all";
    readonly hosts: readonly string[] | "all";
  };
  /** Whether the record, all of which was searched and is seen, has no event of the report's kind in the range. */
  readonly isEmpty: boolean;
  /** Whether no such event is visible, whether or not there may be one. */
  readonly isNothing: boolean;
  /** Whether all hosts were watched all the time, as far as this report goes. */
  readonly isWatched: boolean;
  /** Whether all of it is here: nothing was cut, nothing could not be searched. */
  readonly isWhole: boolean;
  /** Sentences that a reader must know. */
  readonly statements: readonly string[];
  readonly tables: readonly ReportTable[];
  readonly evidence: Evidence;
}

export interface Evidence {
  readonly events: number;
  /** Of the events. */
  readonly archived: number;
  readonly statements: readonly string[];
  /** What cannot be shown. */
  readonly open: readonly string[];
}

/** A shortfall; `deleted`: it may have been watched, and what was seen is gone by now. */
export type Missing = Omit<Shortfall, "cause"> & {
  readonly cause: Shortfall["cause"] | "deleted";
};

const SPAN = [{ name: "from", title: "From" }, { name: "to", title: "To" }] as const;

/** A table of rows with these members, in this order. */
export function tableOf(
  { name, title, columns }: Pick<ReportTable, "name" | "title" | "columns">,
  rows: readonly SqlRow[],
): ReportTable {
  return {
    ...{ name, title },
    columns: columns.map((column) => ({ name: column.name, title: column.title })),
    rows: rows.map((row) => columns.map((column) => cellOf(row[column.name]))),
    total: Number(rows[0]?.["total"] ?? 0),
  };
}

function cellOf(value: SqlRow[string] | undefined): Cell {
  if (value === null || value === undefined) return undefined;
  return typeof value === "number" || typeof value === "string" ? value : JSON.stringify(value);
}

export function shortfallTable(shortfalls: readonly Missing[]): ReportTable {
  const joined = joinedShortfalls(shortfalls);
  return {
    name: "coverage_gaps",
    title: "What was not watched, or not whole",
    columns: [
      { name: "host", title: "Host" },
      ...SPAN,
      { name: "sources", title: "Sources" },
      { name: "state", title: "State" },
      { name: "cause", title: "Cause" },
      { name: "missing", title: "Missing events" },
      { name: "reason", title: "Reason" },
    ],
    rows: joined.slice(0, REPORT_ROWS_MAX).map((each) => [
      each.host,
      formatTime(each.fromUs),
      formatTime(each.toUs),
      each.sources.length === 0 ? "all" : each.sources.join(" "),
      each.state,
      each.cause,
      each.count ?? (each.state === "partial" ? "unknown" : undefined),
      each.reason ?? UNTOLD[each.cause ?? each.state],
    ]),
    total: joined.length,
  };
}

/** What is said where nobody gave a reason. */
const UNTOLD: Readonly<Record<string, string>> = {
  unknown: "no agent of this host was heard of",
  stopped: "the agent was stopped",
  restarted: "the agent was being started anew",
  upgraded: "the agent was being upgraded",
  rebooted: "the host was being started anew",
  silent: "the agent was not heard of",
  off: "the source is off",
};

/** One of several that follow upon each other and differ in nothing, but that not all of them give the reason. */
function joinedShortfalls(shortfalls: readonly Missing[]): readonly Missing[] {
  const joined: Missing[] = [];
  for (const each of shortfalls) {
    const at = joined.findLastIndex((known) => known.toUs === each.fromUs && isSame(known, each));
    const known = joined[at];
    if (known === undefined) joined.push(each);
    else joined[at] = { ...known, toUs: each.toUs, reason: known.reason ?? each.reason };
  }
  return joined;
}

function isSame(left: Missing, right: Missing): boolean {
  const hasReason = left.reason !== undefined && right.reason !== undefined;
  return left.host === right.host && left.state === right.state && left.cause === right.cause &&
    left.sources.join() === right.sources.join() && left.count === undefined &&
    right.count === undefined && !(hasReason && left.reason !== right.reason);
}

/** Losses by host and cause. */
export function lossTable(gaps: readonly ToldGap[]): ReportTable {
  const sums = Map.groupBy(
    gaps,
    (gap) => JSON.stringify([gap.host, causeOf(gap), gap.class]),
  );
  const rows = [...sums].toSorted(([a], [b]) => a < b ? -1 : 1).map(([, of]): Cell[] => {
    const [first] = of;
    const isKnown = of.every(({ count }) => count !== undefined);
    return [
      first?.host,
      first === undefined ? undefined : causeOf(first),
      first?.class,
      of.length,
      isKnown ? of.reduce((sum, { count = 0 }) => sum + count, 0) : "unknown",
      formatTime(of.reduce((least, { fromUs }) => Math.min(least, fromUs), Infinity)),
      formatTime(of.reduce((most, { toUs }) => Math.max(most, toUs), 0)),
    ];
  });
  return {
    name: "losses",
    title: "Losses by cause",
    columns: [
      { name: "host", title: "Host" },
      { name: "cause", title: "Cause" },
      { name: "class", title: "Class" },
      { name: "ranges", title: "Ranges" },
      { name: "missing", title: "Missing events" },
      ...SPAN,
    ],
    rows: rows.slice(0, REPORT_ROWS_MAX),
    total: rows.length,
  };
}

const BATCH_COLUMNS: readonly TableColumn[] = [
  { name: "host", title: "Host" },
  { name: "agent", title: "Agent" },
  { name: "epoch", title: "Epoch" },
  { name: "first_batch", title: "First batch" },
  { name: "last_batch", title: "Last batch" },
  { name: "batches", title: "Batches" },
  { name: "events", title: "Events" },
  { name: "archived", title: "Archived" },
  { name: "archived_to", title: "Archived to batch" },
  { name: "chain", title: "Chain" },
];

/** Batches of the range by epoch; a chain is broken where acceptance told so. */
export function batchTable(rows: readonly SqlRow[], gaps: readonly ToldGap[]): ReportTable {
  const broken = new Set(
    gaps.filter((gap) => causeOf(gap) === "broken" || gap.class === "void")
      .map(({ agent }) => agent),
  );
  return tableOf(
    { name: "batches", title: "Batches that the events came in", columns: BATCH_COLUMNS },
    rows.map((row) => ({
      ...row,
      chain: broken.has(String(row["agent"])) ? "has a gap" : "unbroken",
    })),
  );
}

export function evidenceOf(batches: ReportTable): Evidence {
  const sum = (name: string): number => {
    const place = batches.columns.findIndex((column) => column.name === name);
    return batches.rows.reduce((all, row) => all + Number(row[place] ?? 0), 0);
  };
  const events = sum("events");
  const archived = sum("archived");
  const isCut = batches.total > batches.rows.length;
  return {
    ...{ events, archived },
    statements: [
      `The range has ${events} events that this token sees; ${archived} of them are in the archive, with the messages that brought them.`,
      "Of each agent only batches that continue the digest of the batch before are part of the record; where that does not hold, the record has a gap, which is listed here.",
    ],
    open: [
      ...(events > archived
        ? [`${events - archived} events are not in the archive yet: they are in the log alone.`]
        : []),
      ...(isCut ? ["Not all batches are listed: a shorter range or fewer hosts have them."] : []),
      "Batches are not signed yet, and no signed checkpoint covers them: this report does not show that nobody changed the archive since.",
    ],
  };
}
