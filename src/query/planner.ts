/**
 * The planner: from a request, the principal who makes it and a view of the record to the files to read and the SQL to
 * run. Pure, and the only place that builds SQL over events (its parts are in `planner/`).
 *
 * Invariants: nothing is planned without a principal's scopes; values are parameters, never text of SQL; what a page
 * shows depends on the view and the cursor alone, not on what arrives between.
 */
import type { DataFile } from "../storage/table.ts";
import type { Width } from "./connection-pool.ts";
import type { RowPlace } from "./cursor.ts";
import type { EventPlace } from "../event/event-id.ts";
import type { Condition } from "./filter.ts";
import { type Binder, createBinder, type Statement } from "./planner/binder.ts";
import { predicatesOf, scopePredicates } from "./planner/predicate.ts";
import { isOnlyOf, mayHold, rowsWithin, sequenceRangeOf, timeRangeOf } from "./planner/pruning.ts";
import {
  CSV_BYTES,
  CSV_LINE,
  JSON_BYTES,
  JSON_LINE,
  JSON_PARTS,
  sourceOf,
  storedSourceOf,
  withComputed,
} from "./planner/rows.ts";
import { halvesOf, type Slice, sliceByTime, type SliceOptions } from "./planner/slices.ts";
import type { Principal } from "./principal.ts";
import type { HotRange, ReadView } from "./read-view.ts";

export interface TimeRange {
  /** Inclusive, µs. */
  readonly fromUs: number;
  /** Exclusive, µs. */
  readonly toUs: number;
}

/** How rows are written: one text per row, one blob per row that ends its line, or all columns for a file. */
export type RowForm = "json" | "csv" | "json-bytes" | "csv-bytes" | "columns";

export interface EventsRequest extends TimeRange {
  readonly conditions: readonly Condition[];
  readonly order: "asc" | "desc";
  /** At most this many rows; undefined for all. */
  readonly limit: number | undefined;
  /** Continues after this row … */
  readonly after: RowPlace | undefined;
  /** … and reads no further than its first page did. */
  readonly upper: ReadonlyMap<string, number> | undefined;
}

/** Steps are run in order; each needs its own files at hand. */
export interface Step {
  readonly files: readonly DataFile[];
  readonly statement: Statement;
  /** `narrow` when it needs few row groups, and no hot row; whole when it is not said. */
  readonly width?: Width;
  /** Whether its texts are JSON in the parts that {@link JSON_PARTS} makes, still to be joined. */
  readonly isInParts?: boolean;
  /** Two steps that give the same rows in the same order, each in about half the memory; none when it cannot be cut. */
  readonly halves?: () => readonly Step[];
}

export interface Plan {
  readonly steps: readonly Step[];
  /** Files that no step reads. */
  readonly prunedFiles: number;
  /** What of the log the answer could not see, in words. */
  readonly missing: readonly string[];
}

const FORMS: Readonly<Record<RowForm, string>> = {
  json: `${JSON_LINE} AS line`,
  csv: `${CSV_LINE} AS line`,
  "json-bytes": `${JSON_BYTES} AS line`,
  "csv-bytes": `${CSV_BYTES} AS line`,
  columns: "*",
};

/** The first part of a page is small, since most pages end in it. */
export const PAGE_SLICE = { filesMax: 16, rowsMax: 250_000, growth: 4 } as const;
/**
 * Parts of an endless answer: sorted whole, so bounded. A file of a day is read in parts of about half of what it is
 * sorted in (see `sorted-file.ts`): smaller ones unpack the same row groups more often.
 */
const STREAM_SLICE = { filesMax: 256, rowsMax: 250_000, growth: 1, partRows: 320_000 } as const;
/**
 * What one thread answers sooner than two: a page with the row that says whether there is another, and all of an answer
 * if data files have so few rows of its range: two threads took 42 ms of processor time for the 400 of an hour, one 27.
 */
const NARROW = { rowsMax: 1_001, rangeUs: 6 * 3_600_000_000, rangeRowsMax: 50_000 } as const;
/**
 * Most rows whose JSON comes in parts: DuckDB plans whole lines for 2 ms longer, of 11 that an event by its id takes it,
 * and joining the parts of a hundred rows takes 0.2 ms. Where rows are many, DuckDB writes them faster.
 */
const PARTS_ROWS_MAX = 1_001;
/** Everything at once, for what needs no order. */
export const WHOLE = { filesMax: Infinity, rowsMax: Infinity, growth: 1 } as const;

