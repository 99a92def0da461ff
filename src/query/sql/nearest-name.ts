/** Which name was probably meant by one that is not known: the one from which the fewest letters differ. */

/** Longer names are not compared, so that a statement full of them costs little. */
const LENGTH_MAX = 64;

/** Undefined when none is near: at most a third of the letters may differ. */
export function nearestName(name: string, names: Iterable<string>): string | undefined {
  if (name.length > LENGTH_MAX) return undefined;
  const wanted = name.toLowerCase();
  let nearest: string | undefined;
  let least = Math.floor(wanted.length / 3) + 1;
  for (const each of names) {
    if (Math.abs(each.length - wanted.length) >= least) continue;
    const distance = distanceOf(wanted, each);
    if (distance >= least) continue;
    least = distance;
    nearest = each;
  }
  return nearest;
}

/** Letters to be put in, left out, replaced or, of two neighbours, exchanged. */
function distanceOf(left: string, right: string): number {
  let above: number[] = [];
  let row = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      const isSame = left[i - 1] === right[j - 1];
      const least = Math.min(
        (row[j] ?? 0) + 1,
        (next[j - 1] ?? 0) + 1,
        (row[j - 1] ?? 0) + (isSame ? 0 : 1),
      );
      const isExchange = i > 1 && j > 1 && left[i - 1] === right[j - 2] &&
        left[i - 2] === right[j - 1];
      next.push(isExchange ? Math.min(least, (above[j - 2] ?? 0) + 1) : least);
    }
    above = row;
    row = next;
  }
  return row.at(-1) ?? 0;
}
