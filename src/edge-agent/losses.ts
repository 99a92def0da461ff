/**
 * What a ring has lost, and what of it has been reported.
 *
 * Invariants: totals only grow; each call to collect returns what was added since the call before. What has been
 * reported travels with ring positions into the spool, and on release into a pinned map, so that a process that starts
 * again neither forgets a loss nor reports it twice. Where of it something was lost (class, CPU, moment) is told as far as
 * this process has seen it happen.
 */
import type { BootClock } from "./boot-clock.ts";
import { type ClassCounters, classNameOf } from "./class-counters.ts";
import type { LossTotals, PinnedPrograms } from "./pinned-programs.ts";
import { LOSSES } from "./record-layout.ts";
import type { LostOnCpu, SourceLoss } from "./source.ts";

type LossClass = typeof LOSSES[number];
/** Classes that the programs count by class of event and CPU, and the counter of each. */
const COUNTED = {
  ring_full: "ringFull",
  throttled: "throttled",
  read_fault: "readFault",
  recursion: "recursion",
} as const satisfies Readonly<Partial<Record<LossClass, keyof ClassCounters>>>;

const REASONS: Readonly<Record<LossClass, string>> = {
  ring_full: "the ring buffer was full",
  throttled: "a limit was reached, and they were no samples",
  read_fault: "the kernel's objects could not be read",
  recursion: "a program interrupted itself or another one, or the kernel had no memory for it",
  unreadable: "the record made no sense to its reader",
};
/** What probes of a library tell lies in memory of its process. */
const READ_FAULT_OF_PROBES = "what a probe pointed to was not in its process's memory";

function reasonOf(kind: LossClass, family: string): string {
  return kind === "read_fault" && family === "crypto" ? READ_FAULT_OF_PROBES : REASONS[kind];
}

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

export interface LossLedgerOptions {
  readonly programs: PinnedPrograms;
  readonly family: string;
  readonly bootClock: BootClock;
  /** From the spool's newest position of this ring; without it the pinned map is asked. */
  readonly known: LossTotals | undefined;
}

export function createLossLedger(options: LossLedgerOptions): LossLedger {
  const { programs, known } = options;
  let reported = largest(known ?? {}, programs.ledger("reported"));
  // What was lost before this process, and reported, cannot be told apart by class of event and CPU.
  let seen: Seen = { parts: [], atNs: undefined, isWhole: LOSSES.every((kind) => !reported[kind]) };
  const totals = (parts: readonly ClassCounters[]): LossTotals => {
    const counted = Object.fromEntries(
      Object.entries(COUNTED).map((
        [kind, name],
      ) => [kind, parts.reduce((sum, each) => sum + each[name], 0)]),
    );
    const misses = { recursion: programs.recursionMisses() };
    return sum(sum(counted, misses), programs.ledger("carried"));
  };
  return {
    collect: () => {
      const parts = programs.counters();
      const now = totals(parts);
      const added = difference(now, reported);
      reported = largest(now, reported);
      const before = seen;
      seen = { parts, atNs: Number(options.bootClock.nowNs()), isWhole: true };
      return LOSSES.flatMap((kind) => {
        const count = added[kind] ?? 0;
        if (count === 0) return [];
        const where = isCounted(kind) ? whereabouts(kind, { before, parts, options }) : {};
        return [{ class: kind, count, reason: reasonOf(kind, options.family), ...where }];
      });
    },
    reported: () => (Object.values(reported).some((count) => count > 0) ? reported : undefined),
    add: (kind, count) =>
      programs.setLedger("carried", sum(programs.ledger("carried"), { [kind]: count })),
    persist: (losses) =>
      programs.setLedger("reported", largest(losses, programs.ledger("reported"))),
    moveTo: (next) => {
      const now = totals(programs.counters());
      next.setLedger("carried", sum(next.ledger("carried"), difference(now, reported)));
      reported = largest(now, reported);
      programs.setLedger("reported", reported);
    },
  };
}

/** Counters at the last look, and when that was. */
interface Seen {
  readonly parts: readonly ClassCounters[];
  /** Boot time, ns; undefined before the first look. */
  readonly atNs: number | undefined;
  /** Whether what is not in `parts` was not reported either. */
  readonly isWhole: boolean;
}

function isCounted(kind: LossClass): kind is keyof typeof COUNTED {
  return kind in COUNTED;
}

/** On which CPUs, of which classes, and when something was lost since the last look. */
function whereabouts(
  kind: keyof typeof COUNTED,
  { before, parts, options }: {
    readonly before: Seen;
    readonly parts: readonly ClassCounters[];
    readonly options: LossLedgerOptions;
  },
): Pick<SourceLoss, "classes" | "cpus" | "fromUs" | "toUs"> {
  if (!before.isWhole) return {};
  const counter = COUNTED[kind];
  const classes = new Map<string, number>();
  const cpus = new Map<number, number>();
  let [fromNs, toNs] = [Infinity, -Infinity];
  for (const part of parts) {
    const last = before.parts.find(({ place, cpu }) => place === part.place && cpu === part.cpu);
    const count = part[counter] - (last?.[counter] ?? 0);
    if (count <= 0) continue;
    const name = classNameOf(options.family, part.place);
    classes.set(name, (classes.get(name) ?? 0) + count);
    cpus.set(part.cpu, (cpus.get(part.cpu) ?? 0) + count);
    fromNs = Math.min(fromNs, part.lostFromNs);
    toNs = Math.max(toNs, part.lostToNs);
  }
  if (classes.size === 0) return {};
  return {
    classes: Object.fromEntries(classes),
    cpus: [...cpus].map(([cpu, count]): LostOnCpu => ({ cpu, count })),
    ...boundsOf({ before, fromNs, toNs, bootClock: options.bootClock }),
  };
}

/** A run of losses that was there at the last look goes on from then; at the first look there may have been others. */
function boundsOf(
  { before, fromNs, toNs, bootClock }: {
    readonly before: Seen;
    readonly fromNs: number;
    readonly toNs: number;
    readonly bootClock: BootClock;
  },
): Pick<SourceLoss, "fromUs" | "toUs"> {
  if (toNs <= 0) return {};
  const toUs = wallUs(bootClock, toNs);
  if (before.atNs === undefined) return { toUs };
  return { fromUs: wallUs(bootClock, Math.min(toNs, Math.max(before.atNs, fromNs))), toUs };
}

function wallUs(bootClock: BootClock, timeNs: number): number {
  return bootClock.wallUs(timeNs % 4294967296, Math.floor(timeNs / 4294967296));
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
