/** `GET /v1/facets`: the most frequent values of columns among the events that match. */
import { type } from "arktype";
import type { SqlRow } from "../../storage/duckdb.ts";
import { JSON_TYPE } from "../answer.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import { WHOLE } from "../json-schema.ts";
import { type FacetsRequest, planFacets } from "../planner/figures.ts";
import { countOf, parseRangeRequest, single } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { COUNTED_COLUMNS, countedColumn, RANGE_PARAMETERS } from "../schemas.ts";

/** Columns whose values are few enough to choose from. */
const COLUMNS_ASKED = ["host", "topic", "severity", "outcome", "user", "exe", "service"] as const;
const VALUES = 10;
const VALUES_MAX = 1_000;

const PARAMETERS: readonly RouteParameter[] = [
  ...RANGE_PARAMETERS,
  {
    name: "by",
    text: `Columns, joined by commas; ${COLUMNS_ASKED.join(",")} by default`,
    schema: { type: "string" },
    example: "exe,user",
  },
  {
    name: "limit",
    text: `Values of each column, most frequent first; ${VALUES} by default`,
    schema: { type: "integer", minimum: 1, maximum: VALUES_MAX, default: VALUES },
  },
];

export function facetsRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/facets",
    summary: "The most frequent values of columns, with their numbers of events",
    action: "read",
    parameters: PARAMETERS,
    takesFilters: true,
    answers: { [JSON_TYPE]: FACETS_SCHEMA },
    async handle(call) {
      const request = parseFacetsRequest(call);
      using lease = acquire();
      const plan = planFacets(request, call.principal, lease.view);
      const rows = await figuresOf(executor, plan, call);
      const facets = request.columns.map((column, place) =>
        facetOf(column, rows.filter((row) => row["place"] === place))
      );
      return figuresAnswer(call, { plan, value: { facets }, rows: rows.length });
    },
  };
}

function parseFacetsRequest({ parameters, time }: Call): FacetsRequest {
  const by = single(parameters, "by")?.split(",") ?? COLUMNS_ASKED;
  const columns = [...new Set(by)].map((name) => countedColumn("by", name));
  const valuesMax = countOf("limit", single(parameters, "limit"), VALUES_MAX) ?? VALUES;
  return { ...parseRangeRequest(parameters, time), columns, valuesMax };
}

function facetOf(column: string, rows: readonly SqlRow[]): unknown {
  const [first] = rows;
  return {
    column,
    distinct: Number(first?.["distinct_values"] ?? 0),
    present: Number(first?.["present"] ?? 0),
    values: rows.map(({ value, rows: count }) => ({ value, count: Number(count) })),
  };
}

const FACETS_SCHEMA = type({
  facets: type({
    column: type.enumerated(...COUNTED_COLUMNS),
    distinct: WHOLE.describe("values that there are"),
    present: WHOLE.describe("events that have the column"),
    values: type({ value: "string", count: WHOLE }).array(),
  }).array(),
});