/** Events in order. Steps follow each other in that order; each may give up to `limit` rows. */
export function planEvents(
  request: EventsRequest,
  principal: Principal,
  options: { readonly view: ReadView; readonly form: RowForm },
): Plan {
  const { after, order, limit } = request;
  const { view, form } = options;
  const range = rangeOf(request);
  const slicing = form === "columns" ? WHOLE : limit === undefined ? STREAM_SLICE : PAGE_SLICE;
  const isInParts = form === "json" && limit !== undefined && limit <= PARTS_ROWS_MAX;
  const slices = {
    ...{ view, range, slicing: { ...slicing, order }, isInParts },
    isNarrow: (files: readonly DataFile[]) => isNarrow(request, files),
  };
  return planSlices(request, principal, slices, (part) => {
    const { binder } = part;
    const predicates = after === undefined ? [] : [beyond(after, order, binder)];
    if (limit === undefined) return writtenThenSorted(part.source(predicates), { form, order });
    const stored = part.stored(predicates);
    const bound = `LIMIT ${binder.integer(limit)}`;
    const sorted = `SELECT * FROM (\n${stored}\n) ${orderBy(order)} ${bound}`;
    // Rows are written after the limit was applied, and the order is asked for again since SQL promises none.
    const line = isInParts ? `${JSON_PARTS} AS line` : FORMS[form];
    return `SELECT ${line} FROM (\n${withComputed(sorted)}\n) ${orderBy(order)}`;
  });
}

/** A little of one host and of few hours: data files are sorted by time and, within pieces of it, by host. */
function isNarrow(request: EventsRequest, files: readonly DataFile[]): boolean {
  const { limit, conditions, fromUs, toUs } = request;
  const isOfHost = conditions.some(({ column, isNegated, matches: [match, ...others] }) =>
    column.name === "host" && !isNegated && match?.kind === "equal" && others.length === 0
  );
  if (!isOfHost || toUs - fromUs > NARROW.rangeUs) return false;
  return limit === undefined
    ? rowsWithin(files, request) <= NARROW.rangeRowsMax
    : limit <= NARROW.rowsMax;
}

/**
 * All rows are wanted: they are written before they are sorted, by as many threads as there are and, where a file has
 * few different values of a column, once for each value rather than for each row.
 */
function writtenThenSorted(
  source: string,
  { form, order }: { readonly form: RowForm; readonly order: "asc" | "desc" },
): string {
  if (form === "columns") return `SELECT * FROM (\n${source}\n) ${orderBy(order)}`;
  const written = `SELECT ${ORDER.join(", ")}, ${FORMS[form]} FROM (\n${source}\n)`;
  return `SELECT line FROM (\n${written}\n) ${orderBy(order)}`;
}

/** One row with the column `rows`: how many events match, whatever the request's limit. */
export function planCount(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  const slicing = { ...WHOLE, order: request.order };
  return planSlices(
    request,
    principal,
    { view, range: request, slicing },
    ({ source }) => `SELECT count(*) AS rows FROM (\n${source([])}\n)`,
  );
}

/** At most one row: the event at a place, as JSON. */
export function planEvent(place: EventPlace, principal: Principal, view: ReadView): Plan {
  const { incarnation, sequence, idx } = place;
  const files = view.files.filter((file) => {
    const range = sequenceRangeOf(file, incarnation);
    return range !== undefined && range.from <= sequence && range.to >= sequence;
  });
  const hot = view.hot.filter((each) =>
    each.incarnation === incarnation && each.after < sequence && each.upTo >= sequence
  );
  const binder = createBinder();
  const predicates = [
    `incarnation = ${binder.text(incarnation)}`,
    `seq = ${binder.integer(sequence)}`,
    `idx = ${binder.integer(idx)}`,
    ...scopePredicates(principal.scopes, binder),
  ];
  const stored = storedSourceOf({ hasFiles: files.length > 0, hot, predicates }, binder);
  const sql = `SELECT ${JSON_PARTS} AS line FROM (\n${
    withComputed(`SELECT * FROM (\n${stored}\n) LIMIT 1`)
  }\n)`;
  const isKnown = sequence <= (view.upper.get(incarnation) ?? Infinity);
  return {
    steps: [{
      files,
      statement: { sql, parameters: binder.parameters },
      ...widthOf(hot),
      isInParts: true,
    }],
    prunedFiles: view.files.length - files.length,
    missing: isKnown ? [] : view.missing,
  };
}

/** The hot rows are in the whole database alone. */
function widthOf(hot: readonly HotRange[]): Pick<Step, "width"> {
  return hot.length === 0 ? { width: "narrow" } : {};
}

export interface SlicePlan {
  readonly view: ReadView;
  readonly range: TimeRange;
  readonly slicing: Omit<SliceOptions, "fromUs" | "toUs">;
  /** Whether few row groups are needed of a slice's data files. */
  readonly isNarrow?: (files: readonly DataFile[]) => boolean;
  /** Of each step. */
  readonly isInParts?: boolean;
}

export interface SlicePart {
  readonly binder: Binder;
  /** The rows of this part that match, with further predicates. */
  source(predicates: readonly string[]): string;
  /** The same with the stored columns alone. */
  stored(predicates: readonly string[]): string;
}

/** Writes one statement for the whole range. */
export function planWhole(
  request: EventsRequest,
  { principal, view }: { readonly principal: Principal; readonly view: ReadView },
  write: (part: SlicePart) => string,
): Plan {
  const slicing = { ...WHOLE, order: request.order };
  return planSlices(request, principal, { view, range: request, slicing }, write);
}

