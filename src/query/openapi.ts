/**
 * The OpenAPI 3.1 description of the HTTP interface, made of the routes: of the same types that validate bodies, and
 * in tests answers, and of the same lists that the app checks requests against.
 *
 * Invariant: nothing is described that is not a property of a route.
 */
import { OCSF_EVENT_SCHEMA } from "./ocsf/schema.ts";
import type {
  ApiDocument,
  ApiHeader,
  ApiMethod,
  ApiParameter,
  ApiResponse,
  Content,
  Operation,
  Reference,
  RpcExtension,
} from "./openapi-document.ts";
import { bodyExampleOf, exampleOf } from "./openapi-examples.ts";
import { problemResponses, problemsOf, readsRecord } from "./openapi-problems.ts";
import { type Described, type Schema, schemaOf } from "./json-schema.ts";
import type { Action } from "./principal.ts";
import { rolesThatMay } from "./roles.ts";
import type { Route, RouteParameter } from "./route.ts";
import { EVENT_SCHEMA, FILTER_PARAMETERS, PROBLEM_SCHEMA } from "./schemas.ts";

/** Headers of every answer to a read. */
const READ_HEADERS: Readonly<Record<string, string>> = {
  "Probity-Scanned-Files": "data files read",
  "Probity-Scanned-Bytes": "bytes of data files read",
  "Probity-Pruned-Files": "data files that need not be read",
  "Probity-Complete": "false when part of the log cannot be searched yet",
  "Probity-Missing": "what cannot be searched yet",
};
/** Headers that an answer can be without. */
const SOMETIMES: readonly string[] = ["Probity-Missing", "Probity-Truncated"];

/** Schemas that many routes have in common. */
const NAMED: Readonly<Record<string, Described>> = {
  Event: EVENT_SCHEMA,
  OcsfEvent: OCSF_EVENT_SCHEMA,
  Problem: PROBLEM_SCHEMA,
};

/** Sections of the description, by the first segment of a path below `/v1`; others are sections of their own. */
const SECTIONS: readonly (readonly [name: string, segments: readonly string[]])[] = [
  ["Events", ["events", "tail", "rpc"]],
  ["Figures", ["hits", "facets", "metrics", "topics", "hosts", "reports"]],
  ["Processes, files and spans", ["processes", "files", "contexts"]],
  ["SQL", ["sql"]],
  ["Subscriptions", ["subscriptions"]],
  ["Table and holds", ["table", "holds"]],
  ["Tokens", ["tokens"]],
  ["The service", [""]],
];

/** What a token must allow, by the action. */
const ACCESS: Readonly<Record<Action, string>> = {
  read: "read events",
  sql: "use SQL",
  operate: "see how the service fares",
  hold: "set holds",
  administer: "do everything",
};

const DESCRIPTION =
  "Audits over any range of time, live streams that never lose their place, and SQL. Every read is " +
  "itself an event of the record. A parameter that a route does not know is refused.";

export function describeApi(routes: readonly Route[], version: string): ApiDocument {
  const schemas = Object.fromEntries(
    Object.entries(NAMED).map(([name, described]) => [name, schemaOf(described)]),
  );
  const paths: Record<string, Partial<Record<ApiMethod, Operation>>> = {};
  for (const route of routes) {
    const path = paths[route.path] ??= {};
    path[methodOf(route)] = operationOf(route, schemas);
    if (route.head !== undefined) path.head = headOf(route, schemas);
  }
  const names = new Set(routes.map(({ path }) => sectionOf(path)));
  const known = SECTIONS.map(([name]) => name);
  return {
    openapi: "3.1.0",
    info: {
      title: "Probity",
      version,
      description: DESCRIPTION,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags: [...known.filter((name) => names.has(name)), ...names.difference(new Set(known))]
      .map((name) => ({ name })),
    security: [{ bearer: [] }],
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas,
      parameters: Object.fromEntries(
        FILTER_PARAMETERS.map((each) => [each.name, parameterOf(each, "query")]),
      ),
      responses: problemResponses(),
    },
    paths,
  };
}

type Schemas = Readonly<Record<string, Schema>>;

function operationOf(route: Route, schemas: Schemas): Operation {
  const { summary, action, body, answers } = route;
  const isEmpty = Object.keys(answers).length === 0;
  const content = contentOf(answers, schemas, exampleOf(route));
  const success: ApiResponse = {
    description: route.rpc !== undefined
      ? "A WebSocket from here on"
      : isEmpty
      ? "Done"
      : "Success",
    ...headersOf(successHeaders(route)),
    ...(isEmpty ? {} : { content }),
  };
  const statuses = route.statuses ?? [isEmpty ? 204 : 200];
  return {
    operationId: operationIdOf(route.method, route.path),
    tags: [sectionOf(route.path)],
    summary,
    description: accessOf(action),
    ...(action === undefined ? { security: [] } : {}),
    parameters: parametersOf(route),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: bodyOf(body, schemas, route) } }),
    ...(route.rpc === undefined ? {} : {
      "x-json-rpc": { version: "2.0", methods: methodsOf(route.rpc, schemas) },
    }),
    responses: {
      ...Object.fromEntries(statuses.map((status) => [String(status), success])),
      ...problemsOf(route),
    },
  };
}

