/** `GET /v1/contexts` and `GET /v1/contexts/{id}`: operations of cryptography and applications as trees. */
import { formatTime } from "../../event/event.ts";
import type { SqlRow } from "../../storage/duckdb.ts";
import { JSON_TYPE } from "../answer.ts";
import {
  type ContextEvent,
  type ContextForest,
  type ContextSpan,
  growContexts,
  hasContext,
} from "../contexts/tree.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import { type Condition, conditionOn } from "../filter.ts";
import { CONTEXT_EVENTS_MAX, planContextEvents, planContextPlace } from "../planner/contexts.ts";
import type { EventsRequest, Plan } from "../planner.ts";
import { ProblemError } from "../problem.ts";
import { countOf, parseRangeRequest, single } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { FILTER_PARAMETERS, RANGE_PARAMETERS } from "../schemas.ts";
import { CONTEXTS_SCHEMA } from "./context-schema.ts";
import { planOf } from "./hosts.ts";

/** Trees of an answer unless told, and at most. */
const TREES = 100;
export const TREES_MAX = 1_000;
/** What belongs to a tree lies at most so long before or after the part of it that is asked for, µs. */
const WINDOW_US = 60_000_000;
/** Longest id of a context, in characters. */
const ID_LENGTH_MAX = 256;

const HOST_PARAMETERS = FILTER_PARAMETERS.filter(({ name }) => name === "host");
const PARAMETERS: readonly RouteParameter[] = [
  ...RANGE_PARAMETERS,
  ...FILTER_PARAMETERS.filter(({ name }) => name === "host" || name === "exe"),
  {
    name: "limit",
    text: `At most so many trees, the first ones; ${TREES} by default`,
    schema: { type: "integer", minimum: 1, maximum: TREES_MAX },
  },
];

export function contextsRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/contexts",
    summary: "Operations of cryptography and of applications that began in the range, as trees",
    action: "read",
    parameters: PARAMETERS,
    answers: { [JSON_TYPE]: CONTEXTS_SCHEMA },
    async handle(call) {
      const limit = countOf("limit", single(call.parameters, "limit"), TREES_MAX) ?? TREES;
      const request = parseRangeRequest(call.parameters, call.time);
      using lease = acquire();
      const plan = planContextEvents(widened(request), call.principal, lease.view);
      const { roots, isCut } = forestOf(await figuresOf(executor, plan, call));
      const inside = roots.filter(({ start }) =>
        start * 1_000_000 >= request.fromUs && start * 1_000_000 < request.toUs
      );
      const contexts = inside.slice(0, limit);
      return answer(call, { request, plan, contexts, isCut: isCut || inside.length > limit });
    },
  };
}

export function contextRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/contexts/{id}",
    summary: "The trees that a context is in",
    action: "read",
    pathParameters: [{ name: "id", text: "Of the context", schema: { type: "string" } }],
    parameters: [...RANGE_PARAMETERS, ...HOST_PARAMETERS],
    answers: { [JSON_TYPE]: CONTEXTS_SCHEMA },
    problems: [409],
    async handle(call) {
      const context = call.pathValue;
      if (context.length > ID_LENGTH_MAX) {
        throw new ProblemError(400, "The id of the context is too long", {
          parameter: "id",
          accepted: `at most ${ID_LENGTH_MAX} characters`,
        });
      }
      const request = parseRangeRequest(call.parameters, call.time);
      using lease = acquire();
      const { view } = lease;
      const finding = planContextPlace(request, call.principal, { view, context });
      const place = placeOf(await figuresOf(executor, finding, call), request);
      const plan = planContextEvents(place, call.principal, view);
      const { roots, isCut } = forestOf(await figuresOf(executor, plan, call));
      const contexts = roots.filter((each) => hasContext(each, context));
      return answer(call, { request, plan: planOf([finding, plan]), contexts, isCut });
    },
  };
}

/** The process and time in which a context lives. Throws 404 when there is none, 409 when several hosts tell of it. */
function placeOf(rows: readonly SqlRow[], request: EventsRequest): EventsRequest {
  const [row, other] = rows;
  if (row === undefined) {
    const range = `${formatTime(request.fromUs)} to ${formatTime(request.toUs)}`;
    throw new ProblemError(404, `Nothing is known of this context from ${range}`, {
      parameter: "id",
      accepted: `a context of the range; "from" and "to" name another`,
    });
  }
  if (other !== undefined) {
    throw new ProblemError(409, "Several hosts tell of this context", {
      parameter: "host",
      accepted: "the name of one of them",
    });
  }
  const isOne = row["pids"] === 1;
  const conditions = [
    equal("host", String(row["host"])),
    ...(isOne ? [equal("pid", Number(row["pid"]))] : []),
  ];
  const fromUs = Number(row["from_us"]);
  return widened({ ...request, conditions, fromUs, toUs: Number(row["to_us"]) + 1 });
}

function equal(name: string, value: string | number): Condition {
  return { ...conditionOn(name), matches: [{ kind: "equal", value }] };
}

function widened(request: EventsRequest): EventsRequest {
  const { fromUs, toUs } = request;
  return { ...request, fromUs: Math.max(0, fromUs - WINDOW_US), toUs: toUs + WINDOW_US };
}

function forestOf(rows: readonly SqlRow[]): ContextForest {
  const { roots, isCut } = growContexts(rows.slice(0, CONTEXT_EVENTS_MAX).map(eventOf));
  return { roots, isCut: isCut || rows.length > CONTEXT_EVENTS_MAX };
}

function eventOf(row: SqlRow): ContextEvent {
  const text = (name: string): string | undefined => {
    const value = row[name] ?? null;
    return value === null ? undefined : String(value);
  };
  return {
    host: String(row["host"]),
    context: String(row["context"]),
    parent: text("parent"),
    timeUs: Number(row["time_us"]),
    topic: String(row["topic"]),
    exe: text("exe"),
    origin: text("origin"),
    key: text("key"),
    value: valueOf(text("value") ?? "", row),
  };
}

/** Bytes are a list of numbers, as in crypto-auditing's query tool. */
function valueOf(text: string, row: SqlRow): ContextEvent["value"] {
  if (row["is_number"] === true && Number.isSafeInteger(Number(text))) return Number(text);
  const isBytes = row["kind"] === "blob" && /^(?:[0-9a-f]{2})*$/.test(text);
  return isBytes ? [...Buffer.from(text, "hex")] : text;
}

function answer(
  call: Call,
  { request, plan, contexts, isCut }: {
    readonly request: EventsRequest;
    readonly plan: Plan;
    readonly contexts: readonly ContextSpan[];
    readonly isCut: boolean;
  },
): Response {
  const value = {
    from: formatTime(request.fromUs),
    to: formatTime(request.toUs),
    cut: isCut,
    contexts,
  };
  const parameters = call.pathValue === "" ? {} : { id: call.pathValue };
  return figuresAnswer(call, { plan, value, rows: contexts.length, parameters });
}
