/**
 * What a ring has lost, and what of it has been reported.
 *
 * Invariants: totals only grow; each call to collect returns what was added since the call before. What has been
 * reported travels with ring positions into the spool, and on release into a pinned map, so that a process that starts
 * again neither forgets a loss nor reports it twice.
 */
import type { LossTotals, PinnedPrograms } from "./pinned-programs.ts";
import { LOSSES } from "./record-layout.ts";
import type { SourceLoss } from "./source.ts";

type LossClass = typeof LOSSES[number];

const REASONS: Readonly<Record<LossClass, string>> = {
  ring_full: "the ring buffer was full",
  throttled: "the program's working memory was taken",
  read_fault: "the kernel's objects could not be read",
  recursion: "the program interrupted itself",
  unreadable: "the record made no sense to its reader",
};

export interface LossLedger {
  /** Losses since the last call. */
  collect(): readonly SourceLoss[];
  /** Totals that have been reported; undefined when nothing was. */
  reported(): LossTotals | undefined;
  /** Losses that only the reader knows of. */
  add(kind: LossClass, count: number): void;
  /** Makes durable that these totals have been reported. */
  persist(reported: LossTotals): void;
  /** Hands everything not yet reported over to the programs that come after these. */
  moveTo(next: PinnedPrograms): void;
}

/** `reported` comes from the spool's newest position of this ring; without it the pinned map is asked. */
export function createLossLedger(
  programs: PinnedPrograms,
  known: LossTotals | undefined,
): LossLedger {
  let reported = largest(known ?? {}, programs.ledger("reported"));
  const totals = (): LossTotals => {
    const { ringFull, throttled, readFault } = programs.counters();
    const recursion = programs.recursionMisses();
    return sum(
      { ring_full: ringFull, throttled, read_fault: readFault, recursion },
      programs.ledger("carried"),
    );
  };
  return {
    collect: () => {
      const now = totals();
      const added = difference(now, reported);
      reported = largest(now, reported);
      return LOSSES.flatMap((kind) => {
        const count = added[kind] ?? 0;
        return count > 0 ? [{ class: kind, count, reason: REASONS[kind] }] : [];
      });
    },
    reported: () => (Object.values(reported).some((count) => count > 0) ? reported : undefined),
    add: (kind, count) =>
      programs.setLedger("carried", sum(programs.ledger("carried"), { [kind]: count })),
    persist: (losses) =>
      programs.setLedger("reported", largest(losses, programs.ledger("reported"))),
    moveTo: (next) => {
      const now = totals();
      next.setLedger("carried", sum(next.ledger("carried"), difference(now, reported)));
      reported = largest(now, reported);
      programs.setLedger("reported", reported);
    },
  };
}

function combine(
  left: LossTotals,
  right: LossTotals,
  each: (left: number, right: number) => number,
): LossTotals {
  return Object.fromEntries(
    LOSSES.map((name) => [name, each(left[name] ?? 0, right[name] ?? 0)]),
  );
}

function sum(left: LossTotals, right: LossTotals): LossTotals {
  return combine(left, right, (a, b) => a + b);
}

function difference(left: LossTotals, right: LossTotals): LossTotals {
  return combine(left, right, (a, b) => Math.max(0, a - b));
}

function largest(left: LossTotals, right: LossTotals): LossTotals {
  return combine(left, right, Math.max);
}
