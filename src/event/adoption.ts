/**
 * What to publish in the place of a sender that is gone, so that acceptance takes what it left behind a hole: a void for
 * each batch that never came, and the batches that did, in order. Pure.
 *
 * Invariant: acceptance, in the standing the plan was made for, takes every step of it: the voids of a hole end in the
 * digest that the batch after it names.
 */
import type { Standing } from "./acceptance.ts";
import { type BatchHeader, GIVEN_UP, UNKNOWN_DIGEST } from "./wire.ts";

/** So many batches of an epoch may be given up in one plan; a number far off is more likely wrong than right. */
export const GIVEN_UP_MAX = 10_000;

export type AdoptionStep<Kept> =
  | { readonly kind: "void"; readonly header: BatchHeader }
  | { readonly kind: "kept"; readonly batch: Kept };

export interface AdoptionPlan<Kept> {
  readonly steps: readonly AdoptionStep<Kept>[];
  readonly voids: number;
  readonly kept: number;
  /** Why the plan ends before the last batch that was kept; undefined when it does not. */
  readonly ended: string | undefined;
}

/** Plans one epoch. `kept` may hold batches twice, in any order, and such as do not fit. */
export function planAdoption<Kept extends { readonly header: BatchHeader }>(
  standing: Pick<Standing, "number" | "digest">,
  kept: readonly Kept[],
): AdoptionPlan<Kept> {
  const byNumber = Map.groupBy(
    kept.filter(({ header }) => header.number > standing.number),
    ({ header }) => header.number,
  );
  const steps: AdoptionStep<Kept>[] = [];
  let voids = 0;
  let { number: last, digest } = standing;
  const end = (ended: string | undefined): AdoptionPlan<Kept> => ({
    steps,
    voids,
    kept: steps.length - voids,
    ended,
  });
  for (const number of [...byNumber.keys()].sort((a, b) => a - b)) {
    const missing = number - last - 1;
    const fitting = (byNumber.get(number) ?? []).filter(({ header }) =>
      number === 1 || (missing === 0 ? header.previous === digest : header.previous !== undefined)
    );
    const batch = fitting.find(({ header }) => isContinued(header, byNumber.get(number + 1))) ??
      fitting[0];
    if (batch === undefined) return end(`batch ${number} does not continue the one before it`);
    voids += missing;
    if (voids > GIVEN_UP_MAX) {
      voids -= missing;
      return end(`${missing} batches are missing before batch ${number}: too many to give up`);
    }
    for (const header of voidsBefore(batch.header, { number: last, digest })) {
      steps.push({ kind: "void", header });
    }
    steps.push({ kind: "kept", batch });
    ({ digest } = batch.header);
    last = number;
  }
  return end(undefined);
}

function isContinued(
  { digest }: BatchHeader,
  next: readonly { readonly header: BatchHeader }[] | undefined,
): boolean {
  return next?.some(({ header }) => header.previous === digest) === true;
}

function* voidsBefore(
  next: BatchHeader,
  { number: last, digest }: Pick<Standing, "number" | "digest">,
): Iterable<BatchHeader> {
  let previous = last === 0 ? undefined : digest;
  for (let number = last + 1; number < next.number; number++) {
    const isLast = number === next.number - 1;
    const header: BatchHeader = {
      ...next,
      number,
      count: 0,
      lastUs: next.firstUs,
      digest: isLast ? next.previous ?? UNKNOWN_DIGEST : UNKNOWN_DIGEST,
      previous,
      void: GIVEN_UP,
    };
    yield header;
    previous = header.digest;
  }
}
