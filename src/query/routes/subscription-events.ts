/**
 * `GET /v1/subscriptions/{name}/events`: reads a subscription on, as one block, up to the present, or live.
 *
 * Invariant: an answer counts as sent only once its last piece was taken; its reader's turn ends with it.
 */
import { type } from "arktype";
import { negotiate, type Offer } from "../accept.ts";
import type { Activity } from "../activity.ts";
import { JSON_TYPE, NDJSON_TYPE, readHeaders, streamedBody } from "../answer.ts";
import { formatEventId, parseEventId } from "../../event/event-id.ts";
import type { HotTable } from "../hot/table.ts";
import { ProblemError } from "../problem.ts";
import { countOf, single } from "../request.ts";
import type { Call, Route } from "../route.ts";
import { EVENT_SCHEMA, eventStream } from "../schemas.ts";
import { BLOCK_EVENTS_MAX, type Delivery } from "../subscriptions/deliver.ts";
import { GAP_SCHEMA, NAME_PARAMETER } from "../subscriptions/describe.ts";
import { flagOf, spanOf } from "../subscriptions/request.ts";
import { TurnLostError } from "../subscriptions/session.ts";
import type { OpenReading, Subscriptions } from "../subscriptions/subscriptions.ts";
import type { LiveClients } from "../tail/live-clients.ts";

export interface SubscriptionEventsParts {
  readonly subscriptions: Subscriptions;
  readonly hot: HotTable;
  readonly clients: LiveClients;
  /** Answers that end by themselves. */
  readonly streams: Activity;
  /** A comment is sent after so long without an event. */
  readonly heartbeatMs: number;
}

type Form = "json" | "ndjson" | "sse";

const EVENT_STREAM = "text/event-stream";
/** Events of a block unless told. */
const BLOCK_EVENTS = 100;
/** Longest that a block is waited for, in milliseconds. */
const WAIT_MAX_MS = 60_000;
const RECONNECT_MS = 1_000;

const OFFERS: readonly Offer<Form>[] = [
  { form: "json", types: [JSON_TYPE] },
  { form: "ndjson", types: [NDJSON_TYPE, "application/ndjson", "application/jsonl"] },
  { form: "sse", types: [EVENT_STREAM] },
];

export function subscriptionEventsRoute(parts: SubscriptionEventsParts): Route {
  return {
    method: "GET",
    path: "/v1/subscriptions/{name}/events",
    summary: "Read on: a block, everything up to now, or live; each event is given at most once",
    action: "read",
    pathParameters: [NAME_PARAMETER],
    parameters: [
      {
        name: "limit",
        text: `At most so many events; in JSON ${BLOCK_EVENTS} by default and ` +
          `${BLOCK_EVENTS_MAX} at most`,
        schema: { type: "integer", minimum: 1 },
        example: 1000,
      },
      {
        name: "wait",
        text: "How long a first event is waited for, 60s at most; not in a live stream",
        schema: { type: "string", default: "0s" },
        example: "30s",
      },
      {
        name: "take_over",
        text: "Whether another reader's turn is ended instead of answering 409",
        schema: { type: "boolean", default: false },
      },
    ],
    answers: {
      [JSON_TYPE]: type({ events: EVENT_SCHEMA.array(), gaps: GAP_SCHEMA.array() }),
      [NDJSON_TYPE]: EVENT_SCHEMA,
      [EVENT_STREAM]: eventStream(EVENT_SCHEMA, GAP_SCHEMA),
    },
    headers: [{
      name: "Last-Event-ID",
      text: "Id of the last event that was seen, so that the gap is told more exactly",
      schema: { type: "string" },
    }],
    problems: [406, 409],
    async handle(call) {
      if (call.request.method === "HEAD") {
        throw new ProblemError(405, "Reading a subscription moves it", {
          accepted: "GET",
          headers: { Allow: "GET" },
        });
      }
      const form = negotiate(call.request.headers.get("accept") ?? undefined, OFFERS);
      return form === "sse" ? await live(call, parts) : await finite(call, { form, parts });
    },
  };
}

async function live(call: Call, parts: SubscriptionEventsParts): Promise<Response> {
  const { clients, heartbeatMs } = parts;
  const limit = limitOf(call) ?? Infinity;
  const { reading, end } = await begin(call, parts, {
    ...{ turn: "own", limit, count: () => clients.admit(call.principal) },
    until: { kind: "live", quietMs: heartbeatMs },
  });
  const chunks = async function* (count: (rows: number) => void): AsyncGenerator<string> {
    yield `retry: ${RECONNECT_MS}\n\n`;
    for await (const delivery of reading.deliveries) {
      count(rowsOf(delivery));
      yield asServerSent(delivery);
    }
    yield ": the end\n\n";
  };
  const headers = { "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no" };
  const type = `${EVENT_STREAM}; charset=utf-8`;
  return await streamed(call, { parts, reading, chunks, end, headers, type });
}