/** Writes one statement for each slice of the range; whole when the slicing is {@link WHOLE}. */
export function planSlices(
  request: EventsRequest,
  principal: Principal,
  { view, range, slicing, isNarrow = () => false, isInParts = false }: SlicePlan,
  write: (part: SlicePart) => string,
): Plan {
  const { conditions, upper } = request;
  const wanted = view.files.filter((file) =>
    overlapsTime(file, range) && mayHold(file, conditions) && maySee(file, upper, view)
  );
  const visible = hotOf(view.hot, upper);
  const stepOf = (slice: Slice): Step => {
    const { fromUs, toUs, files } = slice;
    const binder = createBinder();
    const hot = visible.filter(({ firstUs = -Infinity }) => firstUs < toUs);
    const isWhole = hot.length === 0 && files.every((file) => isWithin(file, { fromUs, toUs }));
    const always = [
      ...(isWhole ? [] : [`"time" >= ${binder.time(fromUs)}`, `"time" < ${binder.time(toUs)}`]),
      ...scopePredicates(principal.scopes, binder),
      ...predicatesOf(conditions, binder),
      ...upperPredicates(upper, view, binder),
    ];
    const rows = { hasFiles: files.length > 0, hot };
    const all = (predicates: readonly string[]) => [...always, ...predicates];
    const sql = write({
      binder,
      source: (more) => sourceOf({ ...rows, detail: "text", predicates: all(more) }, binder),
      stored: (more) => storedSourceOf({ ...rows, predicates: all(more) }, binder),
    });
    const statement = { sql, parameters: binder.parameters };
    return {
      files,
      statement,
      ...(isNarrow(files) ? widthOf(hot) : {}),
      ...(isInParts ? { isInParts } : {}),
      ...(slicing.partRows === undefined
        ? {}
        : { halves: () => halvesOf(slice, slicing.order).map(stepOf) }),
    };
  };
  const steps = sliceByTime(wanted, { ...range, ...slicing }).map(stepOf);
  const read = new Set(steps.flatMap(({ files }) => files));
  return { steps, prunedFiles: view.files.length - read.size, missing: view.missing };
}

/** Whether all rows of the file are of the range, so that their times need not be read. */
function isWithin(file: DataFile, { fromUs, toUs }: TimeRange): boolean {
  const range = timeRangeOf(file);
  return range.from >= fromUs && range.to < toUs && file.nullCount["time"] === 0;
}

function overlapsTime(file: DataFile, { fromUs, toUs }: TimeRange): boolean {
  const range = timeRangeOf(file);
  return range.to >= fromUs && range.from < toUs;
}

/** The rows after a page's last one lie on one side of its time. */
export function rangeOf({ fromUs, toUs, after, order }: EventsRequest): TimeRange {
  if (after === undefined) return { fromUs, toUs };
  return order === "asc"
    ? { fromUs: Math.max(fromUs, after.timeUs), toUs }
    : { fromUs, toUs: Math.max(fromUs, Math.min(toUs, after.timeUs + 1)) };
}

const ORDER = [`"time"`, "incarnation", "seq", "idx"];

function orderBy(order: "asc" | "desc"): string {
  return `ORDER BY ${ORDER.map((name) => `${name} ${order.toUpperCase()}`).join(", ")}`;
}

/** Predicate for the rows that follow a place in an order. */
export function beyond(after: RowPlace, order: "asc" | "desc", binder: Binder): string {
  const { timeUs, incarnation, sequence, idx } = after;
  const place = [
    binder.time(timeUs),
    binder.text(incarnation),
    binder.integer(sequence),
    binder.integer(idx),
  ];
  return `(${ORDER.join(", ")}) ${order === "asc" ? ">" : "<"} (${place.join(", ")})`;
}

/** Streams that were not written yet when the first page was read; older ones that ended stay visible. */
function laterStreams(upper: ReadonlyMap<string, number>, view: ReadView): string[] {
  return [...view.upper.keys()].filter((incarnation) => !upper.has(incarnation));
}

function maySee(
  file: DataFile,
  upper: ReadonlyMap<string, number> | undefined,
  view: ReadView,
): boolean {
  if (upper === undefined) return true;
  const isAfter = [...upper].some(([incarnation, last]) =>
    isOnlyOf(file, incarnation) && (sequenceRangeOf(file, incarnation)?.from ?? 0) > last
  );
  return !isAfter && !laterStreams(upper, view).some((incarnation) => isOnlyOf(file, incarnation));
}

function hotOf(
  hot: readonly HotRange[],
  upper: ReadonlyMap<string, number> | undefined,
): readonly HotRange[] {
  if (upper === undefined) return hot;
  return hot.flatMap((range) => {
    const upTo = Math.min(range.upTo, upper.get(range.incarnation) ?? 0);
    return upTo > range.after ? [{ ...range, upTo }] : [];
  });
}

function upperPredicates(
  upper: ReadonlyMap<string, number> | undefined,
  view: ReadView,
  binder: Binder,
): string[] {
  if (upper === undefined) return [];
  const later = laterStreams(upper, view).map((each) => `incarnation <> ${binder.text(each)}`);
  const bounds = [...upper].map(([incarnation, last]) =>
    `(incarnation <> ${binder.text(incarnation)} OR seq <= ${binder.integer(last)})`
  );
  return [...later, ...bounds];
}
