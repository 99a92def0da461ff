/** Schemas and parameters of the HTTP interface, derived from the list of columns. */
import { type Column, COLUMNS, type ColumnType } from "../event/columns.ts";
import { VALUE_FORMS } from "./filter.ts";
import { ProblemError } from "./problem.ts";
import { PAGE_ROWS, PAGE_ROWS_MAX } from "./request.ts";
import type { RouteParameter, Schema } from "./route.ts";
import { TIME_FORMS } from "./time-text.ts";

/** An event as answers have it. */
export const EVENT_SCHEMA: Schema = {
  type: "object",
  required: ["id"],
  properties: {
    id: { type: "string", description: "incarnation, sequence and idx: its place in the log" },
    ...Object.fromEntries(COLUMNS.map((column) => [column.name, schemaOf(column)])),
  },
};

export const PAGE_SCHEMA = pageSchema(EVENT_SCHEMA);

/** A page of such events. */
export function pageSchema(event: Schema): Schema {
  return {
    type: "object",
    required: ["events", "next"],
    properties: {
      events: { type: "array", items: event },
      next: { type: ["string", "null"], description: "cursor of the next page; null on the last" },
    },
  };
}

export const PROBLEM_SCHEMA: Schema = {
  type: "object",
  required: ["type", "title", "status", "detail"],
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    parameter: { type: "string", description: "what of the request is meant" },
    accepted: { type: "string", description: "the form that would be accepted" },
  },
};

export const RANGE_PARAMETERS: readonly RouteParameter[] = [
  {
    name: "from",
    text: `Inclusive: ${TIME_FORMS}. 24 hours before "to" by default`,
    schema: { type: "string" },
  },
  { name: "to", text: "Exclusive, in the same forms. Now by default", schema: { type: "string" } },
];

export const LIMIT_PARAMETERS: readonly RouteParameter[] = [
  {
    name: "order",
    text: "By time, then by place in the log",
    schema: { type: "string", enum: ["asc", "desc"], default: "desc" },
  },
  {
    name: "limit",
    text: `At most so many events; ${PAGE_ROWS} by default and at most ${PAGE_ROWS_MAX} in JSON`,
    schema: { type: "integer", minimum: 1 },
  },
  { name: "cursor", text: `"next" of an earlier page`, schema: { type: "string" } },
];

/** Every column as a filter. */
export const FILTER_PARAMETERS: readonly RouteParameter[] = COLUMNS.map(({ name, text }) => ({
  name,
  text: `${text}. ${VALUE_FORMS}; repeat to AND`,
  schema: { type: "array", items: { type: "string" } },
}));

/** Columns whose values can be counted: text and numbers. */
export const COUNTED_COLUMNS: readonly string[] = COLUMNS
  .filter(({ type }) => type === "string" || type === "integer" || type === "long")
  .map(({ name }) => name);

/** The name of such a column. Throws {@link ProblemError} 400 for any other. */
export function countedColumn(parameter: string, name: string): string {
  if (COUNTED_COLUMNS.includes(name)) return name;
  throw new ProblemError(400, `The values of "${name.slice(0, 100)}" cannot be counted`, {
    parameter,
    accepted: COUNTED_COLUMNS.join(", "),
  });
}

function schemaOf({ type, text }: Column): Schema {
  return { ...typeOf(type), description: text };
}

function typeOf(type: ColumnType): Schema {
  switch (type) {
    case "string":
      return { type: "string" };
    case "integer":
      return { type: "integer", format: "int32" };
    case "long":
      return { type: "integer", format: "int64" };
    case "timestamp":
      return { type: "string", format: "date-time" };
    case "date":
      return { type: "string", format: "date" };
    case "strings":
      return { type: "array", items: { type: "string" } };
    case "json":
      return { type: "object" };
  }
}
