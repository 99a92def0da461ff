/** Events in other forms than ours: as files of CSV or Parquet, and as OCSF events. */
import { objectWith } from "./answer.ts";
import { readLines } from "./lines.ts";
import { ProblemError } from "./problem.ts";
import type { EventQuery, TailQuery } from "./record.ts";
import {
  type AnswerFacts,
  type Connection,
  factsOf,
  jsonOf,
  reading,
  request,
  type RequestOptions,
} from "./request.ts";
import { type TailItem, tailOf, type TailOptions } from "./tail.ts";

const FILE_TYPES = {
  ndjson: "application/x-ndjson",
  csv: "text/csv",
  parquet: "application/vnd.apache.parquet",
  "ocsf-ndjson": "application/x-ndjson; profile=ocsf",
} as const;

export type EventFileForm = keyof typeof FILE_TYPES;

/** One answer as bytes; cancelling the body ends it. */
export interface EventFile extends AnswerFacts {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** An event of OCSF; `metadata.uid` is the id of ours. */
export type OcsfEvent = Readonly<Record<string, unknown>>;

export interface OcsfClient {
  /** One page; `cursor` is the `next` of the one before. */
  page(
    query?: EventQuery & { readonly cursor?: string },
    options?: RequestOptions,
  ): Promise<
    { readonly events: readonly OcsfEvent[]; readonly next: string | undefined } & AnswerFacts
  >;
  /** All events of a query in one answer. */
  stream(
    query?: EventQuery,
    options?: RequestOptions,
  ): Promise<{ readonly events: AsyncIterable<OcsfEvent> } & AnswerFacts>;
  /** One event by its id; undefined when there is none. */
  event(id: string, options?: RequestOptions): Promise<OcsfEvent | undefined>;
  /** As the tail of our own events. */
  tail(query?: TailQuery, options?: TailOptions): AsyncIterable<TailItem<OcsfEvent>>;
}

/** All events of a query as one file. */
export async function openEventFile(
  connection: Connection,
  query: EventQuery,
  { form, ...options }: RequestOptions & { readonly form: EventFileForm },
): Promise<EventFile> {
  const response = await request(connection, "v1/events", {
    ...options,
    parameters: { ...query },
    headers: { accept: FILE_TYPES[form] },
  });
  return { ...factsOf(response), body: response.body ?? new Blob([]).stream() };
}

const JSON_PROFILE = { accept: "application/json; profile=ocsf" };

export function createOcsf(connection: Connection): OcsfClient {
  return {
    async page(query, options) {
      const response = await request(connection, "v1/events", {
        ...options,
        parameters: { ...query },
        headers: JSON_PROFILE,
      });
      const { events, next } = objectWith("events", await jsonOf(response));
      return {
        ...factsOf(response),
        events: Array.isArray(events) ? events.map(ocsfEvent) : [],
        next: typeof next === "string" ? next : undefined,
      };
    },
    async stream(query, options) {
      const response = await request(connection, "v1/events", {
        ...options,
        parameters: { ...query },
        headers: { accept: FILE_TYPES["ocsf-ndjson"] },
      });
      return { ...factsOf(response), events: eventsOf(response, { ...options }) };
    },
    async event(id, options) {
      const path = `v1/events/${encodeURIComponent(id)}`;
      try {
        const response = await request(connection, path, { ...options, headers: JSON_PROFILE });
        return ocsfEvent(await jsonOf(response));
      } catch (error) {
        if (error instanceof ProblemError && error.status === 404) return undefined;
        throw error;
      }
    },
    tail: (query, options) =>
      tailOf(connection, { ...query }, {
        ...options,
        accept: "text/event-stream; profile=ocsf",
        eventOf: ocsfEvent,
      }),
  };
}

async function* eventsOf(
  response: Response,
  options: RequestOptions,
): AsyncGenerator<OcsfEvent, void, undefined> {
  if (response.body === null) return;
  for await (const line of reading(readLines(response.body), response, options)) {
    if (line !== "") yield ocsfEvent(JSON.parse(line));
  }
}

function ocsfEvent(value: unknown): OcsfEvent {
  return objectWith("class_uid", value);
}
