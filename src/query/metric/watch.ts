/**
 * A metric that goes on: its state at once, and anew whenever there may be more to count.
 *
 * Invariant: a state is computed when it can be taken, so nothing waits for a slow client, and what it gets next is
 * what is true then.
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Condition } from "../filter.ts";
import type { HotTable } from "../hot/table.ts";
import type { Principal } from "../principal.ts";
import {
  type MetricAnswer,
  type MetricReader,
  readMetric,
  type TotalsKept,
  WHOLE_RECORD,
} from "./metric.ts";

export interface MetricState {
  readonly fromUs: number;
  /** When it was computed, µs; what is counted has no end. */
  readonly toUs: number;
  readonly answer: MetricAnswer;
}

export interface WatchParts {
  readonly reader: MetricReader;
  readonly hot: HotTable;
  /** The state is given again after so long without a change. */
  readonly heartbeatMs: number;
  readonly clock: Clock;
}

export interface WatchOptions {
  readonly fromUs: number;
  /** On `topic` and `host` alone. */
  readonly conditions: readonly Condition[];
  readonly principal: Principal;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Between two looks at whether there is more to count, in milliseconds, and by the time that a count took. */
const LOOK_MS = 500;
const REST_RATIO = 10;

export async function* watchMetric(
  { reader, hot, heartbeatMs, clock }: WatchParts,
  { signal, principal, ...request }: WatchOptions,
): AsyncGenerator<MetricState, void> {
  const kept: TotalsKept = new Map();
  const { fromUs } = request;
  let given = "";
  let looked = "";
  let givenMs = -Infinity;
  while (!signal.aborted) {
    const startedMs = performance.now();
    const present = stampOf(hot);
    if (present !== looked || startedMs - givenMs >= heartbeatMs) {
      looked = present;
      const answer = await countAll(reader, { ...request, hot, principal, signal, kept });
      if (answer === undefined) return;
      const state = JSON.stringify([answer.total, answer.missing]);
      if (state !== given || startedMs - givenMs >= heartbeatMs) {
        given = state;
        givenMs = startedMs;
        yield { fromUs, toUs: clock.nowUs(), answer };
      }
    }
    const restMs = (performance.now() - startedMs) * REST_RATIO;
    const pauseMs = Math.min(heartbeatMs, Math.max(LOOK_MS, restMs));
    await Promise.allSettled([clock.sleep(pauseMs, signal)]);
  }
}

/** Undefined when the watch was ended meanwhile. */
async function countAll(
  reader: MetricReader,
  { hot, fromUs, conditions, principal, signal, kept }: WatchOptions & {
    readonly hot: HotTable;
    readonly kept: TotalsKept;
  },
): Promise<MetricAnswer | undefined> {
  using lease = hot.acquire();
  const range = { fromUs, toUs: TIME_MAX_US };
  const request = { ...WHOLE_RECORD, ...range, conditions };
  try {
    return await readMetric(reader, request, { view: lease.view, principal, signal, kept });
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

/** Later than every event, µs: the end of the year 9999, which the database can still tell. */
export const TIME_MAX_US = Date.UTC(10_000, 0, 1) * 1_000;

/** Another one whenever there may be more to count. */
function stampOf(hot: HotTable): string {
  return JSON.stringify([hot.version, hot.generation, [...hot.progress()], hot.missing()]);
}
