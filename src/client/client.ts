/**
 * The typed client for other programs: a call for everything that the service offers. It runs in Node, Deno, Bun and
 * browsers, and knows nothing of how the service works.
 *
 * Invariant: every operation of the OpenAPI description has a call here, with all its parameters and forms; a test
 * compares.
 */
import {
  createOcsf,
  type EventFile,
  type EventFileForm,
  type OcsfClient,
  openEventFile,
} from "./event-files.ts";
import { createFigures, type FigureClient, type RangeQuery } from "./figures.ts";
import { createHosts, type HostClient } from "./hosts.ts";
import { readLines } from "./lines.ts";
import { ProblemError } from "./problem.ts";
import { type ProcessQuery, type ProcessTree, processTree } from "./process.ts";
import { type EventQuery, type RecordedEvent, recordedEvent, type TailQuery } from "./record.ts";
import {
  type AnswerFacts,
  type Connection,
  factsOf,
  type Fetch,
  jsonOf,
  reading,
  request,
  type RequestOptions,
} from "./request.ts";
import { createRpc, type RpcClient } from "./rpc.ts";
import type { OpenWebSocket } from "./rpc-link.ts";
import { createReports, type ReportClient } from "./reports.ts";
import { createSinks, type SinkClient } from "./sinks.ts";
import { createSubscriptions, type SubscriptionClient } from "./subscriptions.ts";
import { createSpans, type SpanClient } from "./spans.ts";
import { type SqlFile, type SqlForm, type SqlResult, sqlResult } from "./sql-result.ts";
import { createStatus, type StatusClient } from "./status.ts";
import { createHolds, createTable, type HoldClient, type TableClient } from "./table.ts";
import { tail, type TailItem, type TailOptions } from "./tail.ts";
import { createTokens, type TokenClient } from "./tokens.ts";
import { type TopicCount, topicCounts } from "./topic-count.ts";

export interface ClientOptions {
  /** `http://127.0.0.1:7333`; a path in it is kept as a prefix. */
  readonly url: string | URL;
  /** Bearer token. */
  readonly token?: string;
  /** Instead of the runtime's own. */
  readonly fetch?: Fetch;
  /** The same for `/rpc`. A token is in a subprotocol's name, since browsers can set no header. */
  readonly openWebSocket?: OpenWebSocket;
}

export interface EventPage extends AnswerFacts {
  readonly events: readonly RecordedEvent[];
  /** Cursor of the next page; undefined on the last. */
  readonly next: string | undefined;
}

/** One answer as a stream; leaving the loop over `events` cancels it. */
export interface EventStream extends AnswerFacts {
  readonly events: AsyncIterable<RecordedEvent>;
}

export interface SqlOptions extends RequestOptions {
  /** Values of `$name` in the statement; each name needs one. */
  readonly parameters?: Readonly<Record<string, string | number | boolean | null>>;
}

/** Every call throws `ProblemError` when the service refuses and `UnreachableError` when it does not answer. */
export interface Client extends FigureClient, SpanClient {
  /** All events of a query, page by page; `limit` bounds one page, not the whole. */
  events(query?: EventQuery, options?: RequestOptions): AsyncIterable<RecordedEvent>;
  /** One page; `cursor` is the `next` of the one before. */
  page(
    query?: EventQuery & { readonly cursor?: string },
    options?: RequestOptions,
  ): Promise<EventPage>;
  /** All events of a query in one answer (NDJSON), without a limit unless the query has one. */
  stream(query?: EventQuery, options?: RequestOptions): Promise<EventStream>;
  /** The same as a file of another form. */
  file(query: EventQuery, form: EventFileForm, options?: RequestOptions): Promise<EventFile>;
  /** How many events of a query there are. */
  count(
    query?: RangeQuery,
    options?: RequestOptions,
  ): Promise<{ readonly count: number } & AnswerFacts>;
  /** One event; undefined when there is none of this id. */
  event(id: string, options?: RequestOptions): Promise<RecordedEvent | undefined>;
  /** Follows the record until the signal is aborted; see `tail.ts`. */
  tail(query?: TailQuery, options?: TailOptions): AsyncIterable<TailItem>;
  /** Answer of one read-only statement over `events` and its views. */
  sql(statement: string, options?: SqlOptions): Promise<SqlResult>;
  /** The same as a file of another form. */
  sqlFile(statement: string, form: SqlForm, options?: SqlOptions): Promise<SqlFile>;
  /** Topics and those above them, with their numbers of events. */
  topics(query?: RangeQuery, options?: RequestOptions): Promise<readonly TopicCount[]>;
  /** A process with its ancestors and descendants, and what it did; throws `ProblemError` 404 for an unknown one. */
  process(
    id: string,
    query?: ProcessQuery,
    options?: RequestOptions,
  ): Promise<ProcessTree & AnswerFacts>;
  /** Hosts, and when which of their sources watched. */
  readonly hosts: HostClient;
  /** What changed, who came, and what was not watched. */
  readonly reports: ReportClient;
  /** Durable places in the record, read on from time to time or live. */
  readonly subscriptions: SubscriptionClient;
  readonly sinks: SinkClient;
  /** Who may ask; for administrators. */
  readonly tokens: TokenClient;
  /** Events in the form of the Open Cybersecurity Schema Framework. */
  readonly ocsf: OcsfClient;
  /** What the record is stored in; for operators. */
  readonly table: TableClient;
  /** What is kept whatever its age. */
  readonly holds: HoldClient;
  /** The service itself. */
  readonly status: StatusClient;
  /** JSON-RPC over a WebSocket of its own, which is opened with the first call and has to be closed. */
  openRpc(): RpcClient;
}

