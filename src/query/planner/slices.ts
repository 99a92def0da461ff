/**
 * Slices: a time range cut so that each part needs few files. A page of the newest events then opens the newest
 * files only, and an endless answer streams in order without sorting everything first.
 *
 * Invariant: slices follow each other without a seam in the order of the answer, and each names every file that can
 * hold a row of its range.
 */
import type { DataFile } from "../../storage/table.ts";
import { rowsWithin, timeRangeOf } from "./pruning.ts";

export interface Slice {
  /** Inclusive, µs. */
  readonly fromUs: number;
  /** Exclusive, µs. */
  readonly toUs: number;
  readonly files: readonly DataFile[];
}

export interface SliceOptions {
  readonly fromUs: number;
  readonly toUs: number;
  readonly order: "asc" | "desc";
  /** Files and rows at which a slice is large enough. */
  readonly filesMax: number;
  readonly rowsMax: number;
  /** How much larger each slice may be than the one before. */
  readonly growth: number;
  /** A slice of about more rows, whose files are large, is cut into even parts of its time; never when undefined. */
  readonly partRows?: number;
}

/** Cuts `fromUs` to `toUs`; one slice without files when there is nothing to cut. */
export function sliceByTime(files: readonly DataFile[], options: SliceOptions): Slice[] {
  const slices = sliceByFiles(files, options);
  const { partRows } = options;
  return partRows === undefined
    ? slices
    : slices.flatMap((slice) => partsOf(slice, { partRows, order: options.order }));
}

function sliceByFiles(files: readonly DataFile[], options: SliceOptions): Slice[] {
  const { fromUs, toUs, order } = options;
  const isAscending = order === "asc";
  const ranged = files.map((file) => ({ file, range: timeRangeOf(file) }))
    .filter(({ range }) => range.to >= fromUs && range.from < toUs);
  const edgeOf = ({ range }: typeof ranged[number]): number =>
    isAscending ? Math.max(range.from, fromUs) : -Math.min(range.to, toUs - 1);
  const waiting = ranged.toSorted((a, b) => edgeOf(a) - edgeOf(b));
  const slices: Slice[] = [];
  let start = isAscending ? fromUs : toUs;
  let { filesMax, rowsMax } = options;
  for (let at = 0; at < waiting.length;) {
    let rows = 0;
    const first = at;
    let end = start;
    do {
      rows += waiting[at]?.file.rows ?? 0;
      at += 1;
      const next = waiting[at];
      if (next === undefined) end = isAscending ? toUs : fromUs;
      else end = isAscending ? edgeOf(next) : -edgeOf(next) + 1;
    } while (at < waiting.length && (end === start || (at - first < filesMax && rows < rowsMax)));
    const [from, to] = isAscending ? [start, end] : [end, start];
    slices.push({
      fromUs: from,
      toUs: to,
      files: ranged.filter(({ range }) => range.to >= from && range.from < to)
        .map(({ file }) => file),
    });
    start = end;
    filesMax *= options.growth;
    rowsMax *= options.growth;
  }
  return slices.length === 0 ? [{ fromUs, toUs, files: [] }] : slices;
}

/** The two halves of a slice's time, in order; none of one that has no time to share. */
export function halvesOf(slice: Slice, order: "asc" | "desc"): readonly Slice[] {
  const parts = evenParts(slice, { count: 2, ...filledRange(slice), order });
  return parts.length === 2 ? parts : [];
}

/**
 * Even parts of a slice, in order. The rows of a file are taken to lie evenly in its time: a part that has many more of
 * them only takes longer to sort.
 */
function partsOf(
  slice: Slice,
  { partRows, order }: { readonly partRows: number; readonly order: "asc" | "desc" },
): readonly Slice[] {
  const filled = filledRange(slice);
  const count = Math.ceil(rowsWithin(slice.files, filled) / partRows);
  return evenParts(slice, { count, ...filled, order });
}

/** Where the files of a slice have rows; all of its time when it has none. */
function filledRange({ files, fromUs, toUs }: Slice): { fromUs: number; toUs: number } {
  if (files.length === 0) return { fromUs, toUs };
  const ranges = files.map((file) => timeRangeOf(file));
  return {
    fromUs: Math.max(fromUs, Math.min(...ranges.map(({ from }) => from))),
    toUs: Math.min(toUs, Math.max(...ranges.map(({ to }) => to)) + 1),
  };
}

function evenParts(
  slice: Slice,
  { count: wanted, fromUs, toUs, order }: {
    readonly count: number;
    readonly fromUs: number;
    readonly toUs: number;
    readonly order: "asc" | "desc";
  },
): readonly Slice[] {
  const count = Math.min(wanted, toUs - fromUs);
  if (!(count > 1 && Number.isFinite(fromUs) && Number.isFinite(toUs))) return [slice];
  const ranged = slice.files.map((file) => ({ file, range: timeRangeOf(file) }));
  const edges = Array.from(
    { length: count + 1 },
    (_, place) => fromUs + Math.round((toUs - fromUs) * place / count),
  );
  edges[0] = slice.fromUs;
  edges[count] = slice.toUs;
  const parts = edges.slice(1).map((to, place) => {
    const from = edges[place] ?? slice.fromUs;
    const files = ranged.filter(({ range }) => range.to >= from && range.from < to)
      .map(({ file }) => file);
    return { fromUs: from, toUs: to, files };
  });
  return order === "asc" ? parts : parts.toReversed();
}
