/** `GET /v1/tail`: events as they come, as server-sent events (WHATWG HTML, 9.2). */
import { type } from "arktype";
import { negotiate, type Offer, withProfile } from "../accept.ts";
import { readHeaders, streamedBody } from "../answer.ts";
import type { HotTable } from "../hot/table.ts";
import { TEXT, TIME, WHOLE } from "../json-schema.ts";
import { ocsfLine } from "../ocsf/line.ts";
import { OCSF_EVENT_SCHEMA, OCSF_PROFILE } from "../ocsf/schema.ts";
import { ProblemError } from "../problem.ts";
import type { LeftOut } from "../query-metrics.ts";
import { TOKEN_ENDED } from "../token-table.ts";
import { parseConditions, parseSince } from "../request.ts";
import type { Call, Route } from "../route.ts";
import { EVENT_SCHEMA, eventStream } from "../schemas.ts";
import { follow, type FollowOptions, type TailItem, type TailSource } from "../tail/follow.ts";
import { type Asked, gapNotice, removedNotice } from "../tail/gap-notice.ts";
import type { LiveClients } from "../tail/live-clients.ts";
import { decodeTailPlace, encodeTailPlace, type TailPlace } from "../tail-place.ts";
import { TIME_FORMS } from "../time-text.ts";

export interface TailParts {
  readonly source: TailSource;
  readonly hot: HotTable;
  readonly clients: LiveClients;
  /** A comment is sent after so long without an event. */
  readonly heartbeatMs: number;
  /** Of Probity, for events of OCSF. */
  readonly version: string;
  readonly left: LeftOut;
}

type Form = "sse" | "ocsf-sse";

export const HEARTBEAT_MS = 15_000;

const EVENT_STREAM = "text/event-stream";
const OFFERS: readonly Offer<Form>[] = [
  { form: "sse", types: [EVENT_STREAM] },
  { form: "ocsf-sse", types: [EVENT_STREAM], profile: OCSF_PROFILE },
];
const TYPES: Readonly<Record<Form, string>> = {
  sse: EVENT_STREAM,
  "ocsf-sse": withProfile(EVENT_STREAM, OCSF_PROFILE),
};
/** How long a client that was refused or cut off should wait, in milliseconds and seconds. */
const RECONNECT_MS = 1_000;

const TAIL_GAP_SCHEMA = type({
  count: WHOLE.or("null").describe("events that were left out; null when nobody knows"),
  reason: TEXT,
  from: TEXT.describe("id of the first; if retention took them, the id or time to go on from"),
  to: TEXT.array().describe("ids of the last, one of each stream, as far as known"),
  "before?": TIME.or("null").describe("what retention took was logged before; null: not known"),
  searches: TEXT.array().describe(
    "addresses that give them, one of each stream; of the first and last batch perhaps more",
  ),
});

export function tailRoute(parts: TailParts): Route {
  return {
    method: "GET",
    path: "/v1/tail",
    summary: "Follow events live, from a place on if told",
    action: "read",
    parameters: [{
      name: "since",
      text: `Begin in the past: ${TIME_FORMS}, or an event's id. "Last-Event-ID" goes before it`,
      schema: { type: "string" },
      example: "15m",
    }],
    takesFilters: true,
    answers: {
      [TYPES.sse]: eventStream(EVENT_SCHEMA, TAIL_GAP_SCHEMA),
      [TYPES["ocsf-sse"]]: eventStream(OCSF_EVENT_SCHEMA, TAIL_GAP_SCHEMA),
    },
    headers: [{
      name: "Last-Event-ID",
      text: "Goes on after this place, exactly: the last id of an earlier stream",
      schema: { type: "string" },
    }],
    problems: [406],
    async handle(call) {
      if (call.request.method === "HEAD") {
        throw new ProblemError(405, "A stream has no length to ask for", {
          accepted: "GET",
          headers: { Allow: "GET" },
        });
      }
      const form = negotiate(call.request.headers.get("accept") ?? undefined, OFFERS);
      const writing = { form, version: parts.version, asked: call };
      const options = tailOptions(call, parts);
      const end = parts.clients.admit(call.principal, options.request.conditions);
      const items = follow(parts.source, options);
      let rows = 0;
      const chunks = async function* (): AsyncGenerator<string> {
        let head = `retry: ${RECONNECT_MS}\n\n`;
        for await (const group of items) {
          for (const item of group) {
            if (item.kind === "row") rows += 1;
            if (item.kind !== "gap") continue;
            parts.left.gaps.add(1);
            parts.left.events.add(item.skipped.count);
          }
          if (group.length > 0) {
            yield head + group.map((item) => formatItem(item, writing)).join("");
          }
          head = "";
        }
        yield `: ${reasonOf(call.signal)}\n\n`;
      };
      const body = await streamedBody({
        chunks: chunks(),
        onEnd({ bytes }) {
          end();
          call.report({ rows, bytes });
        },
      });
      call.report({});
      const facts = { scan: { files: 0, bytes: 0 }, prunedFiles: 0 };
      return new Response(body, {
        headers: {
          ...readHeaders({ ...facts, missing: parts.hot.missing() }),
          "Content-Type": `${TYPES[form]}; charset=utf-8`,
          "Cache-Control": "no-store, no-transform",
          "X-Accel-Buffering": "no",
        },
      });
    },
  };
}

function tailOptions(call: Call, { heartbeatMs }: TailParts): FollowOptions {
  const conditions = parseConditions(call.parameters, call.time);
  const place = placeOf(call.request.headers.get("last-event-id"));
  const since = place === undefined ? parseSince(call.parameters, call.time) : undefined;
  return {
    request: { conditions, sinceUs: since?.kind === "time" ? since.timeUs : undefined },
    principal: call.principal,
    place,
    since,
    signal: call.signal,
    quietMs: heartbeatMs,
  };
}

/** Why a stream ends that would not end by itself. */
function reasonOf({ reason }: AbortSignal): string {
  const isTold = reason instanceof DOMException && reason.message === TOKEN_ENDED;
  return isTold ? "the token has ended" : "the service is stopping";
}

/** An empty id is what a client sends that has not seen any. */
function placeOf(text: string | null): TailPlace | undefined {
  if (text === null || text === "") return undefined;
  const place = decodeTailPlace(text);
  if (place !== undefined) return place;
  throw new ProblemError(400, "The place to go on after is none that this service has given out", {
    parameter: "Last-Event-ID",
    accepted: `the "id" of an event of this stream`,
  });
}

interface Writing {
  readonly form: Form;
  readonly version: string;
  readonly asked: Asked;
}

function formatItem(item: TailItem, { form, version, asked }: Writing): string {
  const id = `id: ${encodeTailPlace(item.place)}\n`;
  switch (item.kind) {
    case "row": {
      const { json } = item.row;
      return `event: audit\n${id}data: ${form === "sse" ? json : ocsfLine(json, { version })}\n\n`;
    }
    case "gap":
      return `event: gap\n${id}data: ${JSON.stringify(gapNotice(item.skipped, asked))}\n\n`;
    case "removed":
      return `event: gap\n${id}data: ${JSON.stringify(removedNotice(item.removed))}\n\n`;
    case "place":
    case "present":
      // An id without data moves the client's place and is no event of its own.
      return `: \n${id}\n`;
  }
}
