/**
 * Plans of the live tail: rows of one stream in its own order, from the hot rows just loaded or from the whole record
 * behind a place. Each row is `<seq> <idx> <parts of JSON>`, so that the place of a row need not be read out of its JSON.
 */
import { WHOLE_MESSAGE } from "../../event/event-id.ts";
import type { Condition } from "../filter.ts";
import type { Principal } from "../principal.ts";
import type { HotRange, ReadView } from "../read-view.ts";
import type { StreamPlace } from "../tail-place.ts";
import type { DataFile } from "../../storage/table.ts";
import { type Binder, createBinder, type Statement } from "./binder.ts";
import { predicatesOf, scopePredicates } from "./predicate.ts";
import { isOnlyOf, mayHold, sequenceRangeOf, timeRangeOf } from "./pruning.ts";
import { sourceOf, TAIL_ROW } from "./rows.ts";

export interface TailRequest {
  readonly conditions: readonly Condition[];
  /** Earliest time of the events wanted, µs; undefined for whatever comes. */
  readonly sinceUs: number | undefined;
}

export interface BacklogStep {
  readonly files: readonly DataFile[];
  readonly statement: Statement;
  /** Last sequence that this step can show; when it gives fewer rows than its limit, it has shown all up to here. */
  readonly upTo: number;
}

/** Rows of data files that one step of a backlog may sort. */
const BACKLOG_ROWS = 250_000;

/** Who asks, and for what. */
export interface Interest {
  readonly request: TailRequest;
  readonly principal: Principal;
}

/** Most interests that are part of a statement: making a plan of many costs more than rows that nobody wants. */
export const INTERESTS_MAX = 8;

/** Rows of freshly loaded messages that some of the interests are about; all rows when those are many. */
export function planLoaded(
  interests: readonly Interest[],
  ranges: readonly HotRange[],
): Statement {
  const binder = createBinder();
  const isAll = interests.length > INTERESTS_MAX;
  const alternatives = isAll ? [] : interests.map(({ request, principal }) => {
    const predicates = tailPredicates(request, principal, binder);
    return predicates.length === 0 ? "true" : `(${predicates.join(" AND ")})`;
  });
  const predicates = isAll ? [] : [`(${alternatives.join(" OR ")})`];
  const source = sourceOf({ hasFiles: false, hot: ranges, detail: "text", predicates }, binder);
  const sql = `SELECT ${TAIL_ROW} AS line FROM (\n${source}\n) ORDER BY seq, idx`;
  return { sql, parameters: binder.parameters };
}

/** The next rows of one stream after a place, at most `limit` of them. */
export function planBacklog(
  request: TailRequest,
  principal: Principal,
  options: {
    readonly view: ReadView;
    readonly incarnation: string;
    readonly after: StreamPlace;
    /** Last sequence wanted. */
    readonly upTo: number;
    readonly limit: number;
  },
): BacklogStep {
  const { view, incarnation, after, limit } = options;
  const { files, upTo } = nextFiles(view.files, options);
  const wanted = files.filter((file) => mayHold(file, request.conditions));
  const hot = view.hot.filter((each) => each.incarnation === incarnation && each.after < upTo);
  const binder = createBinder();
  const sequence = binder.integer(after.sequence);
  const predicates = [
    `incarnation = ${binder.text(incarnation)}`,
    `seq >= ${sequence}`,
    `seq <= ${binder.integer(upTo)}`,
    `(seq > ${sequence} OR idx > ${binder.integer(after.idx)})`,
    ...tailPredicates(request, principal, binder),
  ];
  const hasFiles = wanted.length > 0;
  const source = sourceOf({ hasFiles, hot, detail: "text", predicates }, binder);
  const rows = `SELECT * FROM (\n${source}\n) ORDER BY seq, idx LIMIT ${binder.integer(limit)}`;
  const sql = `SELECT ${TAIL_ROW} AS line FROM (\n${rows}\n) ORDER BY seq, idx`;
  return { files: wanted, statement: { sql, parameters: binder.parameters }, upTo };
}

/** One row with `rows`, `first` and `last`: how many rows lie between two places of a stream, and which. */
export function planBetween(
  request: TailRequest,
  principal: Principal,
  options: {
    readonly view: ReadView;
    readonly incarnation: string;
    readonly after: StreamPlace;
    readonly upTo: StreamPlace;
  },
): { readonly files: readonly DataFile[]; readonly statement: Statement } {
  const { view, incarnation, after, upTo } = options;
  const files = view.files.filter((file) => {
    const range = sequenceRangeOf(file, incarnation);
    return range !== undefined && range.to >= after.sequence && range.from <= upTo.sequence &&
      mayHold(file, request.conditions);
  });
  const hot = view.hot.filter((each) => each.incarnation === incarnation);
  const binder = createBinder();
  const [from, to] = [binder.integer(after.sequence), binder.integer(upTo.sequence)];
  const predicates = [
    `incarnation = ${binder.text(incarnation)}`,
    `(seq > ${from} OR seq = ${from} AND idx > ${binder.integer(after.idx)})`,
    `(seq < ${to} OR seq = ${to} AND idx <= ${binder.integer(upTo.idx)})`,
    ...tailPredicates(request, principal, binder),
  ];
  const source = sourceOf({ hasFiles: files.length > 0, hot, detail: "text", predicates }, binder);
  const place = `lpad(seq::VARCHAR, 16, '0') || '-' || lpad(idx::VARCHAR, 9, '0')`;
  const sql = `SELECT count(*) AS rows, min(${place}) AS first, max(${place}) AS last ` +
    `FROM (\n${source}\n)`;
  return { files, statement: { sql, parameters: binder.parameters } };
}

