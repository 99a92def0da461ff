/**
 * `GET /v1/metrics/{topic}` and its `/tail`: how many events of a topic there are, in all and on average; once, or as it
 * changes. What is sent is a state, not a change, so a client that was away or is slow needs nothing but the next.
 */
import { type } from "arktype";
import { formatTime } from "../../event/event.ts";
import { findColumn } from "../../event/columns.ts";
import { isTopic } from "../../event/topic.ts";
import type { Clock } from "../../runtime/clock.ts";
import { negotiate } from "../accept.ts";
import { JSON_TYPE, jsonResponse, readHeaders, streamedBody } from "../answer.ts";
import { withinTime } from "../executor.ts";
import { type Condition, parseCondition } from "../filter.ts";
import type { HotTable } from "../hot/table.ts";
import { FLAG, NUMBER, TEXT, TIME, WHOLE } from "../json-schema.ts";
import {
  type MetricAnswer,
  type MetricReader,
  readMetric,
  WHOLE_RECORD,
} from "../metric/metric.ts";
import { type MetricState, watchMetric } from "../metric/watch.ts";
import { ProblemError } from "../problem.ts";
import { type Parameters, parseRange, single } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { RANGE_PARAMETERS } from "../schemas.ts";
import type { LiveClients } from "../tail/live-clients.ts";
import { TIME_FORMS, type TimeContext } from "../time-text.ts";

export interface MetricParts {
  readonly reader: MetricReader;
  readonly liveReader: MetricReader;
  readonly hot: HotTable;
  readonly clients: LiveClients;
  /** The state is sent again after so long without a change. */
  readonly heartbeatMs: number;
  readonly clock: Clock;
}

const EVENT_STREAM = "text/event-stream";
const RECONNECT_MS = 1_000;

const TOPIC: RouteParameter = {
  name: "topic",
  text: "A topic with all below it, slashes as they are; * for all events",
  schema: { type: "string" },
  example: "process/exec",
};
const HOST: RouteParameter = {
  name: "host",
  text: "Of these hosts only, in the forms of a search",
  schema: { type: "string" },
};

export function metricRoutes(parts: MetricParts): Route[] {
  // A path with more behind the topic has to come first.
  return [metricTailRoute(parts), metricRoute(parts)];
}

function metricRoute({ reader, hot }: MetricParts): Route {
  return {
    method: "GET",
    path: "/v1/metrics/{topic}",
    summary: "How many events of a topic there are, in all and on average",
    action: "read",
    pathParameters: [TOPIC],
    parameters: [...RANGE_PARAMETERS, HOST],
    answers: { [JSON_TYPE]: METRIC_SCHEMA },
    async handle(call) {
      const range = parseRange(call.parameters, call.time);
      const request = { ...WHOLE_RECORD, ...range, conditions: conditionsOf(call) };
      using lease = hot.acquire();
      const { view } = lease;
      const answer = await withinTime(
        call.signal,
        (signal) => readMetric(reader, request, { view, principal: call.principal, signal }),
      );
      const text = JSON.stringify(metricValue(call.pathValue, { ...range, answer }));
      call.report({ rows: 1, bytes: Buffer.byteLength(text) + 1, parameters: saidOf(call) });
      return jsonResponse(text, readHeaders(answer));
    },
  };
}

function metricTailRoute(parts: MetricParts): Route {
  return {
    method: "GET",
    path: "/v1/metrics/{topic}/tail",
    summary: "The same from a time on, now and whenever it changes",
    action: "read",
    pathParameters: [TOPIC],
    parameters: [{
      name: "from",
      text: `Inclusive: ${TIME_FORMS}. 24 hours ago by default`,
      schema: { type: "string" },
    }, HOST],
    answers: { [EVENT_STREAM]: STATE_SCHEMA },
    problems: [406],
    handle: (call) => metricTail(call, parts),
  };
}

