/** The OpenAPI 3.1 description of the HTTP interface, derived from the routes and the list of columns. */
import { PROBLEM_TYPE } from "./problem.ts";
import type { Route, RouteParameter } from "./route.ts";
import { FILTER_PARAMETERS, PROBLEM_SCHEMA } from "./schemas.ts";

/** Headers of every answer to a read. */
const READ_HEADERS: Readonly<Record<string, string>> = {
  "Probity-Scanned-Files": "data files read",
  "Probity-Scanned-Bytes": "bytes of data files read",
  "Probity-Pruned-Files": "data files that need not be read",
  "Probity-Complete": "false when part of the log cannot be searched yet",
  "Probity-Missing": "what cannot be searched yet",
};

export function describeApi(routes: readonly Route[], version: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = paths[route.path] ?? {};
    path[route.method.toLowerCase()] = operationOf(route);
    paths[route.path] = path;
  }
  return {
    openapi: "3.1.0",
    info: { title: "Probity", version, license: { name: "Apache-2.0", identifier: "Apache-2.0" } },
    security: [{ bearer: [] }],
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: { Problem: PROBLEM_SCHEMA },
    },
    paths,
  };
}

function operationOf(route: Route): unknown {
  const { summary, action, pathParameters = [], parameters = [], takesFilters, body } = route;
  const filters = takesFilters === true ? FILTER_PARAMETERS : [];
  const status = Object.keys(route.answers).length === 0 ? 204 : 200;
  const headers = action === "read" || action === "sql" ? READ_HEADERS : {};
  return {
    summary,
    ...(action === undefined ? { security: [] } : {}),
    parameters: [
      ...pathParameters.map((each) => parameterOf(each, "path")),
      ...[...parameters, ...filters].map((each) => parameterOf(each, "query")),
    ],
    ...(body === undefined ? {} : {
      requestBody: { required: true, content: { "application/json": { schema: body } } },
    }),
    responses: {
      [status]: {
        description: "success",
        headers: Object.fromEntries(
          Object.entries(headers).map(([name, description]) => [
            name,
            { description, schema: { type: "string" } },
          ]),
        ),
        content: Object.fromEntries(
          Object.entries(route.answers).map(([type, schema]) => [type, { schema }]),
        ),
      },
      default: {
        description: "a problem (RFC 9457)",
        content: { [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  };
}

function parameterOf({ name, text, schema }: RouteParameter, place: "path" | "query"): unknown {
  return { name, in: place, required: place === "path", description: text, schema };
}
