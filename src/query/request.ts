/**
 * Requests as the routes understand them: parameters are read once, strictly, and become typed values. A parameter that
 * a route does not know is an error that names those it does.
 */
import { COLUMNS } from "../event/columns.ts";
import { parseEventId } from "../event/event-id.ts";
import type { EventPlace } from "../event/event-id.ts";
import { type CursorCodec, queryDigest } from "./cursor.ts";
import { type Condition, parseCondition } from "./filter.ts";
import type { EventsRequest } from "./planner.ts";
import { ProblemError } from "./problem.ts";
import { parseTime, TIME_FORMS, type TimeContext } from "./time-text.ts";

/** Rows of a page unless told, and at most. */
export const PAGE_ROWS = 100;
export const PAGE_ROWS_MAX = 10_000;
/** A range that has no begin begins this long before its end, in µs. */
export const RANGE_US = 86_400_000_000;
/** Longest query string, in characters. */
export const QUERY_LENGTH_MAX = 16_384;

export type Parameters = ReadonlyMap<string, readonly string[]>;

/** Every column can be a parameter. */
export const FILTER_NAMES: readonly string[] = COLUMNS.map(({ name }) => name);

export const RANGE_NAMES = ["from", "to"] as const;
export const EVENTS_NAMES = [...RANGE_NAMES, "order", "limit", "cursor"] as const;

/** The parameters of a URL. Throws 400 for one that is not among the known. */
export function readParameters(url: URL, known: readonly string[]): Parameters {
  if (url.search.length > QUERY_LENGTH_MAX) {
    throw new ProblemError(414, `The query is longer than ${QUERY_LENGTH_MAX} characters`);
  }
  const parameters = new Map<string, string[]>();
  for (const [name, value] of url.searchParams) {
    if (!known.includes(name)) {
      throw new ProblemError(400, `There is no parameter "${name.slice(0, 100)}" here`, {
        parameter: name.slice(0, 100),
        accepted: known.length === 0 ? "no parameters" : known.join(", "),
      });
    }
    const values = parameters.get(name);
    if (values === undefined) parameters.set(name, [value]);
    else values.push(value);
  }
  return parameters;
}

export interface PageContext extends TimeContext {
  readonly cursors: CursorCodec;
}

/** A request for events that may continue an earlier one. `limit` is left undefined when it is not given. */
export interface ParsedEventsRequest extends EventsRequest {
  /** What a cursor of this query must carry. */
  readonly digest: string;
}

export function parseEventsRequest(
  parameters: Parameters,
  context: PageContext,
): ParsedEventsRequest {
  const order = parseOrder(single(parameters, "order"));
  const limit = parseLimit(single(parameters, "limit"));
  return parsePagedRequest(parameters, context, { order, limit, of: [] });
}

/** A request whose answer comes in pages; `of` tells cursors of one route from those of another. */
export function parsePagedRequest(
  parameters: Parameters,
  context: PageContext,
  { order, limit, of }: Pick<EventsRequest, "order" | "limit"> & { readonly of: readonly string[] },
): ParsedEventsRequest {
  const conditions = parseConditions(parameters, context);
  const digest = queryDigest([...of, order, ...conditionTexts(parameters)]);
  const range = parseRange(parameters, context);
  const text = single(parameters, "cursor");
  if (text === undefined) {
    return { ...range, conditions, order, limit, digest, after: undefined, upper: undefined };
  }
  const cursor = context.cursors.decode(text);
  if (cursor === undefined) {
    throw new ProblemError(400, "The cursor is none that this service has given out", {
      parameter: "cursor",
      accepted: `the "next" of an earlier page`,
    });
  }
  if (cursor.query !== digest) {
    throw new ProblemError(400, "The cursor belongs to a query with other filters or order", {
      parameter: "cursor",
      accepted: `the "next" of an earlier page, with that page's filters and order`,
    });
  }
  const { fromUs, toUs, after, upper } = cursor;
  return { conditions, order, limit, digest, fromUs, toUs, after, upper };
}

/** A request for figures over a range, not for its events. */
export function parseRangeRequest(parameters: Parameters, context: TimeContext): EventsRequest {
  return {
    ...parseRange(parameters, context),
    conditions: parseConditions(parameters, context),
    order: "desc",
    limit: undefined,
    after: undefined,
    upper: undefined,
  };
}