async function finite(
  call: Call,
  { form, parts }: { readonly form: "json" | "ndjson"; readonly parts: SubscriptionEventsParts },
): Promise<Response> {
  const waitMs = spanOf("wait", single(call.parameters, "wait")) ?? 0;
  if (waitMs > WAIT_MAX_MS) {
    throw new ProblemError(400, "That is too long to wait", {
      parameter: "wait",
      accepted: `up to ${WAIT_MAX_MS / 1_000}s`,
    });
  }
  const isBlock = form === "json";
  const limit = limitOf(call, isBlock ? BLOCK_EVENTS_MAX : Number.MAX_SAFE_INTEGER);
  const { reading, end } = await begin(call, parts, {
    turn: isBlock ? "none" : "own",
    until: { kind: "present", waitMs },
    limit: limit ?? (isBlock ? BLOCK_EVENTS : Infinity),
    count: () => parts.streams.begin(),
  });
  const chunks = isBlock ? asBlock(reading) : asLines(reading);
  const type = isBlock ? JSON_TYPE : NDJSON_TYPE;
  return await streamed(call, { parts, reading, chunks, end, headers: {}, type });
}

type Chunks = (count: (rows: number) => void) => AsyncGenerator<string>;

function asLines({ deliveries }: OpenReading): Chunks {
  return async function* (count) {
    for await (const delivery of deliveries) {
      count(rowsOf(delivery));
      if (delivery.kind === "rows") yield delivery.rows.map(({ json }) => `${json}\n`).join("");
      if (delivery.kind === "gap") yield `${JSON.stringify({ gap: delivery.gap })}\n`;
    }
  };
}

function asBlock({ deliveries }: OpenReading): Chunks {
  return async function* (count) {
    const events: string[] = [];
    const gaps: unknown[] = [];
    for await (const delivery of deliveries) {
      count(rowsOf(delivery));
      if (delivery.kind === "rows") events.push(...delivery.rows.map(({ json }) => json));
      if (delivery.kind === "gap") gaps.push(delivery.gap);
    }
    yield `{"events":[${events.join(",")}],"gaps":${JSON.stringify(gaps)}}\n`;
  };
}

function asServerSent(delivery: Delivery): string {
  switch (delivery.kind) {
    case "rows":
      return delivery.rows
        .map((row) => `event: audit\nid: ${formatEventId(row)}\ndata: ${row.json}\n\n`)
        .join("");
    case "gap":
      return `event: gap\ndata: ${JSON.stringify(delivery.gap)}\n\n`;
    case "quiet":
      return ": \n\n";
  }
}

function rowsOf(delivery: Delivery): number {
  return delivery.kind === "rows" ? delivery.rows.length : 0;
}

type Begin = Pick<Parameters<Subscriptions["open"]>[1], "turn" | "until" | "limit"> & {
  /** States that it begins; the function that is returned states its end. */
  readonly count: () => () => void;
};

async function begin(
  call: Call,
  { subscriptions }: SubscriptionEventsParts,
  { count, ...options }: Begin,
): Promise<Pick<Streaming, "reading" | "end">> {
  const { principal, signal, request, parameters, pathValue } = call;
  const lastId = request.headers.get("last-event-id") ?? "";
  const isTakingOver = flagOf("take_over", single(parameters, "take_over"));
  const end = count();
  try {
    const reading = await subscriptions.open(pathValue, {
      ...{ ...options, principal, signal, isTakingOver },
      lastId: parseEventId(lastId) === undefined ? undefined : lastId,
    });
    return { reading, end };
  } catch (error) {
    end();
    throw error;
  }
}

interface Streaming {
  readonly parts: SubscriptionEventsParts;
  readonly reading: OpenReading;
  readonly chunks: Chunks;
  readonly end: () => void;
  readonly headers: Readonly<Record<string, string>>;
  readonly type: string;
}

/** An answer that counts as sent once its last piece was taken; the turn ends with it. */
async function streamed(
  call: Call,
  { parts, reading, chunks, end, headers, type }: Streaming,
): Promise<Response> {
  let rows = 0;
  const whole = async function* (): AsyncGenerator<string> {
    try {
      yield* chunks((count) => rows += count);
      // Of one that left nobody knows what it took.
      if (!call.request.signal.aborted) reading.settle();
    } catch (error) {
      if (!(error instanceof TurnLostError)) throw error;
      if (!type.startsWith(EVENT_STREAM)) {
        throw new ProblemError(409, error.message, { cause: error });
      }
      yield `: ${error.message}\n\n`;
    } finally {
      await reading[Symbol.asyncDispose]();
    }
  };
  // A block is told once, with what was in it.
  if (type !== JSON_TYPE) call.report({});
  const body = await streamedBody({
    chunks: whole(),
    onEnd({ bytes, error }) {
      end();
      call.report({ rows, bytes, outcome: error === undefined ? "success" : "failure" });
    },
  });
  const facts = { scan: { files: 0, bytes: 0 }, prunedFiles: 0, missing: parts.hot.missing() };
  return new Response(body, {
    headers: { ...readHeaders(facts), ...headers, "Content-Type": type },
  });
}

function limitOf(call: Call, greatest = Number.MAX_SAFE_INTEGER): number | undefined {
  return countOf("limit", single(call.parameters, "limit"), greatest);
}
