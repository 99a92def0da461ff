/**
 * Unified diffs, as `diff -u` writes and `patch` reads them, three lines of context around each change.
 *
 * Invariant: a diff is whole or missing; applied to the text before, it gives the text after.
 */
import { editScript, type Run } from "./edit-script.ts";

const CONTEXT_LINES = 3;
const NO_NEWLINE = "\\ No newline at end of file";

export interface DiffNames {
  /** `/dev/null` when the file was not there. */
  readonly before: string;
  readonly after: string;
}

/** One side of a diff: the lines that are compared, and how each is shown (`shown` unless the same). */
export interface DiffSide {
  /** Lines without their newlines. */
  readonly lines: readonly string[];
  /** Whether the last line has no newline; false for an empty text. */
  readonly isCut: boolean;
  show(line: string): string;
}

/** A text as a side of a diff. */
export function diffSide(text: string, show: (line: string) => string = (line) => line): DiffSide {
  if (text === "") return { lines: [], isCut: false, show };
  const lines = text.split("\n");
  const isCut = lines.at(-1) !== "";
  if (!isCut) lines.pop();
  return { lines, isCut, show };
}

export interface DiffOptions {
  readonly names: DiffNames;
  /** Longest diff in bytes of UTF-8. */
  readonly bytesMax: number;
}

/** The diff; "" when nothing differs, undefined when it would be too long. */
export function unifiedDiff(
  before: DiffSide,
  after: DiffSide,
  { names, bytesMax }: DiffOptions,
): string | undefined {
  // A last line without a newline differs from the same line with one.
  const runs = editScript(comparable(before), comparable(after));
  if (runs.every(({ isEqual }) => isEqual)) return "";
  const parts = [`--- ${nameText(names.before)}\n+++ ${nameText(names.after)}\n`];
  let sizeBytes = Buffer.byteLength(parts[0] ?? "");
  for (const hunk of hunksOf(runs)) {
    const text = hunkText(hunk, { before, after, bytesLeft: bytesMax - sizeBytes });
    if (text === undefined) return undefined;
    sizeBytes += Buffer.byteLength(text);
    if (sizeBytes > bytesMax) return undefined;
    parts.push(text);
  }
  return parts.join("");
}

function comparable({ lines, isCut }: DiffSide): readonly string[] {
  if (!isCut) return lines;
  return [...lines.slice(0, -1), `${lines.at(-1) ?? ""}\n`];
}

/** Names end at a tab or newline in the format: these are spelled out. */
function nameText(name: string): string {
  return name.replace(/[\\\n\t\r]/g, (each) => JSON.stringify(each).slice(1, -1));
}

/** Runs with context, in groups that do not overlap. */
function hunksOf(runs: readonly Run[]): Run[][] {
  const hunks: Run[][] = [];
  let hunk: Run[] = [];
  runs.forEach((run, at) => {
    if (!run.isEqual) {
      hunk.push(run);
      return;
    }
    const isFirst = at === 0;
    const isLast = at === runs.length - 1;
    if (!isFirst && !isLast && run.beforeCount <= 2 * CONTEXT_LINES) {
      hunk.push(run);
      return;
    }
    if (!isFirst) {
      hunk.push(cutRun(run, { from: 0, count: CONTEXT_LINES }));
      hunks.push(hunk);
    }
    const count = Math.min(CONTEXT_LINES, run.beforeCount);
    hunk = isLast ? [] : [cutRun(run, { from: run.beforeCount - count, count })];
  });
  if (hunk.some(({ isEqual }) => !isEqual)) hunks.push(hunk);
  return hunks;
}

function cutRun(run: Run, { from, count }: { from: number; count: number }): Run {
  const kept = Math.min(count, run.beforeCount - from);
  return {
    isEqual: true,
    beforeAt: run.beforeAt + from,
    beforeCount: kept,
    afterAt: run.afterAt + from,
    afterCount: kept,
  };
}

interface Lines {
  readonly side: DiffSide;
  readonly at: number;
  readonly count: number;
}

interface HunkSides {
  readonly before: DiffSide;
  readonly after: DiffSide;
  readonly bytesLeft: number;
}

/** The hunk; undefined when it is longer than what is left. */
function hunkText(
  hunk: readonly Run[],
  { before, after, bytesLeft }: HunkSides,
): string | undefined {
  const [first] = hunk;
  if (first === undefined) return "";
  const beforeCount = hunk.reduce((sum, run) => sum + run.beforeCount, 0);
  const afterCount = hunk.reduce((sum, run) => sum + run.afterCount, 0);
  const range = (at: number, count: number): string =>
    `${count === 0 ? at : at + 1}${count === 1 ? "" : `,${count}`}`;
  const lines = [
    `@@ -${range(first.beforeAt, beforeCount)} +${range(first.afterAt, afterCount)} @@`,
  ];
  let length = 0;
  const put = (sign: string, { side, at: from, count }: Lines): void => {
    for (let at = from; at < from + count && length <= bytesLeft; at += 1) {
      const line = `${sign}${side.show(side.lines[at] ?? "")}`;
      length += line.length;
      lines.push(line);
      if (side.isCut && at === side.lines.length - 1) lines.push(NO_NEWLINE);
    }
  };
  for (const run of hunk) {
    const removed = { side: before, at: run.beforeAt, count: run.beforeCount };
    const added = { side: after, at: run.afterAt, count: run.afterCount };
    if (!run.isEqual) put("-", removed);
    put(run.isEqual ? " " : "+", added);
  }
  return length > bytesLeft ? undefined : `${lines.join("\n")}\n`;
}