export function parseConditions(parameters: Parameters, context: TimeContext): Condition[] {
  return FILTER_NAMES.flatMap((name) =>
    (parameters.get(name) ?? []).map((text) => parseCondition(name, text, context))
  );
}

/** Where a tail begins, other than now. */
export type Since =
  | { readonly kind: "time"; readonly timeUs: number }
  | { readonly kind: "event"; readonly place: EventPlace };

export function parseSince(parameters: Parameters, context: TimeContext): Since | undefined {
  const text = single(parameters, "since");
  if (text === undefined) return undefined;
  const place = parseEventId(text);
  if (place !== undefined) return { kind: "event", place };
  return {
    kind: "time",
    timeUs: timeOf("since", text, context, `${TIME_FORMS}, or an event's id`),
  };
}

/** The only value of a parameter; undefined when it is not given. */
export function single(parameters: Parameters, name: string): string | undefined {
  const [value, second] = parameters.get(name) ?? [];
  if (second !== undefined) {
    throw new ProblemError(400, `The parameter "${name}" is given more than once`, {
      parameter: name,
      accepted: "one value",
    });
  }
  return value;
}

/** A whole number from 1; undefined when it is not given. */
export function countOf(
  name: string,
  text: string | undefined,
  greatest: number,
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= greatest) return value;
  throw new ProblemError(400, `The number "${text.slice(0, 100)}" cannot be used`, {
    parameter: name,
    accepted: `an integer from 1 to ${greatest}`,
  });
}

/** What is asked for stands in the address; a body would be ignored without a word. */
export async function refuseBody({ body }: Request): Promise<void> {
  if (body === null) return;
  const reader = body.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  if (value === undefined || value.length === 0) return;
  throw new ProblemError(400, "The request has a body, which has no meaning here", {
    accepted: "parameters of the address, and no body",
  });
}

/** Inclusive `from` and exclusive `to`, µs; a day until now unless told. */
export function parseRange(
  parameters: Parameters,
  context: TimeContext,
): { readonly fromUs: number; readonly toUs: number } {
  const from = single(parameters, "from");
  const to = single(parameters, "to");
  const toUs = to === undefined ? context.nowUs : timeOf("to", to, context);
  const fromUs = from === undefined ? Math.max(0, toUs - RANGE_US) : timeOf("from", from, context);
  if (fromUs > toUs) {
    throw new ProblemError(400, `The range ends before it begins: "from" is after "to"`, {
      parameter: "from",
      accepted: `a time not after "to"`,
    });
  }
  return { fromUs, toUs };
}

/** The time that a parameter's text names, µs since the Unix epoch. Throws 400 for any other text. */
export function timeOf(
  name: string,
  text: string,
  context: TimeContext,
  accepted: string = TIME_FORMS,
): number {
  const timeUs = parseTime(text, context);
  if (timeUs !== undefined) return timeUs;
  throw new ProblemError(400, `The time "${text.slice(0, 100)}" cannot be understood`, {
    parameter: name,
    accepted,
  });
}

function parseOrder(text: string | undefined): "asc" | "desc" {
  if (text === undefined || text === "desc") return "desc";
  if (text === "asc") return "asc";
  throw new ProblemError(400, `The order "${text.slice(0, 100)}" is not known`, {
    parameter: "order",
    accepted: "asc or desc",
  });
}

function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : 0;
  if (value >= 1) return value;
  throw new ProblemError(400, `The limit "${text.slice(0, 100)}" cannot be used`, {
    parameter: "limit",
    accepted: `an integer from 1; at most ${PAGE_ROWS_MAX} in JSON`,
  });
}

/** Rows of one JSON page. */
export function pageRows(limit: number | undefined): number {
  if (limit === undefined) return PAGE_ROWS;
  if (limit <= PAGE_ROWS_MAX) return limit;
  throw new ProblemError(400, `A page of ${limit} events is too large`, {
    parameter: "limit",
    accepted: `1 to ${PAGE_ROWS_MAX}; without a limit in application/x-ndjson and text/csv`,
  });
}

function conditionTexts(parameters: Parameters): string[] {
  return FILTER_NAMES.flatMap((name) =>
    (parameters.get(name) ?? []).map((value) => `${name}=${value}`)
  );
}
