/** `/v1/subscriptions`: durable places in the record, each with a filter; made, listed, read, skipped forward, removed. */
import { type } from "arktype";
import { JSON_TYPE, jsonAnswer } from "../answer.ts";
import type { HotTable } from "../hot/table.ts";
import { ProblemError } from "../problem.ts";
import { countOf, parseSince, refuseBody, single } from "../request.ts";
import type { Call, Route } from "../route.ts";
import { BLOCK_EVENTS_MAX } from "../subscriptions/deliver.ts";
import {
  describeSubscription,
  GAP_SCHEMA,
  NAME_PARAMETER,
  SUBSCRIPTION_SCHEMA,
} from "../subscriptions/describe.ts";
import {
  filterTextsOf,
  POLICY_PARAMETERS,
  policyRequestOf,
  SINCE_PARAMETER,
} from "../subscriptions/request.ts";
import type { Entry, Subscriptions } from "../subscriptions/subscriptions.ts";
import { TIME_FORMS } from "../time-text.ts";

export interface SubscriptionParts {
  readonly subscriptions: Subscriptions;
  readonly hot: HotTable;
  readonly nowUs: () => number;
}

export function subscriptionRoutes(parts: SubscriptionParts): readonly Route[] {
  return [...keepingRoutes(parts), skipRoute(parts)];
}

function keepingRoutes(parts: SubscriptionParts): readonly Route[] {
  const { subscriptions } = parts;
  const shared = { action: "read", pathParameters: [NAME_PARAMETER], tellsScan: false } as const;
  return [
    {
      method: "GET",
      path: "/v1/subscriptions",
      summary: "Subscriptions with their places, and how far they are behind",
      action: "read",
      answers: { [JSON_TYPE]: type({ subscriptions: SUBSCRIPTION_SCHEMA.array() }) },
      tellsScan: false,
      async handle(call) {
        const all = await subscriptions.list(call);
        return jsonAnswer({ subscriptions: all.map((each) => described(each, parts)) });
      },
    },
    {
      method: "GET",
      path: "/v1/subscriptions/{name}",
      summary: "One subscription",
      ...shared,
      answers: { [JSON_TYPE]: SUBSCRIPTION_SCHEMA },
      handle: async (call) =>
        jsonAnswer(described(await subscriptions.get(call.pathValue, call), parts)),
    },
    {
      method: "PUT",
      path: "/v1/subscriptions/{name}",
      summary: "Make a subscription, or change its filters and policy; its place stays",
      ...shared,
      parameters: [SINCE_PARAMETER, ...POLICY_PARAMETERS],
      takesFilters: true,
      answers: { [JSON_TYPE]: SUBSCRIPTION_SCHEMA },
      statuses: [200, 201],
      problems: [409, 413, 429],
      async handle(call) {
        await refuseBody(call.request);
        const { entry, isNew } = await subscriptions.put(call.pathValue, {
          filters: filterTextsOf(call.parameters, call.time),
          time: call.time,
          since: parseSince(call.parameters, call.time),
          policy: policyRequestOf(call.parameters),
        }, call);
        reportChange(call, isNew ? "made" : "changed");
        return jsonAnswer(described(entry, parts), isNew ? 201 : 200);
      },
    },
    {
      method: "DELETE",
      path: "/v1/subscriptions/{name}",
      summary: "Remove a subscription",
      ...shared,
      answers: {},
      async handle(call) {
        await subscriptions.remove(call.pathValue, call);
        reportChange(call, "removed");
        return new Response(null, { status: 204 });
      },
    },
  ];
}

function skipRoute(parts: SubscriptionParts): Route {
  return {
    method: "POST",
    path: "/v1/subscriptions/{name}/skip",
    summary: "Go forward without reading",
    action: "read",
    pathParameters: [NAME_PARAMETER],
    parameters: [
      {
        name: "to",
        text: `The present by default; ${TIME_FORMS}, or after an event's id`,
        schema: { type: "string", default: "now" },
      },
      {
        name: "events",
        text: "Instead of a place: the next so many that match",
        schema: { type: "integer", minimum: 1, maximum: BLOCK_EVENTS_MAX },
      },
    ],
    answers: {
      [JSON_TYPE]: type({ skipped: GAP_SCHEMA, subscription: SUBSCRIPTION_SCHEMA }),
    },
    tellsScan: false,
    problems: [409, 413],
    async handle(call) {
      await refuseBody(call.request);
      const { pathValue: name } = call;
      const { count, from, to } = await skip(call, parts).catch(naming("to"));
      reportChange(call, "skipped events of", { skipped: count });
      const entry = await parts.subscriptions.get(name, call);
      return jsonAnswer({ skipped: { count, from, to }, subscription: described(entry, parts) });
    },
  };
}

async function skip(
  call: Call,
  { subscriptions }: SubscriptionParts,
): ReturnType<Subscriptions["skip"]> {
  return await subscriptions.skip(call.pathValue, targetOf(call), call);
}

/** Where it goes is understood as where a tail begins, and has another name here. */
function naming(parameter: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof ProblemError) || error.problem.parameter !== "since") throw error;
    const { detail, accepted } = error.problem;
    throw new ProblemError(400, detail, {
      parameter,
      ...(accepted === undefined ? {} : { accepted }),
      cause: error,
    });
  };
}

function targetOf(call: Call): Parameters<Subscriptions["skip"]>[1] {
  const { parameters } = call;
  const [to, events] = [single(parameters, "to"), single(parameters, "events")];
  if (to !== undefined && events !== undefined) {
    throw new ProblemError(400, `"to" and "events" exclude each other`, {
      parameter: "events",
      accepted: "one of the two",
    });
  }
  const count = countOf("events", events, BLOCK_EVENTS_MAX);
  if (count !== undefined) return { kind: "events", count };
  if (to === undefined || to === "now") return "now";
  const since = parseSince(new Map([["since", [to]]]), call.time);
  return since ?? "now";
}

function described(entry: Entry, { hot, nowUs }: SubscriptionParts): unknown {
  using lease = hot.acquire();
  return describeSubscription(entry, { upper: lease.view.upper, nowUs: nowUs() });
}

function reportChange(
  call: Call,
  verb: string,
  more: Readonly<Record<string, unknown>> = {},
): void {
  const { pathValue: name } = call;
  call.reportChange({ what: `${verb} subscription "${name}"`, more: { name, ...more } });
}
