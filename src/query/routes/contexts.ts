/** `GET /v1/contexts` and `GET /v1/contexts/{id}`: operations of cryptography and applications as trees. */
import { formatTime } from "../../event/event.ts";
import { JSON_TYPE } from "../answer.ts";
import { type ContextPage, readContext, readContexts } from "../contexts/read-contexts.ts";
import type { CursorCodec } from "../cursor.ts";
import { figuresAnswer, type FiguresParts } from "../figures-answer.ts";
import { ProblemError } from "../problem.ts";
import type { TimeRange } from "../planner.ts";
import { countOf, parsePagedRequest, parseRangeRequest, single } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { CURSOR_PARAMETER, FILTER_PARAMETERS, RANGE_PARAMETERS } from "../schemas.ts";
import { CONTEXT_SCHEMA, CONTEXTS_SCHEMA } from "./context-schema.ts";
import { planOf } from "./hosts.ts";

export interface ContextsParts extends FiguresParts {
  readonly cursors: CursorCodec;
}

/** Trees of a page unless told, and at most. */
const TREES = 100;
export const TREES_MAX = 1_000;
/** Longest id of a context, in characters. */
const ID_LENGTH_MAX = 256;

const HOST_PARAMETERS = FILTER_PARAMETERS.filter(({ name }) => name === "host");
const PARAMETERS: readonly RouteParameter[] = [
  ...RANGE_PARAMETERS,
  ...FILTER_PARAMETERS.filter(({ name }) => name === "host" || name === "exe"),
  {
    name: "limit",
    text: `Trees of a page; ${TREES} by default`,
    schema: { type: "integer", minimum: 1, maximum: TREES_MAX },
  },
  CURSOR_PARAMETER,
];

export function contextsRoute({ executor, acquire, cursors }: ContextsParts): Route {
  return {
    method: "GET",
    path: "/v1/contexts",
    summary: "Operations of cryptography and of applications that began in the range, as trees",
    action: "read",
    parameters: PARAMETERS,
    answers: { [JSON_TYPE]: CONTEXTS_SCHEMA },
    async handle(call) {
      const limit = countOf("limit", single(call.parameters, "limit"), TREES_MAX) ?? TREES;
      const request = parsePagedRequest(call.parameters, { ...call.time, cursors }, {
        ...{ order: "asc", limit: undefined, of: ["contexts"] },
      });
      using lease = acquire();
      const { view } = lease;
      const page = await readContexts(call, { executor, view, request, limit });
      const { digest: query, fromUs, toUs } = request;
      const upper = request.upper ?? view.upper;
      const next = page.next === undefined
        ? null
        : cursors.encode({ query, fromUs, toUs, after: page.next, upper });
      return answer(call, { request, page, more: { next } });
    },
  };
}

export function contextRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/contexts/{id}",
    summary: "The whole trees that a context is in",
    action: "read",
    pathParameters: [{ name: "id", text: "Of the context", schema: { type: "string" } }],
    parameters: [...RANGE_PARAMETERS, ...HOST_PARAMETERS],
    answers: { [JSON_TYPE]: CONTEXT_SCHEMA },
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
      const page = await readContext(call, { executor, view: lease.view, request, context });
      expectOneHost(page.hosts, request);
      return answer(call, { request, page, more: {} });
    },
  };
}

function expectOneHost(hosts: readonly string[], { fromUs, toUs }: TimeRange): void {
  const [host, other] = hosts;
  if (host === undefined) {
    const range = `${formatTime(fromUs)} to ${formatTime(toUs)}`;
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
}

function answer(
  call: Call,
  { request, page, more }: {
    readonly request: TimeRange;
    readonly page: ContextPage;
    readonly more: { readonly next?: string | null };
  },
): Response {
  const contexts = page.trees.map(({ span }) => span);
  const value = {
    from: formatTime(request.fromUs),
    to: formatTime(request.toUs),
    cut: page.isCut,
    contexts,
    ...more,
  };
  const parameters = call.pathValue === "" ? {} : { id: call.pathValue };
  return figuresAnswer(call, {
    plan: planOf(page.plans),
    value,
    rows: contexts.length,
    parameters,
  });
}
