/**
 * What a collector is: something that looks at a part of the host again and again, remembers what it saw, and tells what
 * changed. Each becomes one source of the agent (collector-source.ts).
 *
 * Invariants: what one yield holds, events and memory, is committed together before the collector is asked to go on; the
 * first look at something is a baseline, never a change; nothing is told that is not remembered, and the reverse.
 */
import type { AuditEvent } from "../../../event/event.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { SourceLoss, SourceStatus } from "../../source.ts";

/** What a collector remembers, as texts by key; a cursor into a log is one like any other. */
export interface Memory {
  get(key: string): string | undefined;
  /** All whose keys begin so, by key in code-point order. */
  entries(prefix?: string): ReadonlyMap<string, string>;
}

/** What a look found: events, and what is to be remembered from now on. */
export interface Collection {
  /** At most {@link EVENTS_MAX}: more go into several collections. */
  readonly events: readonly AuditEvent[];
  readonly put?: ReadonlyMap<string, string>;
  readonly forget?: Iterable<string>;
}

/** Events of one collection, and so of one transaction. */
export const EVENTS_MAX = 10_000;

export interface CollectorContext {
  readonly clock: Clock;
  readonly log: Log;
  /** Tells that something is missing from what is told. */
  readonly lost: (loss: SourceLoss) => void;
}

export interface Collector {
  /** Name of its source and, in the data folder, of its memory: `agent-<name>.db`. Lower-case letters. */
  readonly name: string;
  /** Of its source: see source.ts. */
  readonly spoolPartMax?: number;
  /** Whether it works here; tries for real, leaves nothing behind, never throws for what is missing. */
  probe(): Promise<SourceStatus>;
  /** Of its source: see source.ts. */
  status?(): SourceStatus | undefined;
  /**
   * Looks until the signal is aborted, and ends then without an error. What it throws is an outage of its source, which is
   * told and started again, each time later. What is yielded is on its way before the next is asked for: a collector that
   * is not asked on waits, and reads nothing meanwhile.
   */
  collect(
    memory: Memory,
    context: CollectorContext,
    signal: AbortSignal,
  ): AsyncIterable<Collection>;
}
