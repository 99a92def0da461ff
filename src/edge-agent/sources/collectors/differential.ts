/**
 * Comparing what is there with what was there at the last look, and looking again at intervals. Pure, but for the waiting.
 *
 * Invariant: what is remembered is exactly the last snapshot that was told of, below the prefix; the very first one is
 * remembered and not told.
 */
import type { AuditEvent } from "../../../event/event.ts";
import type { Clock } from "../../../runtime/clock.ts";
import { type Collection, EVENTS_MAX, type Memory } from "./collector.ts";

/** One thing that differs: new when nothing was before, gone when nothing is now. */
export interface Difference {
  /** Without the prefix. */
  readonly key: string;
  readonly before: string | undefined;
  readonly now: string | undefined;
}

export interface CompareOptions {
  readonly memory: Memory;
  /** Sets apart what one collector compares; it does not occur in keys. */
  readonly prefix: string;
  /** All that is there now. */
  readonly snapshot: ReadonlyMap<string, string>;
  /** Events of one difference. */
  readonly tell: (difference: Difference) => readonly AuditEvent[];
}

/** Says that there was a first look; its key is no thing's. */
const LOOKED = "looked:";

/** What to tell and remember; nothing when nothing differs. */
export function* compare(options: CompareOptions): Generator<Collection> {
  const { memory, prefix, snapshot, tell } = options;
  const isBaseline = memory.get(LOOKED + prefix) === undefined;
  const before = memory.entries(prefix);
  const differences = differencesBetween(before, { prefix, snapshot });
  if (isBaseline) {
    const put = new Map(differences.map(({ key, now = "" }) => [prefix + key, now]));
    yield { events: [], put: put.set(LOOKED + prefix, "1") };
    return;
  }
  let [events, put, forget]: [AuditEvent[], Map<string, string>, string[]] = [[], new Map(), []];
  for (const difference of differences) {
    events.push(...tell(difference));
    const { key, now } = difference;
    if (now === undefined) forget.push(prefix + key);
    else put.set(prefix + key, now);
    if (events.length < EVENTS_MAX / 2) continue;
    yield { events, put, forget };
    [events, put, forget] = [[], new Map(), []];
  }
  if (put.size > 0 || forget.length > 0) yield { events, put, forget };
}

/** Whether there was a look at what has this prefix. */
export function hasLooked(memory: Memory, prefix: string): boolean {
  return memory.get(LOOKED + prefix) !== undefined;
}

function differencesBetween(
  before: ReadonlyMap<string, string>,
  { prefix, snapshot }: { readonly prefix: string; readonly snapshot: ReadonlyMap<string, string> },
): readonly Difference[] {
  const changed = [...snapshot].flatMap(([key, now]) => {
    const old = before.get(prefix + key);
    return old === now ? [] : [{ key, before: old, now }];
  });
  const gone = [...before].flatMap(([known, old]) => {
    const key = known.slice(prefix.length);
    return snapshot.has(key) ? [] : [{ key, before: old, now: undefined }];
  });
  return [...changed, ...gone];
}

/** Goes on at once, and then after each interval, until the signal is aborted. */
export async function* atIntervals(
  clock: Clock,
  intervalMs: number,
  signal: AbortSignal,
): AsyncGenerator<void> {
  while (!signal.aborted) {
    yield;
    try {
      await clock.sleep(intervalMs, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