/** Throws TypeError when the URL is none. Nothing is sent before the first call. */
export function createClient(options: ClientOptions): Client {
  const connection: Connection = {
    url: new URL(options.url),
    token: options.token,
    fetch: options.fetch ?? ((url, init) => fetch(url, init)),
  };
  return {
    events: (query, each) => allPages(connection, { ...query }, { ...each }),
    page: (query, each) => readPage(connection, { ...query }, { ...each }),
    stream: (query, each) => openStream(connection, { ...query }, { ...each }),
    file: (query, form, each) => openEventFile(connection, query, { ...each, form }),
    count: async (query, each) => {
      const parameters = { ...query };
      const asked = { ...each, method: "HEAD" as const, parameters };
      const response = await request(connection, "v1/events", asked);
      return { ...factsOf(response), count: Number(response.headers.get("Probity-Count")) };
    },
    event: (id, each) => readEvent(connection, id, { ...each }),
    tail: (query, each) => tail(connection, { ...query }, { ...each }),
    sql: async (statement, options) => {
      const response = await askSql(connection, statement, { ...options, form: "json" });
      return sqlResult(await jsonOf(response), factsOf(response));
    },
    sqlFile: async (statement, form, options) => {
      const response = await askSql(connection, statement, { ...options, form });
      const isTruncated = response.headers.get("Probity-Truncated") === "true";
      const content = new Uint8Array(await response.arrayBuffer());
      return { ...factsOf(response), content, isTruncated };
    },
    topics: async (query, each) => {
      const response = await request(connection, "v1/topics", {
        ...each,
        parameters: { ...query },
      });
      return topicCounts(await jsonOf(response));
    },
    process: async (id, query, each) => {
      const path = `v1/processes/${encodeURIComponent(id)}`;
      const response = await request(connection, path, { ...each, parameters: { ...query } });
      return processTree(await jsonOf(response), factsOf(response));
    },
    hosts: createHosts(connection),
    reports: createReports(connection),
    subscriptions: createSubscriptions(connection),
    sinks: createSinks(connection),
    tokens: createTokens(connection),
    ocsf: createOcsf(connection),
    table: createTable(connection),
    holds: createHolds(connection),
    status: createStatus(connection),
    openRpc: () =>
      createRpc(
        connection,
        options.openWebSocket ?? ((url, protocols) => new WebSocket(url, [...protocols])),
      ),
    ...createFigures(connection),
    ...createSpans(connection),
  };
}

function askSql(
  connection: Connection,
  sql: string,
  { form, parameters, ...options }: SqlOptions & { readonly form: SqlForm | "json" },
): Promise<Response> {
  const body = { sql, format: form, ...(parameters === undefined ? {} : { parameters }) };
  return request(connection, "v1/sql", { ...options, body });
}

async function* allPages(
  connection: Connection,
  query: EventQuery,
  options: RequestOptions,
): AsyncGenerator<RecordedEvent, void, undefined> {
  let cursor: string | undefined;
  do {
    const page = await readPage(connection, { ...query, ...(cursor ? { cursor } : {}) }, options);
    yield* page.events;
    cursor = page.next;
  } while (cursor !== undefined);
}

async function readPage(
  connection: Connection,
  query: EventQuery & { readonly cursor?: string },
  options: RequestOptions,
): Promise<EventPage> {
  const response = await request(connection, "v1/events", { ...options, parameters: { ...query } });
  const value = await jsonOf(response);
  if (typeof value !== "object" || value === null || !("events" in value)) {
    throw new TypeError(`Cannot read a page of events: the answer has none`);
  }
  const next = "next" in value && typeof value.next === "string" ? value.next : undefined;
  const events = Array.isArray(value.events) ? value.events.map(recordedEvent) : [];
  return { ...factsOf(response), events, next };
}

async function openStream(
  connection: Connection,
  query: EventQuery,
  options: RequestOptions,
): Promise<EventStream> {
  const response = await request(connection, "v1/events", {
    ...options,
    parameters: { ...query },
    headers: { accept: "application/x-ndjson" },
  });
  return { ...factsOf(response), events: eventsOf(response, options) };
}

async function* eventsOf(
  response: Response,
  options: RequestOptions,
): AsyncGenerator<RecordedEvent, void, undefined> {
  if (response.body === null) return;
  for await (const line of reading(readLines(response.body), response, options)) {
    if (line !== "") yield recordedEvent(JSON.parse(line));
  }
}

async function readEvent(
  connection: Connection,
  id: string,
  options: RequestOptions,
): Promise<RecordedEvent | undefined> {
  try {
    const response = await request(connection, `v1/events/${encodeURIComponent(id)}`, options);
    return recordedEvent(await jsonOf(response));
  } catch (error) {
    if (error instanceof ProblemError && error.status === 404) return undefined;
    throw error;
  }
}