async function metricTail(call: Call, parts: MetricParts): Promise<Response> {
  const { hot, clients } = parts;
  if (call.request.method === "HEAD") {
    throw new ProblemError(405, "A stream has no length to ask for", {
      accepted: "GET",
      headers: { Allow: "GET" },
    });
  }
  negotiate(call.request.headers.get("accept") ?? undefined, [
    { form: "sse", types: [EVENT_STREAM] },
  ]);
  const { fromUs } = parseRange(call.parameters, call.time);
  const states = watchMetric(parts, {
    ...{ fromUs, conditions: conditionsOf(call), principal: call.principal, signal: call.signal },
  });
  const end = clients.admit(call.principal);
  let rows = 0;
  const chunks = async function* (): AsyncGenerator<string> {
    let head = `retry: ${RECONNECT_MS}\n\n`;
    for await (const state of states) {
      rows += 1;
      yield `${head}event: metric\ndata: ${stateText(call.pathValue, state)}\n\n`;
      head = "";
    }
  };
  const parameters = saidOf(call);
  const body = await streamedBody({
    chunks: chunks(),
    onEnd({ bytes, error }) {
      end();
      const outcome = error === undefined ? "success" : "failure";
      call.report({ rows, bytes, parameters, outcome });
    },
  });
  call.report({ parameters });
  const facts = { scan: { files: 0, bytes: 0 }, prunedFiles: 0, missing: hot.missing() };
  return new Response(body, {
    headers: {
      ...readHeaders(facts),
      "Content-Type": `${EVENT_STREAM}; charset=utf-8`,
      "Cache-Control": "no-store, no-transform",
      "X-Accel-Buffering": "no",
    },
  });
}

function stateText(topic: string, { fromUs, toUs, answer }: MetricState): string {
  const value = metricValue(topic, { fromUs, toUs, answer });
  return JSON.stringify({ ...value, complete: answer.missing.length === 0 });
}

/** What is counted: a topic with all below it, or everything. */
export function topicCondition(topic: string): Condition[] {
  if (topic === "*") return [];
  const column = findColumn("topic");
  if (column === undefined || !isTopic(topic)) {
    throw new ProblemError(400, `"${topic.slice(0, 100)}" is not a topic`, {
      parameter: "topic",
      accepted: "segments joined by slashes, such as process/exec, or *",
    });
  }
  return [{ column, isNegated: false, matches: [{ kind: "equal", value: topic }] }];
}

function conditionsOf({ pathValue, parameters, time }: Call): Condition[] {
  return [...topicCondition(pathValue), ...hostConditions(parameters, time)];
}

function hostConditions(parameters: Parameters, time: TimeContext): Condition[] {
  const host = single(parameters, "host");
  return host === undefined ? [] : [parseCondition("host", host, time)];
}

function saidOf({ pathValue, parameters }: Call): Readonly<Record<string, unknown>> {
  const given = [...parameters].map(([name, [value]]) => [name, value] as const);
  return { topic: pathValue, ...Object.fromEntries(given) };
}

const SECOND_US = 1_000_000;

/** Averages are over the whole range, whether or not it holds events everywhere; 0 for a range without length. */
function metricValue(
  topic: string,
  { fromUs, toUs, answer: { total } }: {
    readonly fromUs: number;
    readonly toUs: number;
    readonly answer: MetricAnswer;
  },
): Readonly<Record<string, unknown>> {
  const per = (seconds: number): number =>
    toUs <= fromUs ? 0 : total.rows / ((toUs - fromUs) / (seconds * SECOND_US));
  return {
    topic,
    from: formatTime(fromUs),
    to: formatTime(toUs),
    total: total.rows,
    rate_per_second: per(1),
    average_per_minute: per(60),
    average_per_hour: per(3_600),
    average_per_day: per(86_400),
    first: total.firstUs === undefined ? null : formatTime(total.firstUs),
    last: total.lastUs === undefined ? null : formatTime(total.lastUs),
  };
}

const METRIC = {
  topic: TEXT,
  from: TIME,
  to: TIME,
  total: WHOLE,
  rate_per_second: NUMBER.describe("total over the length of the range"),
  average_per_minute: NUMBER,
  average_per_hour: NUMBER,
  average_per_day: NUMBER,
  first: TIME.or("null").describe("of the events counted"),
  last: TIME.or("null"),
} as const;
const METRIC_SCHEMA = type(METRIC);
const STATE_SCHEMA = type({
  ...METRIC,
  complete: FLAG.describe("whether all of the log was seen"),
});
