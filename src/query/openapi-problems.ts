/** The problems that a route can answer with, as OpenAPI tells them: those of every route of its kind, and its own. */
import type { ApiResponse, Reference } from "./openapi-document.ts";
import { PROBLEM_TITLES, PROBLEM_TYPE, type ProblemStatus } from "./problem.ts";
import type { Route } from "./route.ts";

const MEANINGS: Readonly<Record<ProblemStatus, string>> = {
  400: "A parameter, a cursor or the body's form is wrong; `parameter` names which",
  401: "No token, or one that is unknown, revoked or expired",
  403: "The token does not allow this",
  404: "There is nothing of that name, or the token may not see it",
  405: "The method cannot be used here",
  406: "None of the accepted media types can be given",
  409: "Something else stands in the way, which the problem names",
  410: "It is no longer there",
  413: "The body is too large, or there is one where none is taken",
  414: "The query is too long",
  422: "It cannot be done within the bounds of time, memory and form",
  426: "This is a WebSocket",
  429: "Too much at once, or too many of them",
  431: "The headers are too long",
  500: "The service failed; its log says why",
  503: "Not ready, stopping, or too busy",
};

const WAIT = "seconds after which trying again may help";
const HEADERS: Readonly<Partial<Record<ProblemStatus, Readonly<Record<string, string>>>>> = {
  401: { "WWW-Authenticate": "the scheme, and what is wrong with the token" },
  405: { Allow: "methods that can be used" },
  426: { Upgrade: "the protocol to ask for" },
  429: { "Retry-After": WAIT },
  503: { "Retry-After": WAIT },
};
/** Headers that each such answer has. */
const ALWAYS: readonly string[] = ["WWW-Authenticate", "Allow", "Upgrade"];

const SCHEMA = { $ref: "#/components/schemas/Problem" } as const;

/** All of them, by the names that routes refer to. */
export function problemResponses(): Readonly<Record<string, ApiResponse>> {
  return Object.fromEntries(
    Object.entries(PROBLEM_TITLES).map(([text, title]) => {
      // as: the keys of the titles are the statuses
      const status = Number(text) as ProblemStatus;
      const example = { type: "about:blank", title, status, detail: `${MEANINGS[status]}.` };
      return [nameOf(status), {
        description: MEANINGS[status],
        headers: Object.fromEntries(
          Object.entries(HEADERS[status] ?? {}).map(([name, description]) => [
            name,
            { description, required: ALWAYS.includes(name), schema: { type: "string" } },
          ]),
        ),
        content: { [PROBLEM_TYPE]: { schema: SCHEMA, example } },
      }];
    }),
  );
}

/** Those of a route, by status. */
export function problemsOf(route: Route): Readonly<Record<string, ApiResponse | Reference>> {
  const own = route.statuses ?? [];
  const statuses = new Set<ProblemStatus>([
    400,
    413,
    414,
    431,
    500,
    ...(route.action === undefined ? [] : [401, 403, 429, 503] as const),
    ...(route.pathParameters === undefined ? [] : [404] as const),
    ...(readsRecord(route) ? [422] as const : []),
    ...(route.problems ?? []),
  ]);
  return Object.fromEntries(
    [...statuses].filter((status) => !own.includes(status)).toSorted((a, b) => a - b)
      .map((status) => [String(status), { $ref: `#/components/responses/${nameOf(status)}` }]),
  );
}

/** Whether it looks into the record, and its answer therefore says how it was found. */
export function readsRecord({ action, tellsScan }: Route): boolean {
  return tellsScan ?? (action === "read" || action === "sql");
}

function nameOf(status: ProblemStatus): string {
  return PROBLEM_TITLES[status].replaceAll(/\W/g, "");
}
