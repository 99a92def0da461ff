/** `GET /v1/events`: search, as pages of JSON or as one stream, of events as they are or as OCSF; `HEAD` counts. */
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { negotiate } from "../accept.ts";
import type { Activity } from "../activity.ts";
import { JSON_TYPE, jsonResponse, readHeaders, streamedBody } from "../answer.ts";
import type { CursorCodec } from "../cursor.ts";
import {
  EVENT_ANSWERS,
  EVENT_OFFERS,
  type LinesForm,
  linesOf,
  type PageForm,
  TYPES,
} from "../event-forms.ts";
import { type Executor, scanOf, withinTime } from "../executor.ts";
import type { Plan } from "../planner.ts";
import { planCount, planEvents } from "../planner.ts";
import { CSV_HEADER } from "../planner/rows.ts";
import type { ReadView, ViewLease } from "../read-view.ts";
import { pageRows, type ParsedEventsRequest, parseEventsRequest } from "../request.ts";
import type { Call, Route } from "../route.ts";
import { rowPlaceOf } from "../row-place.ts";
import { LIMIT_PARAMETERS, RANGE_PARAMETERS } from "../schemas.ts";

export interface EventsParts {
  /** For answers that are made before they are sent, and for those that take as long as they need. */
  readonly pages: Executor;
  readonly streams: Executor;
  readonly acquire: () => ViewLease;
  readonly cursors: CursorCodec;
  readonly activity: Activity;
  /** Of Probity, for events of OCSF. */
  readonly version: string;
}

export function eventsRoute(parts: EventsParts): Route {
  return {
    method: "GET",
    path: "/v1/events",
    summary: "Search events; HEAD counts them",
    action: "read",
    parameters: [...RANGE_PARAMETERS, ...LIMIT_PARAMETERS],
    takesFilters: true,
    answers: EVENT_ANSWERS,
    head: {
      summary: "Count events",
      headers: { "Probity-Count": "events that match" },
    },
    problems: [406],
    async handle(call) {
      const form = negotiate(call.request.headers.get("accept") ?? undefined, EVENT_OFFERS);
      const request = parseEventsRequest(call.parameters, { ...call.time, cursors: parts.cursors });
      if (call.request.method === "HEAD") return await count(call, request, parts);
      switch (form) {
        case "json":
        case "ocsf-json":
          return await page(call, { request, form }, parts);
        case "ndjson":
        case "ocsf-ndjson":
        case "csv":
          return await stream(call, { request, form }, parts);
        case "parquet":
          return await parquet(call, request, parts);
      }
    },
  };
}

async function count(
  call: Call,
  request: ParsedEventsRequest,
  { pages, acquire }: EventsParts,
): Promise<Response> {
  using lease = acquire();
  const { steps, prunedFiles, missing } = planCount(request, call.principal, lease.view);
  let rows = 0;
  await withinTime(call.signal, async (signal) => {
    for (const step of steps) {
      const result = await pages.rows(step, { principal: call.principal, signal });
      rows += Number(result.rows[0]?.["rows"]);
    }
  });
  call.report({ rows: 0, bytes: 0 });
  const scan = scanOf(filesOf(steps));
  return new Response(null, {
    headers: {
      ...readHeaders({ scan, prunedFiles, missing }),
      "Content-Type": JSON_TYPE,
      "Probity-Count": String(rows),
    },
  });
}

async function page(
  call: Call,
  { request, form }: { readonly request: ParsedEventsRequest; readonly form: PageForm },
  { pages, acquire, cursors, version }: EventsParts,
): Promise<Response> {
  using lease = acquire();
  const limit = pageRows(request.limit);
  // One more than asked for says whether there is another page.
  const wanted = { ...request, limit: limit + 1 };
  const options = { view: lease.view, form: "json" } as const;
  const { steps, prunedFiles, missing } = planEvents(wanted, call.principal, options);
  const lines: string[] = [];
  const written: string[] = [];
  const scan = await withinTime(call.signal, async (signal) => {
    const texts = pages.texts(steps, { principal: call.principal, signal, limit: limit + 1 });
    for await (const chunk of texts) {
      lines.push(...chunk);
      written.push(...linesOf(chunk, { form, version }));
    }
    return texts.scanned();
  });
  const hasMore = lines.length > limit;
  const rows = hasMore ? limit : lines.length;
  const last = lines[rows - 1];
  const next = hasMore ? nextCursor(last, { request, view: lease.view, cursors }) : null;
  const events = written.slice(0, rows).join(",");
  const text = `{"events":[${events}],"next":${JSON.stringify(next)}}`;
  call.report({ rows, bytes: Buffer.byteLength(text) + 1 });
  const headers = readHeaders({ scan, prunedFiles, missing });
  return jsonResponse(text, { ...headers, "Content-Type": TYPES[form] });
}

