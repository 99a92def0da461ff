/** What `/rpc` is told to be: its methods with what they take, send as parts and answer, as types; and its route. */
import { type } from "arktype";
import { FLAG, NUMBER, schemaOf, TEXT, WHOLE } from "../json-schema.ts";
import type { RpcDescription } from "../openapi-document.ts";
import { ProblemError } from "../problem.ts";
import type { Route } from "../route.ts";
import { EVENT_SCHEMA } from "../schemas.ts";
import { TIME_FORMS } from "../time-text.ts";
import { RPC_PROTOCOL, TOKEN_PROTOCOL } from "./endpoint.ts";
import { PATHS_MAX } from "./params.ts";
import { RPC_PATH } from "./protocol.ts";

const PATH = TEXT.array().describe("segments of a topic, which contains all below it; [] for all");
const SEEK = TEXT.or(NUMBER).describe(`an event's id, ms since 1970, ${TIME_FORMS}`);
const LIVE_SEEK = SEEK.describe(
  `an event's id, ms since 1970, ${TIME_FORMS}; with awaitFutureEvents also a place to go on after`,
);
const AVERAGES = type({
  total: WHOLE,
  averagePerMinute: NUMBER.describe("over begun minutes from the first event to the last"),
  averagePerHour: NUMBER,
  averagePerDay: NUMBER,
  complete: FLAG.describe("false when part of the log could not be seen"),
});
const CALL = TEXT.or(NUMBER).or("null").describe("id of the call that it belongs to");

const EVENT_EXAMPLE = {
  ...{ call: 1, id: "0a1b2c3d-17-0", path: ["auth", "sudo"] },
  data: { id: "0a1b2c3d-17-0", time: "2026-06-01T09:30:00.000000Z", topic: "auth/sudo" },
};
const GAP_EXAMPLE = {
  ...{ call: 1, count: null, from: "0a1b2c3d-2-0", place: "MX4xNzgw" },
  reason: "retention may have removed events after the place to go on from",
};
const AVERAGES_EXAMPLE = {
  ...{ total: 42, averagePerMinute: 0.7, averagePerHour: 42, averagePerDay: 42, complete: true },
};

const METHODS: Readonly<Record<string, RpcDescription>> = {
  auditEventsGet: {
    summary: "Events of some topics, in the order of time, or as they come",
    params: schemaOf(type({
      "paths": PATH.array().atMostLength(PATHS_MAX).describe("one question, each event once"),
      "seek?": LIVE_SEEK,
      "seekEnd?": SEEK.describe("exclusive, whatever the order"),
      "order?": type("'asc' | 'desc'").describe("asc unless given, and where events are awaited"),
      "limit?": type("number.integer >= 1").describe("of all paths together"),
      "awaitFutureEvents?": FLAG.describe("go on with what comes until cancelled"),
    })),
    parts: {
      auditEvent: schemaOf(type({
        call: CALL,
        id: TEXT,
        path: TEXT.array(),
        data: EVENT_SCHEMA,
        "place?": TEXT.describe("where events are awaited: as seek, goes on exactly after it"),
      })),
      auditPlace: schemaOf(
        type({
          call: CALL,
          place: TEXT.describe("how far it has come, told at once and every 15 s without an event"),
        }).describe("where events are awaited"),
      ),
      auditGap: schemaOf(
        type({
          call: CALL,
          count: WHOLE.or("null").describe("events that are missing; null when nobody knows"),
          reason: TEXT,
          from: TEXT.describe("id from which on they may be"),
          place: TEXT,
        }).describe("where events after the place that was sought may be gone"),
      ),
    },
    result: schemaOf(type({ events: WHOLE.describe("parts that were sent"), complete: FLAG })),
    examples: {
      params: { paths: [["auth"], ["process", "exec"]], seek: "1h", limit: 100 },
      parts: {
        auditEvent: EVENT_EXAMPLE,
        auditPlace: { call: 1, place: "MX4xNzgw" },
        auditGap: GAP_EXAMPLE,
      },
      result: { events: 1, complete: true },
    },
  },
  auditMetricGet: {
    summary: "How many events a topic has, in all and on average",
    params: schemaOf(type({ path: PATH, "seek?": SEEK, "seekEnd?": SEEK })),
    parts: {},
    result: schemaOf(type({ data: AVERAGES })),
    examples: { params: { path: ["auth"] }, parts: {}, result: { data: AVERAGES_EXAMPLE } },
  },
  auditMetricTail: {
    summary: "The same: the present state at once, then whenever there is more, until cancelled",
    params: schemaOf(type({ path: PATH, "seek?": SEEK })),
    parts: { auditMetric: schemaOf(type({ call: CALL, data: AVERAGES })) },
    result: schemaOf(type({ states: WHOLE })),
    examples: {
      params: { path: ["auth"], seek: "1d" },
      parts: { auditMetric: { call: 2, data: AVERAGES_EXAMPLE } },
      result: { states: 1 },
    },
  },
};

/**
 * The route that the description has. A server that takes WebSockets does so before it comes here, where whoever asks
 * without one learns whether their token would do.
 */
export function rpcRoute(): Route {
  return {
    method: "GET",
    path: RPC_PATH,
    summary: "JSON-RPC 2.0 over WebSocket, one message a text frame",
    action: "read",
    headers: [{
      name: "Sec-WebSocket-Protocol",
      text: `From browsers, which cannot set Authorization: "${RPC_PROTOCOL}, ${TOKEN_PROTOCOL}" ` +
        "and the token in base64url",
      schema: { type: "string" },
    }],
    answers: {},
    statuses: [101],
    tellsScan: false,
    problems: [426],
    rpc: METHODS,
    handle: () => Promise.reject(webSocketOnly()),
  };
}

function webSocketOnly(): ProblemError {
  return new ProblemError(426, "This is a WebSocket", {
    accepted: "a request to upgrade the connection",
    headers: { Connection: "Upgrade", Upgrade: "websocket" },
  });
}
