/**
 * Which lines of two texts are equal, by Myers' greedy algorithm (An O(ND) Difference Algorithm and Its Variations,
 * 1986), after equal lines at both ends are taken off.
 *
 * Invariant: time and memory are bounded by the greatest numbers of edits and comparisons; beyond them the middle is
 * replaced as a whole, which is a true script, if not the shortest.
 */

/** Greatest number of edits of a shortest script; its square bounds memory (4 bytes each) and comparisons. */
export const EDITS_MAX = 1_000;

/** A run of lines, by index and count on both sides: equal lines, or those removed and added at this place. */
export interface Run {
  readonly isEqual: boolean;
  readonly beforeAt: number;
  readonly beforeCount: number;
  readonly afterAt: number;
  readonly afterCount: number;
}

/** Most comparisons of lines; only texts of hundreds of thousands of like lines come near. */
const COMPARISONS_MAX = 5_000_000;

/** Runs that cover both texts in order; equal and unequal ones take turns. */
export function editScript(before: readonly string[], after: readonly string[]): Run[] {
  const numbers = new Map<string, number>();
  return numberScript(numbered(before, numbers), numbered(after, numbers));
}

/** Equal lines get equal numbers, so that comparing costs the same for long lines and short ones. */
function numbered(lines: readonly string[], numbers: Map<string, number>): Int32Array {
  return Int32Array.from(lines, (line) => {
    const known = numbers.get(line);
    if (known !== undefined) return known;
    numbers.set(line, numbers.size);
    return numbers.size - 1;
  });
}

function numberScript(before: Int32Array, after: Int32Array): Run[] {
  const head = equalAtHead(before, after);
  const tail = equalAtTail(before, after, head);
  const middle = {
    beforeCount: before.length - head - tail,
    afterCount: after.length - head - tail,
  };
  const pairs = middlePairs(
    before.subarray(head, before.length - tail),
    after.subarray(head, after.length - tail),
  );
  const runs: Run[] = [];
  let [beforeAt, afterAt] = [0, 0];
  const add = (isEqual: boolean, beforeCount: number, afterCount: number): void => {
    if (beforeCount === 0 && afterCount === 0) return;
    runs.push({ isEqual, beforeAt, beforeCount, afterAt, afterCount });
    beforeAt += beforeCount;
    afterAt += afterCount;
  };
  // Equal lines, as stretches; those at the ends among them.
  const stretches = stretchesOf([
    { at: 0, other: 0, count: head },
    ...pairs.map(({ at, other, count }) => ({ at: at + head, other: other + head, count })),
    { at: head + middle.beforeCount, other: head + middle.afterCount, count: tail },
  ]);
  for (const { at, other, count } of stretches) {
    add(false, at - beforeAt, other - afterAt);
    add(true, count, count);
  }
  add(false, before.length - beforeAt, after.length - afterAt);
  return runs;
}

interface Stretch {
  readonly at: number;
  readonly other: number;
  readonly count: number;
}

/** Stretches without empty ones, and neighbours made one. */
function stretchesOf(all: readonly Stretch[]): Stretch[] {
  const joined: Stretch[] = [];
  for (const each of all) {
    if (each.count === 0) continue;
    const last = joined.at(-1);
    if (
      last !== undefined && last.at + last.count === each.at &&
      last.other + last.count === each.other
    ) {
      joined[joined.length - 1] = { ...last, count: last.count + each.count };
    } else joined.push(each);
  }
  return joined;
}

function equalAtHead(before: Int32Array, after: Int32Array): number {
  const most = Math.min(before.length, after.length);
  let count = 0;
  while (count < most && before[count] === after[count]) count += 1;
  return count;
}

function equalAtTail(before: Int32Array, after: Int32Array, head: number): number {
  const most = Math.min(before.length, after.length) - head;
  let count = 0;
  while (count < most && before.at(-1 - count) === after.at(-1 - count)) count += 1;
  return count;
}

/** Stretches of equal lines of a shortest script; none when finding it goes beyond the limits. */
function middlePairs(before: Int32Array, after: Int32Array): Stretch[] {
  if (before.length === 0 || after.length === 0) return [];
  const reach = Math.min(EDITS_MAX, before.length + after.length);
  // Furthest place in `before` on each diagonal; `trace` keeps them for each number of edits.
  const furthest = new Int32Array(2 * reach + 3);
  const trace: Int32Array[] = [];
  let comparisons = 0;
  for (let edits = 0; edits <= reach && comparisons < COMPARISONS_MAX; edits += 1) {
    trace.push(furthest.slice(reach + 1 - edits, reach + 2 + edits));
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const place = reach + 1 + diagonal;
      const isDown = diagonal === -edits ||
        (diagonal !== edits && (furthest[place - 1] ?? 0) < (furthest[place + 1] ?? 0));
      let x = isDown ? furthest[place + 1] ?? 0 : (furthest[place - 1] ?? 0) + 1;
      while (
        x < before.length && x - diagonal < after.length && before[x] === after[x - diagonal]
      ) {
        x += 1;
        comparisons += 1;
      }
      furthest[place] = x;
      if (x >= before.length && x - diagonal >= after.length) {
        return backtrack(trace, { x, y: x - diagonal });
      }
    }
  }
  return [];
}

/** Walks back through the trace of furthest places; gives the equal stretches in order. */
function backtrack(trace: readonly Int32Array[], end: { x: number; y: number }): Stretch[] {
  const found: Stretch[] = [];
  let { x, y } = end;
  for (let edits = trace.length - 1; edits > 0; edits -= 1) {
    // What stood there before this round: index `edits` is diagonal 0.
    const places = trace[edits] ?? new Int32Array();
    const diagonal = x - y;
    const at = (each: number): number => places[each + edits] ?? 0;
    const isDown = diagonal === -edits ||
      (diagonal !== edits && at(diagonal - 1) < at(diagonal + 1));
    const fromX = isDown ? at(diagonal + 1) : at(diagonal - 1);
    const fromY = fromX - (isDown ? diagonal + 1 : diagonal - 1);
    const [startX, startY] = isDown ? [fromX, fromY + 1] : [fromX + 1, fromY];
    if (x > startX) found.push({ at: startX, other: startY, count: x - startX });
    [x, y] = [fromX, fromY];
  }
  if (x > 0) found.push({ at: 0, other: 0, count: x });
  return found.reverse();
}
