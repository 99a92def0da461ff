/**
 * A metric that goes on: its state at once, and anew whenever there may be more to count.
 *
 * Invariant: a state is computed when it can be taken, so nothing waits for a slow client, and what it gets next is
 * what is true then. A count that has no place now is made later: with many watches, they come one after the other.
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Condition } from "../filter.ts";
import type { HotTable } from "../hot/table.ts";
import type { Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
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
  /** Of metrics that go on; whoever wants one answer does not wait for their counts. */
  readonly liveReader: MetricReader;
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
  { liveReader, hot, heartbeatMs, clock }: WatchParts,
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
      const answer = await countAll(liveReader, { ...request, hot, principal, signal, kept });
      if (answer === undefined) return;
      if ("laterMs" in answer) {
        const laterMs = Math.min(heartbeatMs, answer.laterMs);
        await Promise.allSettled([clock.sleep(laterMs, signal)]);
        continue;
      }
      looked = present;
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

/** A count had no place among others, and has one later perhaps. */
interface NotNow {
  readonly laterMs: number;
}

/** Undefined when the watch was ended meanwhile. */
async function countAll(
  reader: MetricReader,
  { hot, fromUs, conditions, principal, signal, kept }: WatchOptions & {
    readonly hot: HotTable;
    readonly kept: TotalsKept;
  },
): Promise<MetricAnswer | NotNow | undefined> {
  using lease = hot.acquire();
  const range = { fromUs, toUs: TIME_MAX_US };
  const request = { ...WHOLE_RECORD, ...range, conditions };
  try {
    return await readMetric(reader, request, { view: lease.view, principal, signal, kept });
  } catch (error) {
    if (signal.aborted) return undefined;
    const isNotNow = error instanceof ProblemError && [429, 503].includes(error.problem.status);
    if (!isNotNow) throw error;
    return { laterMs: Math.max(LOOK_MS, Number(error.headers["Retry-After"] ?? 0) * 1_000) };
  }
}

/** Later than every event, µs: the end of the year 9999, which the database can still tell. */
export const TIME_MAX_US = Date.UTC(10_000, 0, 1) * 1_000;

/** Another one whenever there may be more to count. */
function stampOf(hot: HotTable): string {
  return JSON.stringify([hot.version, hot.generation, [...hot.progress()], hot.missing()]);
}
