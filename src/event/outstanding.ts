/**
 * What an epoch's record still lacks, as the acceptance state keeps it: where batches lie that came ahead of a hole, and
 * which batches were given up for their sender though they may still come.
 *
 * Invariant: both lists are functions of the messages alone, and neither grows with the number of batches but with the
 * number of holes.
 */
import { type BatchHeader, UNKNOWN_DIGEST } from "./wire.ts";

/** Where in one incarnation of the stream batches lie that came ahead of a hole. */
export interface AheadRange {
  readonly incarnation: string;
  /** Sequences of the first and the last of these messages. */
  readonly first: number;
  readonly last: number;
  /** When the broker stored the last one, µs since the Unix epoch. */
  readonly lastUs: number;
  /** The highest number among them. */
  readonly highest: number;
}

/** Batches in a row that the roll-up gave up; those that came meanwhile are taken out. */
export interface GivenUpRange {
  readonly first: number;
  readonly last: number;
  /** Digest of the last one; {@link UNKNOWN_DIGEST} when nobody knows it. */
  readonly digest: string;
}

/** Ranges of that many incarnations are kept, the newest. */
export const AHEAD_RANGES_MAX = 8;

export function withAhead(
  ranges: readonly AheadRange[] = [],
  came: Pick<AheadRange, "incarnation" | "lastUs"> & {
    readonly sequence: number;
    readonly number: number;
  },
): readonly AheadRange[] {
  const { incarnation, sequence, lastUs, number } = came;
  const known = ranges.find((each) => each.incarnation === incarnation);
  const range = {
    incarnation,
    first: known?.first ?? sequence,
    last: sequence,
    lastUs,
    highest: Math.max(number, known?.highest ?? 0),
  };
  return [...ranges.filter((each) => each !== known), range].slice(-AHEAD_RANGES_MAX);
}

/** Without what is no longer ahead once all up to a number is accepted. */
export function stillAhead(
  ranges: readonly AheadRange[] = [],
  accepted: number,
): readonly AheadRange[] {
  return ranges.filter(({ highest }) => highest > accepted);
}

/** Adds the batch after all that were given up or accepted before. */
export function withGivenUp(
  ranges: readonly GivenUpRange[] = [],
  { number, digest }: Pick<BatchHeader, "number" | "digest">,
): readonly GivenUpRange[] {
  const last = ranges.at(-1);
  const isNext = last?.last === number - 1 && last.digest === UNKNOWN_DIGEST;
  return isNext
    ? [...ranges.slice(0, -1), { ...last, last: number, digest }]
    : [...ranges, { first: number, last: number, digest }];
}

/** With the digest of the batch before an accepted one, where it was given up by its number alone. */
export function withNamed(
  ranges: readonly GivenUpRange[] = [],
  { number, previous }: Pick<BatchHeader, "number" | "previous">,
): readonly GivenUpRange[] {
  return ranges.map((range) =>
    range.last === number - 1 && range.digest === UNKNOWN_DIGEST && previous !== undefined
      ? { ...range, digest: previous }
      : range
  );
}

/** The digest of a batch that was given up, perhaps unknown; undefined when it was not. */
export function givenUpDigest(
  ranges: readonly GivenUpRange[] = [],
  number: number,
): string | undefined {
  const range = ranges.find(({ first, last }) => first <= number && number <= last);
  if (range === undefined) return undefined;
  return number === range.last ? range.digest : UNKNOWN_DIGEST;
}

/** Without a batch that came after all. */
export function withoutGivenUp(
  ranges: readonly GivenUpRange[] = [],
  number: number,
): readonly GivenUpRange[] {
  return ranges.flatMap((range) => {
    const { first, last } = range;
    if (number < first || number > last) return [range];
    return [
      ...(first < number ? [{ first, last: number - 1, digest: UNKNOWN_DIGEST }] : []),
      ...(number < last ? [{ ...range, first: number + 1 }] : []),
    ];
  });
}
