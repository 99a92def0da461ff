/**
 * `/v1/sinks`: how far each sink is, what it refused, and a way past what it cannot take. Of events only ids are shown,
 * so that whoever operates the service needs no right to read them.
 */
import { type } from "arktype";
import { formatTime } from "../../event/event.ts";
import { lagOf } from "../../storage/subscription-lag.ts";
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import type { HotTable } from "../hot/table.ts";
import { NUMBER, TEXT, TIME, WHOLE } from "../json-schema.ts";
import { parseSince, refuseBody, single } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import type { KnownSink, Sinks } from "../sinks/sinks.ts";
import { isInTurn } from "../sinks/turn.ts";
import { TIME_FORMS } from "../time-text.ts";

export interface SinkParts {
  readonly sinks: Sinks;
  readonly hot: HotTable;
  readonly nowUs: () => number;
}

const NAME_PARAMETER: RouteParameter = {
  name: "name",
  text: "The sink's name, as the configuration has it",
  schema: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
  example: "siem",
};

const SINK_SCHEMA = type({
  name: TEXT,
  type: TEXT,
  topics: TEXT.array().describe("all when empty"),
  filters: type({ "[string]": "string[]" }),
  state: type("'waiting' | 'running' | 'failing' | 'stopped'").describe(
    "waiting: not begun yet; failing: its last attempt did not succeed; stopped: no process feeds it",
  ),
  "reason?": TEXT.describe("why the last attempt failed"),
  "last_id?": TEXT.describe("id of the last event that it took"),
  "created?": TIME,
  lag: { messages: WHOLE.describe("batches of the log that it has not taken"), seconds: NUMBER },
  delivered: WHOLE,
  retries: WHOLE,
  dead: WHOLE,
  gaps: type({
    from: TEXT.describe("id of the first event that may be gone, or the time to begin with"),
    before: TIME.or("null").describe("what may be gone was logged before; null: not known"),
    count: type("null").describe("nobody knows how many"),
    reason: TEXT,
    time: TIME.describe("when the sink came to it"),
    told: type("boolean").describe("whether its other side has been told"),
  }).array().describe("the newest 20 that it met, the last one last"),
});

const DEAD_SCHEMA = type({ id: TEXT, time: TIME, reason: TEXT });

export function sinkRoutes(parts: SinkParts): readonly Route[] {
  const { sinks } = parts;
  return [
    {
      method: "GET",
      path: "/v1/sinks",
      summary: "Sinks with their places, and how far they are behind",
      action: "operate",
      answers: { [JSON_TYPE]: type({ sinks: SINK_SCHEMA.array() }) },
      async handle({ signal }) {
        const all = await sinks.list(signal);
        return jsonAnswer({ sinks: all.map((each) => described(each, parts)) });
      },
    },
    {
      method: "GET",
      path: "/v1/sinks/{name}",
      summary: "One sink",
      action: "operate",
      pathParameters: [NAME_PARAMETER],
      answers: { [JSON_TYPE]: SINK_SCHEMA },
      handle: async ({ pathValue, signal }) =>
        jsonAnswer(described(await sinks.get(pathValue, signal), parts)),
    },
    skipRoute(parts),
    ...deadLetterRoutes(parts),
  ];
}

function skipRoute(parts: SinkParts): Route {
  return {
    method: "POST",
    path: "/v1/sinks/{name}/skip",
    summary: "Put a sink forward without delivering what lies between",
    action: "administer",
    pathParameters: [NAME_PARAMETER],
    parameters: [{
      name: "to",
      text: `The present by default; ${TIME_FORMS}, or after an event's id`,
      schema: { type: "string", default: "now" },
    }],
    answers: {
      [JSON_TYPE]: type({
        skipped: type("number.integer | null").describe("events left out; null when not known"),
        sink: SINK_SCHEMA,
      }),
    },
    problems: [413],
    async handle(call) {
      await refuseBody(call.request);
      const { pathValue: name, signal } = call;
      const skipped = await parts.sinks.skip(name, targetOf(call), signal);
      call.reportChange({ what: `skipped events of sink "${name}"`, more: { name, skipped } });
      return jsonAnswer({ skipped, sink: described(await parts.sinks.get(name, signal), parts) });
    },
  };
}

function deadLetterRoutes({ sinks }: SinkParts): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/sinks/{name}/dead-letters",
      pathParameters: [NAME_PARAMETER],
      summary: "Events that a sink refused for good, by id",
      action: "operate",
      answers: { [JSON_TYPE]: type({ dead_letters: DEAD_SCHEMA.array() }) },
      async handle({ pathValue, signal }) {
        const letters = await sinks.deadLetters(pathValue, signal);
        return jsonAnswer({
          dead_letters: letters.map(({ id, atUs, reason }) => ({
            ...{ id, reason, time: formatTime(atUs) },
          })),
        });
      },
    },
    {
      method: "DELETE",
      path: "/v1/sinks/{name}/dead-letters",
      pathParameters: [NAME_PARAMETER],
      summary: "Forget what a sink refused; the events stay in the record",
      action: "administer",
      answers: {},
      async handle(call) {
        const { pathValue: name, signal } = call;
        const cleared = await sinks.clear(name, signal);
        call.reportChange({
          what: `cleared the dead letters of sink "${name}"`,
          more: { name, cleared },
        });
        return new Response(null, { status: 204 });
      },
    },
  ];
}

function targetOf({ parameters, time }: Call): Parameters<Sinks["skip"]>[1] {
  const to = single(parameters, "to");
  if (to === undefined || to === "now") return "now";
  return parseSince(new Map([["since", [to]]]), time) ?? "now";
}

function described({ sink, state }: KnownSink, { hot, nowUs }: SinkParts) {
  using lease = hot.acquire();
  const end = { upper: lease.view.upper, nowUs: nowUs() };
  const { lastId, fault, createdUs } = state ?? {};
  return {
    name: sink.name,
    type: sink.target.type,
    topics: sink.topics === "all" ? [] : sink.topics,
    filters: sink.filters,
    state: stateOf(state, end.nowUs),
    ...(fault === undefined ? {} : { reason: fault }),
    ...(lastId === undefined ? {} : { last_id: lastId }),
    ...(createdUs === undefined ? {} : { created: formatTime(createdUs) }),
    lag: state === undefined ? { messages: 0, seconds: 0 } : lagOf(state, end),
    delivered: state?.delivered ?? 0,
    retries: state?.retries ?? 0,
    dead: state?.dead ?? 0,
    gaps: (state?.gaps ?? []).map(({ from, beforeUs, reason, atUs, isTold }) => ({
      ...{ from, before: beforeUs === undefined ? null : formatTime(beforeUs), count: null },
      ...{ reason, time: formatTime(atUs), told: isTold },
    })),
  };
}

function stateOf(state: KnownSink["state"], nowUs: number): string {
  if (state === undefined) return "waiting";
  if (state.fault !== undefined) return "failing";
  return isInTurn(state, nowUs) ? "running" : "stopped";
}
