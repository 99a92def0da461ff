/** What a subscription is asked for with: filters, where it begins, and what bounds it. */
import type { WhenBehind } from "../../storage/subscription.ts";
import type { Condition } from "../filter.ts";
import { ProblemError } from "../problem.ts";
import { FILTER_NAMES, type Parameters, parseConditions, single } from "../request.ts";
import type { RouteParameter } from "../route.ts";
import { TIME_FORMS, type TimeContext } from "../time-text.ts";

/** What is kept of the filters: their texts, and what relative times in them count from. */
export type FilterTexts = Readonly<Record<string, readonly string[]>>;

export interface PolicyRequest {
  readonly whenBehind: WhenBehind | undefined;
  readonly lagMaxMs: number | undefined;
  readonly expireMs: number | undefined;
}

export const DEFAULT_LAG_MAX_MS = 7 * 86_400_000;
export const DEFAULT_EXPIRE_MS = 90 * 86_400_000;
/** Shortest of both: with none at all, nothing would ever be read. In milliseconds. */
const POLICY_LEAST_MS = 1_000;
/** Longest of all spans, in milliseconds. */
const SPAN_MAX_MS = 100 * 366 * 86_400_000;
const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};
const SPAN_FORM = "a span of time: 500ms, 30s, 15m, 24h, 7d, 4w";

export const POLICY_PARAMETERS: readonly RouteParameter[] = [
  {
    name: "when_behind",
    text: "What happens beyond lag_max: pause (the log no longer waits for it, it reads on from " +
      "the archive) or skip (it goes on at the present, with a gap)",
    schema: { type: "string", enum: ["pause", "skip"], default: "pause" },
  },
  {
    name: "lag_max",
    text: "How far behind it may be: 7d by default",
    schema: { type: "string", default: "7d" },
  },
  {
    name: "expire",
    text: "Removed when nobody has read it for so long: 90d by default",
    schema: { type: "string", default: "90d" },
  },
];

export const SINCE_PARAMETER: RouteParameter = {
  name: "since",
  text: `Where a new one begins: ${TIME_FORMS}, or an event's id. Now by default`,
  schema: { type: "string" },
};

/** Texts of the filters, once it is sure that they can be used. */
export function filterTextsOf(parameters: Parameters, context: TimeContext): FilterTexts {
  parseConditions(parameters, context);
  return Object.fromEntries(
    FILTER_NAMES.flatMap((name) => {
      const values = parameters.get(name);
      return values === undefined ? [] : [[name, values] as const];
    }),
  );
}

export function conditionsOf(filters: FilterTexts, context: TimeContext): readonly Condition[] {
  return parseConditions(new Map(Object.entries(filters)), context);
}

export function policyRequestOf(parameters: Parameters): PolicyRequest {
  return {
    whenBehind: whenBehindOf(single(parameters, "when_behind")),
    lagMaxMs: spanOf("lag_max", single(parameters, "lag_max"), POLICY_LEAST_MS),
    expireMs: spanOf("expire", single(parameters, "expire"), POLICY_LEAST_MS),
  };
}

/** Milliseconds of a span; undefined when it is not given. Throws 400 for any other text, and for less than the least. */
export function spanOf(
  name: string,
  text: string | undefined,
  leastMs = 0,
): number | undefined {
  if (text === undefined) return undefined;
  const [, count, unit = ""] = /^([0-9]{1,9})(ms|[smhdw])$/.exec(text) ?? [];
  const spanMs = Number(count) * (UNIT_MS[unit] ?? NaN);
  if (spanMs <= SPAN_MAX_MS && spanMs >= leastMs) return spanMs;
  throw new ProblemError(400, `The span "${text.slice(0, 100)}" cannot be used`, {
    parameter: name,
    accepted: leastMs === 0 ? SPAN_FORM : `${SPAN_FORM}; at least ${leastMs / 1_000}s`,
  });
}

export function flagOf(name: string, text: string | undefined): boolean {
  if (text === undefined || text === "false") return false;
  if (text === "true") return true;
  throw new ProblemError(400, `"${text.slice(0, 100)}" is neither true nor false`, {
    parameter: name,
    accepted: "true or false",
  });
}

function whenBehindOf(text: string | undefined): WhenBehind | undefined {
  if (text === undefined || text === "pause" || text === "skip") return text;
  throw new ProblemError(400, `"${text.slice(0, 100)}" is nothing that can happen`, {
    parameter: "when_behind",
    accepted: "pause or skip",
  });
}
