/** A source's counters as events give them: totals, by class of event, and by CPU as far as they fit. Pure. */
import { accountedOf } from "./class-counters.ts";
import { CPUS_MAX } from "./gaps.ts";
import type { CounterPart, SourceCounters } from "./source.ts";

type Figures = Readonly<Record<string, unknown>>;

/** In the columns' spelling; a source that knows no classes has totals alone. */
export function figuresOf(counters: SourceCounters): Figures {
  const { parts = [], unreadable } = counters;
  return {
    ...outcomesOf(counters),
    ...(unreadable === undefined ? {} : { unreadable }),
    ...(parts.length === 0 ? {} : { classes: classFigures(parts), cpus: cpuFigures(parts) }),
  };
}

function outcomesOf(counters: Omit<SourceCounters, "parts" | "unreadable">): Figures {
  return {
    attempted: counters.attempted,
    submitted: counters.submitted,
    ring_full: counters.ringFull,
    filtered: counters.filtered,
    throttled: counters.throttled,
    read_fault: counters.readFault,
    recursion: counters.recursion ?? 0,
    truncated: counters.truncated,
  };
}

function classFigures(parts: readonly CounterPart[]): Figures {
  return Object.fromEntries(
    [...Map.groupBy(parts, ({ kind }) => kind)].map((
      [kind, each],
    ) => [kind, outcomesOf(sum(each))]),
  );
}

/** CPUs that met most, by number; the others are one sum without a number. */
function cpuFigures(parts: readonly CounterPart[]): readonly Figures[] {
  const cpus = [...Map.groupBy(parts, ({ cpu }) => cpu)]
    .map(([cpu, each]) => ({ cpu, each }))
    .toSorted((left, right) => sum(right.each).attempted - sum(left.each).attempted);
  const others = cpus.slice(CPUS_MAX).flatMap(({ each }) => each);
  return [
    ...cpus.slice(0, CPUS_MAX).toSorted((left, right) => left.cpu - right.cpu)
      .map(({ cpu, each }) => ({ cpu, ...briefly(each) })),
    ...(others.length === 0 ? [] : [briefly(others)]),
  ];
}

/** `lost` is all that was met, but neither told nor filtered on purpose. */
function briefly(parts: readonly CounterPart[]): Figures {
  const total = sum(parts);
  const { attempted, submitted, filtered } = total;
  return { attempted, submitted, filtered, lost: accountedOf(total) - submitted - filtered };
}

function sum(parts: readonly CounterPart[]): Omit<SourceCounters, "parts" | "unreadable"> {
  const of = (name: Exclude<keyof CounterPart, "kind" | "cpu">): number =>
    parts.reduce((total, each) => total + (each[name] ?? 0), 0);
  return {
    attempted: of("attempted"),
    submitted: of("submitted"),
    ringFull: of("ringFull"),
    filtered: of("filtered"),
    throttled: of("throttled"),
    readFault: of("readFault"),
    recursion: of("recursion"),
    truncated: of("truncated"),
  };
}
