/**
 * The kernel's counters, kept apart by class (kind of record) and CPU.
 *
 * Invariant: per class and CPU, attempted is the sum of the outcomes; what is being decided at the moment of reading is
 * the only difference there may be.
 */
import { COUNTERS, KIND, RECORD_CLASSES } from "./record-layout.ts";
import type { SourceCounters } from "./source.ts";

type CounterName = typeof COUNTERS[number];

/** Counters of one class on one CPU. */
export interface ClassCounters extends Readonly<Record<CounterName, number>> {
  /** Place of the kind of record in its family. */
  readonly place: number;
  readonly cpu: number;
}

/** Hooks that one CPU may be inside of at the same time: of a process, and of the interrupts that interrupted it. */
export const IN_FLIGHT_MAX = 8;

/** First kind of each family; two families may give records of the same kinds. */
const FAMILY_KINDS: Readonly<Record<string, number>> = {
  process: 0,
  network: 16,
  flow: 16,
  file: 32,
  integrity: 48,
  control: 80,
  crypto: 96,
};

/** Name of a class, as configuration and events spell it: `exec`, `file_open`. */
export function classNameOf(family: string, place: number): string {
  const kind = (FAMILY_KINDS[family] ?? -RECORD_CLASSES) + place;
  const name = Object.entries(KIND).find(([, value]) => value === kind)?.[0];
  return name === undefined ? `class_${place}` : nameOfKind(name);
}

/** `file_open` for `fileOpen`. */
export function nameOfKind(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The place of a kind in a family; undefined when the family does not give such records. */
export function placeOfKind(family: string, kind: number): number | undefined {
  const place = kind - (FAMILY_KINDS[family] ?? Infinity);
  return place >= 0 && place < RECORD_CLASSES ? place : undefined;
}

/** Counters of one CPU; programs of an earlier version have fewer. */
export function decodeClassCounters(
  value: DataView,
  { place, cpu }: { readonly place: number; readonly cpu: number },
): ClassCounters {
  const [attempted, submitted, ringFull, filtered, throttled, readFault, truncated, ...more] =
    COUNTERS.map((_name, at) =>
      8 * at + 8 <= value.byteLength ? Number(value.getBigUint64(8 * at, true)) : 0
    );
  const [recursion, lostFromNs, lostToNs] = more;
  return {
    place,
    cpu,
    attempted: attempted ?? 0,
    submitted: submitted ?? 0,
    ringFull: ringFull ?? 0,
    filtered: filtered ?? 0,
    throttled: throttled ?? 0,
    readFault: readFault ?? 0,
    truncated: truncated ?? 0,
    recursion: recursion ?? 0,
    lostFromNs: lostFromNs ?? 0,
    lostToNs: lostToNs ?? 0,
  };
}

/** Sums by class and CPU; the times of the latest run of losses win. */
export function addClassCounters(
  left: readonly ClassCounters[],
  right: readonly ClassCounters[],
): readonly ClassCounters[] {
  const sums = new Map<string, ClassCounters>();
  for (const each of [...left, ...right]) {
    const key = `${each.place} ${each.cpu}`;
    const known = sums.get(key);
    sums.set(key, known === undefined ? each : sumOf(known, each));
  }
  return [...sums.values()];
}

function sumOf(left: ClassCounters, right: ClassCounters): ClassCounters {
  return {
    place: left.place,
    cpu: left.cpu,
    attempted: left.attempted + right.attempted,
    submitted: left.submitted + right.submitted,
    ringFull: left.ringFull + right.ringFull,
    filtered: left.filtered + right.filtered,
    throttled: left.throttled + right.throttled,
    readFault: left.readFault + right.readFault,
    truncated: left.truncated + right.truncated,
    recursion: left.recursion + right.recursion,
    lostFromNs: right.lostToNs > left.lostToNs ? right.lostFromNs : left.lostFromNs,
    lostToNs: Math.max(left.lostToNs, right.lostToNs),
  };
}

/** Totals over classes and CPUs; `recursionMisses` are programs that the kernel did not run, which met an event each. */
export function totalCounters(
  classes: readonly ClassCounters[],
  recursionMisses: number,
): SourceCounters {
  const sum = (name: CounterName): number => classes.reduce((total, each) => total + each[name], 0);
  return {
    attempted: sum("attempted") + recursionMisses,
    submitted: sum("submitted"),
    ringFull: sum("ringFull"),
    filtered: sum("filtered"),
    throttled: sum("throttled"),
    readFault: sum("readFault"),
    truncated: sum("truncated"),
    recursion: sum("recursion") + recursionMisses,
  };
}

/** What an event became, of those that were met: everything but `attempted`. */
export function accountedOf(counters: Omit<SourceCounters, "attempted" | "truncated">): number {
  const { submitted, ringFull, filtered, throttled, readFault, recursion = 0 } = counters;
  return submitted + ringFull + filtered + throttled + readFault + recursion;
}