/** `HEAD` where it tells more than `GET` without its body. */
function headOf(route: Route, schemas: Schemas): Operation {
  const { responses, ...get } = operationOf(route, schemas);
  const { summary = "", headers = {} } = route.head ?? {};
  const success = {
    description: "Success",
    ...headersOf({ ...successHeaders(route), ...headers }),
  };
  const bare = Object.keys(responses).filter((status) => status !== "200")
    .map((status) => [status, { description: "As GET, without its body" }]);
  return {
    ...get,
    operationId: operationIdOf("HEAD", route.path),
    summary,
    responses: { 200: success, ...Object.fromEntries(bare) },
  };
}

function parametersOf(route: Route): readonly (ApiParameter | Reference)[] {
  const { pathParameters = [], parameters = [], headers = [], takesFilters } = route;
  const own = new Set(parameters.map(({ name }) => name));
  const filters = takesFilters === true ? FILTER_PARAMETERS : [];
  return [
    ...pathParameters.map((each) => parameterOf(each, "path")),
    ...parameters.map((each) => parameterOf(each, "query")),
    ...filters.filter(({ name }) => !own.has(name))
      .map(({ name }) => ({ $ref: `#/components/parameters/${name}` })),
    ...headers.map((each) => parameterOf(each, "header")),
  ];
}

function parameterOf(
  { name, text, schema, example }: RouteParameter,
  place: ApiParameter["in"],
): ApiParameter {
  return {
    name,
    in: place,
    required: place === "path",
    description: text,
    schema,
    ...(example === undefined ? {} : { example: schema["type"] === "array" ? [example] : example }),
  };
}

function methodsOf(methods: NonNullable<Route["rpc"]>, schemas: Schemas): RpcExtension["methods"] {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [name, {
      ...method,
      params: withReferences(method.params, schemas),
      parts: Object.fromEntries(
        Object.entries(method.parts).map((
          [part, schema],
        ) => [part, withReferences(schema, schemas)]),
      ),
      result: withReferences(method.result, schemas),
    }]),
  );
}

function contentOf(
  answers: Route["answers"],
  schemas: Schemas,
  example: unknown,
): Content {
  return Object.fromEntries(
    Object.entries(answers).map(([type, described], at) => [type, {
      schema: withReferences(schemaOf(described), schemas),
      ...(at === 0 && example !== undefined ? { example } : {}),
    }]),
  );
}

function bodyOf(body: Described, schemas: Schemas, route: Route): Content {
  const schema = withReferences(schemaOf(body), schemas);
  const example = bodyExampleOf(route);
  return { "application/json": { schema, ...(example === undefined ? {} : { example }) } };
}

function successHeaders(route: Route): Readonly<Record<string, string>> {
  return { ...(readsRecord(route) ? READ_HEADERS : {}), ...route.answerHeaders };
}

function headersOf(
  texts: Readonly<Record<string, string>>,
): { readonly headers?: Readonly<Record<string, ApiHeader>> } {
  const headers = Object.entries(texts).map(([name, description]): [string, ApiHeader] => [
    name,
    { description, required: !SOMETIMES.includes(name), schema: { type: "string" } },
  ]);
  return headers.length === 0 ? {} : { headers: Object.fromEntries(headers) };
}

/** The schema with those that have a name by reference. */
function withReferences(schema: Schema, schemas: Schemas): Schema {
  const texts = new Map(
    Object.entries(schemas).map(([name, each]) => [JSON.stringify(each), name]),
  );
  const referred = (value: unknown): unknown => {
    const name = texts.get(JSON.stringify(value));
    if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
    if (Array.isArray(value)) return value.map(referred);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, referred(each)]));
  };
  const text = texts.get(JSON.stringify(schema));
  if (text !== undefined) return { $ref: `#/components/schemas/${text}` };
  return Object.fromEntries(Object.entries(schema).map(([key, each]) => [key, referred(each)]));
}

function accessOf(action: Action | undefined): string {
  if (action === undefined) return "Needs no token.";
  return `Needs a token that may ${ACCESS[action]}: ${rolesThatMay(action).join(", ")}.`;
}

/** `GET /v1/events/{id}` is `getEventsById`. */
function operationIdOf(method: string, path: string): string {
  const words = path.replace(/^\/v1\//, "/").split(/[/._]/).filter((each) => each !== "")
    .map((each) => each.startsWith("{") ? `by-${each.replaceAll(/[{}]/g, "")}` : each)
    .flatMap((each) => each.split("-"));
  return method.toLowerCase() + words.map(capitalized).join("");
}

function sectionOf(path: string): string {
  const [, version, segment = ""] = path.split("/");
  const name = version === "v1" ? segment : version === "rpc" ? version : "";
  return SECTIONS.find(([, segments]) => segments.includes(name))?.[0] ?? capitalized(name);
}

function capitalized(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function methodOf({ method }: Route): ApiMethod {
  const methods = { GET: "get", POST: "post", PUT: "put", DELETE: "delete" } as const;
  return methods[method];
}
