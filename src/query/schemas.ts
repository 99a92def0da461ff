/** Types and parameters of the HTTP interface, derived from the list of columns. */
import { type Type, type } from "arktype";
import { COLUMNS, type ColumnType } from "../event/columns.ts";
import { VALUE_FORMS } from "./filter.ts";
import { DATE, OBJECT, type Schema, TEXT, TIME, WHOLE } from "./json-schema.ts";
import { ProblemError } from "./problem.ts";
import { PAGE_ROWS, PAGE_ROWS_MAX } from "./request.ts";
import type { RouteParameter } from "./route.ts";
import { TIME_FORMS } from "./time-text.ts";

/** An event as answers have it. */
export const EVENT_SCHEMA: Type = type.raw({
  id: TEXT.describe("incarnation, sequence and idx: its place in the log"),
  ...Object.fromEntries(
    COLUMNS.map((column) => [`${column.name}?`, typeOf(column.type).describe(column.text)]),
  ),
});

export const PAGE_SCHEMA = pageSchema(EVENT_SCHEMA);

/** A page of such events. */
export function pageSchema(event: Type): Type {
  return type.raw({
    events: event.array(),
    next: type("string | null").describe("cursor of the next page; null on the last"),
  });
}

/** What one server-sent event carries as data; which of the two, its `event` says. */
export function eventStream(event: Type, gap: Type): Schema {
  return {
    description: 'server-sent events: after "event: audit" an event, after "event: gap" a gap',
    oneOf: [event, gap],
  };
}

export const PROBLEM_SCHEMA = type({
  type: TEXT.describe("about:blank: the status says what kind of problem it is"),
  title: TEXT.describe("the status in words"),
  status: WHOLE,
  detail: TEXT.describe("what is wrong, in one sentence"),
  "parameter?": TEXT.describe("what of the request is meant"),
  "accepted?": TEXT.describe("the form that would be accepted"),
});

export const RANGE_PARAMETERS: readonly RouteParameter[] = [
  {
    name: "from",
    text: `Inclusive: ${TIME_FORMS}. 24 hours before "to" by default`,
    schema: { type: "string" },
    example: "2026-06-01",
  },
  {
    name: "to",
    text: "Exclusive, in the same forms. Now by default",
    schema: { type: "string" },
    example: "2026-06-02T12:30:00Z",
  },
];

export const CURSOR_PARAMETER: RouteParameter = {
  name: "cursor",
  text: `"next" of an earlier page`,
  schema: { type: "string" },
};

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
  CURSOR_PARAMETER,
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

function typeOf(column: ColumnType): Type {
  switch (column) {
    case "string":
      return TEXT;
    case "integer":
      return WHOLE.configure({ format: "int32" });
    case "long":
      return WHOLE.configure({ format: "int64" });
    case "timestamp":
      return TIME;
    case "date":
      return DATE;
    case "strings":
      return TEXT.array();
    case "json":
      return OBJECT;
  }
}