/**
 * The last row of every agent's epoch between two places of a stream that are ahead of the commit, as `agent`, `epoch`,
 * `batch`, `seq` and `idx`. For the service's own bookkeeping: the principal is whoever may see all of it.
 */
export function planEpochs(
  principal: Principal,
  options: {
    readonly view: ReadView;
    readonly incarnation: string;
    readonly after: number;
    readonly upTo: StreamPlace;
  },
): { readonly files: readonly DataFile[]; readonly statement: Statement } {
  const { view, incarnation, after, upTo } = options;
  const hot = view.hot.filter((each) => each.incarnation === incarnation);
  const binder = createBinder();
  const to = binder.integer(upTo.sequence);
  const predicates = [
    `seq > ${binder.integer(after)}`,
    `(seq < ${to} OR seq = ${to} AND idx <= ${binder.integer(upTo.idx)})`,
    // A gap carries the number of a batch that need not have been taken.
    `topic <> 'agent/gap'`,
    ...scopePredicates(principal.scopes, binder),
  ];
  const source = sourceOf({ hasFiles: false, hot, detail: "text", predicates }, binder);
  const sql = `SELECT DISTINCT ON (agent, epoch) agent, epoch, batch, seq, idx ` +
    `FROM (\n${source}\n) ORDER BY agent, epoch, seq DESC, idx DESC`;
  return { files: [], statement: { sql, parameters: binder.parameters } };
}

/** The batches at some sequences of a stream, as `agent`, `epoch`, `batch` and `seq`; bookkeeping as well. */
export function planBatchesAt(
  principal: Principal,
  options: {
    readonly view: ReadView;
    readonly incarnation: string;
    readonly sequences: readonly number[];
  },
): { readonly files: readonly DataFile[]; readonly statement: Statement } {
  const { view, incarnation, sequences } = options;
  const files = view.files.filter((file) => {
    const range = sequenceRangeOf(file, incarnation);
    return range !== undefined && sequences.some((at) => range.from <= at && at <= range.to);
  });
  const hot = view.hot.filter((each) => each.incarnation === incarnation);
  const binder = createBinder();
  const wanted = sequences.map((sequence) => binder.integer(sequence)).join(", ");
  const predicates = [
    `incarnation = ${binder.text(incarnation)}`,
    `seq IN (${wanted})`,
    ...scopePredicates(principal.scopes, binder),
  ];
  const hasFiles = files.length > 0;
  const source = sourceOf({ hasFiles, hot, detail: "text", predicates }, binder);
  const sql = `SELECT DISTINCT agent, epoch, batch, seq FROM (\n${source}\n)`;
  return { files, statement: { sql, parameters: binder.parameters } };
}

/** Where a stream's part of a backlog begins. */
export interface StartsRequest {
  /** Streams whose place is known already. */
  readonly except: readonly string[];
  /** Events that happened, or that were logged, at or after a time, µs. */
  readonly since: { readonly column: "time" | "logged_at"; readonly fromUs: number };
}

/** Rows with `incarnation` and `first`, a sequence, in the order in which the streams began. */
export function planStarts(
  { except, since }: StartsRequest,
  principal: Principal,
  view: ReadView,
): { readonly files: readonly DataFile[]; readonly statement: Statement } {
  const { column, fromUs } = since;
  const files = view.files.filter((file) =>
    !except.some((each) => isOnlyOf(file, each)) &&
    timeRangeOf(file, column).to >= fromUs
  );
  const binder = createBinder();
  const predicates = [
    `"${column}" >= ${binder.time(fromUs)}`,
    ...except.map((each) => `incarnation <> ${binder.text(each)}`),
    ...scopePredicates(principal.scopes, binder),
  ];
  const { hot } = view;
  const source = sourceOf({ hasFiles: files.length > 0, hot, detail: "text", predicates }, binder);
  const sql = `SELECT incarnation, min(seq) AS first FROM (\n${source}\n) ` +
    `GROUP BY incarnation ORDER BY min(logged_at), incarnation`;
  return { files, statement: { sql, parameters: binder.parameters } };
}

function tailPredicates(
  { conditions, sinceUs }: TailRequest,
  { scopes }: Principal,
  binder: Binder,
): string[] {
  return [
    ...(sinceUs === undefined ? [] : [`"time" >= ${binder.time(sinceUs)}`]),
    ...scopePredicates(scopes, binder),
    ...predicatesOf(conditions, binder),
  ];
}

/** The files with the next sequences, as many as can be sorted in one go, and how far they reach. */
function nextFiles(
  files: readonly DataFile[],
  { incarnation, after, upTo }: {
    readonly incarnation: string;
    readonly after: StreamPlace;
    readonly upTo: number;
  },
): { readonly files: readonly DataFile[]; readonly upTo: number } {
  const first = after.idx === WHOLE_MESSAGE ? after.sequence + 1 : after.sequence;
  const ranged = files.flatMap((file) => {
    const range = sequenceRangeOf(file, incarnation);
    return range === undefined || range.to < first || range.from > upTo ? [] : [{ file, range }];
  }).toSorted((a, b) => a.range.from - b.range.from);
  let rows = 0;
  let count = 0;
  while (count < ranged.length && (count === 0 || rows < BACKLOG_ROWS)) {
    rows += ranged[count]?.file.rows ?? 0;
    count += 1;
  }
  let end = upTo;
  // Files that begin at one sequence go together.
  for (; count < ranged.length; count++) {
    const next = ranged[count]?.range.from ?? upTo + 1;
    end = next - 1;
    if (end >= first && next !== ranged[count - 1]?.range.from) break;
    end = upTo;
  }
  return { files: ranged.slice(0, count).map(({ file }) => file), upTo: end };
}
