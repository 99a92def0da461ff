/** `GET /v1/hits`: how many events match in each bucket of time, whole or by the values of a column. */
import { type } from "arktype";
import { formatTime } from "../../event/event.ts";
import type { SqlRow } from "../../storage/duckdb.ts";
import { JSON_TYPE } from "../answer.ts";
import { figuresAnswer, figuresOf, type FiguresParts } from "../figures-answer.ts";
import { NUMBER, TEXT, TIME, WHOLE } from "../json-schema.ts";
import { type HitsRequest, planHits } from "../planner/figures.ts";
import { ProblemError } from "../problem.ts";
import { countOf, parseRangeRequest, single } from "../request.ts";
import type { Call, Route, RouteParameter } from "../route.ts";
import { COUNTED_COLUMNS, countedColumn, RANGE_PARAMETERS } from "../schemas.ts";
import { parseSpan } from "../time-text.ts";

/** Values that are counted apart unless told, and at most. */
const SERIES = 10;
const SERIES_MAX = 100;
export const BUCKETS_MAX = 10_000;
/** Numbers of one answer. */
const CELLS_MAX = 100_000;
/** Buckets of an answer whose step is not given, at most. */
const BUCKETS_WANTED = 120;
const SECOND_US = 1_000_000;
const DAY_US = 86_400 * SECOND_US;
const STEPS_US = [
  1,
  2,
  5,
  10,
  15,
  30,
  60,
  120,
  300,
  600,
  900,
  1800,
  3600,
  7200,
  10_800,
  21_600,
  43_200,
]
  .map((seconds) => seconds * SECOND_US);

const PARAMETERS: readonly RouteParameter[] = [
  ...RANGE_PARAMETERS,
  {
    name: "step",
    text: `Length of a bucket (30s, 5m, 1h, 1d); by default one that gives at most ` +
      `${BUCKETS_WANTED} buckets. Buckets begin at multiples of it since 1970, UTC`,
    schema: { type: "string" },
    example: "1h",
  },
  {
    name: "by",
    text: "Column whose values are counted apart",
    schema: { type: "string", enum: COUNTED_COLUMNS },
    example: "topic",
  },
  {
    name: "limit",
    text: `Values that are counted apart, most frequent first; the others are counted together. ` +
      `${SERIES} by default`,
    schema: { type: "integer", minimum: 1, maximum: SERIES_MAX, default: SERIES },
  },
];

interface Series {
  /** Of the column; null where it is absent. Left out when nothing is counted apart. */
  readonly value?: string | null;
  /** Counts of the values beyond the limit. */
  readonly others?: true;
  readonly total: number;
  readonly counts: readonly number[];
}

export function hitsRoute({ executor, acquire }: FiguresParts): Route {
  return {
    method: "GET",
    path: "/v1/hits",
    summary: "Counts of events by time, whole or by the values of a column",
    action: "read",
    parameters: PARAMETERS,
    takesFilters: true,
    answers: { [JSON_TYPE]: HITS_SCHEMA },
    async handle(call) {
      const request = parseHitsRequest(call);
      using lease = acquire();
      const plan = planHits(request, call.principal, lease.view);
      const rows = await figuresOf(executor, plan, call);
      const { fromUs, toUs, stepUs, by } = request;
      const times = bucketsOf(request);
      const series = seriesOf(rows, { times, stepUs, isSplit: by !== undefined });
      const value = {
        from: formatTime(fromUs),
        to: formatTime(toUs),
        step_seconds: stepUs / SECOND_US,
        ...(by === undefined ? {} : { by }),
        total: series.reduce((sum, { total }) => sum + total, 0),
        times: times.map(formatTime),
        series,
      };
      return figuresAnswer(call, { plan, value, rows: rows.length });
    },
  };
}

function parseHitsRequest({ parameters, time }: Call): HitsRequest {
  const range = parseRangeRequest(parameters, time);
  const stepUs = stepOf(single(parameters, "step"), range);
  const by = single(parameters, "by");
  if (by !== undefined) countedColumn("by", by);
  const seriesMax = countOf("limit", single(parameters, "limit"), SERIES_MAX) ?? SERIES;
  const request = { ...range, stepUs, by, seriesMax };
  const buckets = Math.ceil((range.toUs - range.fromUs) / stepUs) + 1;
  if (buckets > BUCKETS_MAX + 1 || (by !== undefined && buckets * seriesMax > CELLS_MAX)) {
    throw new ProblemError(400, `The answer would have ${buckets} buckets`, {
      parameter: "step",
      accepted: `a step that gives at most ${BUCKETS_MAX} buckets, and ${CELLS_MAX} counts`,
    });
  }
  return request;
}

function stepOf(
  text: string | undefined,
  { fromUs, toUs }: { readonly fromUs: number; readonly toUs: number },
): number {
  if (text === undefined) {
    const least = (toUs - fromUs) / BUCKETS_WANTED;
    return STEPS_US.find((step) => step >= least) ?? Math.ceil(least / DAY_US) * DAY_US;
  }
  const stepUs = parseSpan(text);
  if (stepUs !== undefined && stepUs > 0) return stepUs;
  throw new ProblemError(400, `The step "${text.slice(0, 100)}" cannot be used`, {
    parameter: "step",
    accepted: "a length of time: 30s, 5m, 1h, 1d",
  });
}

/** Begins of all buckets that overlap the range, µs. */
function bucketsOf({ fromUs, toUs, stepUs }: HitsRequest): number[] {
  const first = Math.floor(fromUs / stepUs);
  const count = toUs === fromUs ? 0 : Math.ceil(toUs / stepUs) - first;
  return Array.from({ length: count }, (_each, at) => (first + at) * stepUs);
}

/** Most frequent first, the others last. */
function seriesOf(
  rows: readonly SqlRow[],
  { times, stepUs, isSplit }: {
    readonly times: readonly number[];
    readonly stepUs: number;
    readonly isSplit: boolean;
  },
): Series[] {
  const [first = 0] = times;
  const found = new Map<string, { value: string | null; isOther: boolean; counts: number[] }>();
  for (const { bucket, value, is_other: isOther, rows: count } of rows) {
    const key = JSON.stringify([value, isOther]);
    const known = found.get(key) ?? {
      value: value === null ? null : String(value),
      isOther: isOther === true,
      counts: times.map(() => 0),
    };
    known.counts[(Number(bucket) - first) / stepUs] = Number(count);
    found.set(key, known);
  }
  const series = [...found.values()].map(({ value, isOther, counts }) => ({
    isOther,
    ...(isOther ? { others: true as const } : isSplit ? { value } : {}),
    total: counts.reduce((sum, count) => sum + count, 0),
    counts,
  }));
  return series.toSorted((a, b) => Number(a.isOther) - Number(b.isOther) || b.total - a.total)
    .map(({ isOther: _isOther, ...each }) => each);
}

const HITS_SCHEMA = type({
  from: TIME,
  to: TIME,
  step_seconds: NUMBER,
  "by?": TEXT,
  total: WHOLE,
  times: TIME.array().describe("begins of the buckets"),
  series: type({
    "value?": type("string | null").describe("null: events without this column"),
    "others?": type("true").describe("values beyond the limit, together"),
    total: WHOLE,
    counts: WHOLE.array(),
  }).array(),
});