function nextCursor(
  line: string | undefined,
  { request, view, cursors }: {
    readonly request: ParsedEventsRequest;
    readonly view: ReadView;
    readonly cursors: CursorCodec;
  },
): string {
  const { digest: query, fromUs, toUs } = request;
  const upper = request.upper ?? view.upper;
  return cursors.encode({ query, fromUs, toUs, after: rowPlaceOf(line ?? ""), upper });
}

async function stream(
  call: Call,
  { request, form }: { readonly request: ParsedEventsRequest; readonly form: LinesForm },
  parts: EventsParts,
): Promise<Response> {
  const endActivity = parts.activity.begin();
  const lease = parts.acquire();
  const { plan, pieces } = linesStream(call, { request, form, view: lease.view }, parts);
  let rows = 0;
  const chunks = async function* (): AsyncGenerator<string | Uint8Array<ArrayBuffer>> {
    if (form === "csv") yield `${CSV_HEADER}\r\n`;
    for await (const piece of pieces) {
      rows += piece.rows;
      yield piece.bytes;
    }
  };
  call.report({});
  const body = await streamedBody({
    chunks: chunks(),
    onEnd({ bytes, error }) {
      lease[Symbol.dispose]();
      endActivity();
      call.report({ rows, bytes, outcome: error === undefined ? "success" : "failure" });
    },
  });
  return streamResponse(body, plan, TYPES[form]);
}

interface Piece {
  readonly rows: number;
  readonly bytes: string | Uint8Array<ArrayBuffer>;
}

/** Whole lines, as DuckDB made them wherever each of them is sent as it is. */
function linesStream(
  call: Call,
  { request, form, view }: {
    readonly request: ParsedEventsRequest;
    readonly form: LinesForm;
    readonly view: ReadView;
  },
  { streams, version }: EventsParts,
): { readonly plan: Plan; readonly pieces: AsyncIterable<Piece> } {
  const { limit } = request;
  const isCsv = form === "csv";
  if (limit === undefined && form !== "ocsf-ndjson") {
    const options = { view, form: isCsv ? "csv-bytes" : "json-bytes" } as const;
    const plan = planEvents(request, call.principal, options);
    return { plan, pieces: streams.bytes(plan.steps, call) };
  }
  const plan = planEvents(request, call.principal, { view, form: isCsv ? "csv" : "json" });
  const texts = streams.texts(plan.steps, { ...call, ...(limit === undefined ? {} : { limit }) });
  const end = isCsv ? "\r\n" : "\n";
  const pieces = async function* (): AsyncGenerator<Piece> {
    for await (const lines of texts) {
      const bytes = `${linesOf(lines, { form, version }).join(end)}${end}`;
      yield { rows: lines.length, bytes };
    }
  };
  return { plan, pieces: pieces() };
}

async function parquet(
  call: Call,
  request: ParsedEventsRequest,
  { streams, acquire }: EventsParts,
): Promise<Response> {
  using lease = acquire();
  const options = { view: lease.view, form: "columns" } as const;
  const plan = planEvents(request, call.principal, options);
  const [step] = plan.steps;
  if (step === undefined) throw new RangeError("Cannot write an answer of no steps");
  const { path, rows } = await streams.parquet(step, call);
  call.report({});
  const body = await streamedBody({
    chunks: createReadStream(path),
    onEnd({ bytes, error }) {
      void rm(path, { force: true });
      call.report({ rows, bytes, outcome: error === undefined ? "success" : "failure" });
    },
  });
  return streamResponse(body, plan, TYPES.parquet);
}

/** What a stream will read is said before it is read. */
function streamResponse(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  { steps, prunedFiles, missing }: Plan,
  type: string,
): Response {
  const scan = scanOf(filesOf(steps));
  const headers = { ...readHeaders({ scan, prunedFiles, missing }), "Content-Type": type };
  return new Response(body, { headers });
}

function filesOf(steps: Plan["steps"]): Set<Plan["steps"][number]["files"][number]> {
  return new Set(steps.flatMap(({ files }) => files));
}
