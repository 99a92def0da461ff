/**
 * `auditMetricGet`: total and averages of a topic's events; `auditMetricTail`: the same as parts, the present state first
 * and then its changes.
 *
 * Averages are Polykey's: over the time from the first to the last event counted (to now if there is one alone), in
 * begun minutes, hours and days, of which there is at least one.
 */
import { type Executor, withinTime } from "../executor.ts";
import {
  type MetricAnswer,
  type MetricReader,
  readMetric,
  type Total,
  WHOLE_RECORD,
} from "../metric/metric.ts";
import { TIME_MAX_US, watchMetric, type WatchParts } from "../metric/watch.ts";
import { timeOfSeek } from "./event-place.ts";
import { reported, type RpcCall, type RpcMethod } from "./method.ts";
import { parseMetricParams, topicsCondition } from "./params.ts";
import { ProblemError } from "../problem.ts";
import type { LiveClients } from "../tail/live-clients.ts";

export interface MetricMethodParts extends WatchParts {
  readonly executor: Executor;
  readonly reader: MetricReader;
  /** Clients that follow. */
  readonly clients: LiveClients;
}

export function auditMetricGet(parts: MetricMethodParts): RpcMethod {
  return {
    isEndless: () => false,
    async run(call) {
      const { principal, time } = call;
      const { topic, seek, seekEnd } = parseMetricParams(call.params, time);
      const sent = { rows: 0 };
      const read = async (signal: AbortSignal): Promise<MetricAnswer> => {
        using lease = parts.hot.acquire();
        const { view } = lease;
        const asker = { ...parts, view, principal, signal };
        const fromUs = await timeOfSeek("seek", seek, asker) ?? 0;
        const toUs = await timeOfSeek("seekEnd", seekEnd, asker) ?? TIME_MAX_US;
        const conditions = topicsCondition(topic === undefined ? undefined : [topic]);
        const request = { ...WHOLE_RECORD, fromUs, toUs, conditions };
        const answer = await readMetric(parts.reader, request, { view, principal, signal });
        sent.rows = 1;
        return answer;
      };
      const answer = await reported(call, sent, () => withinTime(call.signal, read));
      const complete = answer.missing.length === 0;
      return { data: { ...averagesOf(answer.total, time.nowUs), complete } };
    },
  };
}

export function auditMetricTail(parts: MetricMethodParts): RpcMethod {
  return {
    isEndless: () => true,
    async run(call) {
      const { topic, seek, seekEnd } = parseMetricParams(call.params, call.time);
      if (seekEnd !== undefined) {
        throw new ProblemError(400, "A metric that goes on has no end", {
          parameter: "seekEnd",
          accepted: "path and seek",
        });
      }
      const fromUs = await beginOf(seek, call, parts) ?? 0;
      const conditions = topicsCondition(topic === undefined ? undefined : [topic]);
      const end = parts.clients.admit(call.principal);
      const sent = { rows: 0 };
      const give = async (): Promise<void> => {
        for await (const state of watchMetric(parts, { fromUs, conditions, ...call })) {
          const { answer: { total, missing }, toUs } = state;
          const data = { ...averagesOf(total, toUs), complete: missing.length === 0 };
          await call.part("auditMetric", `"data":${JSON.stringify(data)}`);
          sent.rows += 1;
        }
      };
      call.report();
      try {
        await reported(call, sent, give);
        return { states: sent.rows };
      } finally {
        end();
      }
    },
  };
}

async function beginOf(
  seek: Parameters<typeof timeOfSeek>[1],
  { principal, signal }: RpcCall,
  parts: MetricMethodParts,
): Promise<number | undefined> {
  using lease = parts.hot.acquire();
  return await timeOfSeek("seek", seek, { ...parts, view: lease.view, principal, signal });
}

const MINUTE_US = 60_000_000;

export function averagesOf(
  { rows, firstUs, lastUs }: Total,
  nowUs: number,
): Readonly<Record<string, number>> {
  const beginUs = firstUs ?? nowUs;
  const endUs = rows === 1 ? Math.max(nowUs, beginUs) : lastUs ?? nowUs;
  const per = (minutes: number): number =>
    rows / Math.max(1, Math.ceil((endUs - beginUs) / (minutes * MINUTE_US)));
  return {
    total: rows,
    averagePerMinute: per(1),
    averagePerHour: per(60),
    averagePerDay: per(1_440),
  };
}
