/**
 * What belongs together over time: a file under all its names, and operations of cryptography and applications as trees.
 *
 * as: an object with the member that is asked for is taken for the answer; its members are what the service says
 */
import { objectWith } from "./answer.ts";
import { type Condition, type RecordedEvent, recordedEvent } from "./record.ts";
import {
  type AnswerFacts,
  type Connection,
  factsOf,
  jsonOf,
  request,
  type RequestOptions,
} from "./request.ts";

export interface FileHistoryQuery {
  readonly from?: string;
  readonly to?: string;
  readonly host?: Condition;
  /** By time; `desc` unless told. */
  readonly order?: "asc" | "desc";
  readonly limit?: number;
}

export interface FileHistory extends AnswerFacts {
  readonly path: string;
  readonly from: string;
  readonly to: string;
  /** Other names that the file had, and when. */
  readonly names: readonly {
    readonly host: string;
    readonly path: string;
    readonly from: string;
    readonly to: string;
  }[];
  readonly names_cut: boolean;
  /** Whether there are more events. */
  readonly cut: boolean;
  readonly events: readonly RecordedEvent[];
}

/** An operation with those inside it. */
export interface ContextSpan {
  readonly host: string;
  readonly context: string;
  /** Build id of the library. */
  readonly origin: string;
  readonly executable: string;
  /** Seconds since the Unix epoch. */
  readonly start: number;
  readonly end: number;
  /** Name and data by key. */
  readonly events: Readonly<Record<string, unknown>>;
  /** What IANA calls values of events, by key. */
  readonly names?: Readonly<Record<string, string>>;
  readonly spans?: readonly ContextSpan[];
}

export interface Contexts extends AnswerFacts {
  readonly from: string;
  readonly to: string;
  /** Whether a tree may lack something. */
  readonly cut: boolean;
  readonly contexts: readonly ContextSpan[];
}

export interface ContextPage extends Contexts {
  /** Cursor of the next page; null on the last. */
  readonly next: string | null;
}

export interface ContextQuery {
  readonly from?: string;
  readonly to?: string;
  readonly host?: Condition;
}

export interface ContextsQuery extends ContextQuery {
  readonly exe?: Condition;
  /** Trees of a page. */
  readonly limit?: number;
  /** `next` of the page before. */
  readonly cursor?: string;
}

export interface SpanClient {
  /** What happened to a file under all names that it had; the path is meant as it is. */
  fileHistory(
    path: string,
    query?: FileHistoryQuery,
    options?: RequestOptions,
  ): Promise<FileHistory>;
  /** Operations that began in the range. */
  contexts(query?: ContextsQuery, options?: RequestOptions): Promise<ContextPage>;
  /** One of them; throws `ProblemError` 404 for an unknown one. */
  context(id: string, query?: ContextQuery, options?: RequestOptions): Promise<Contexts>;
}

export function createSpans(connection: Connection): SpanClient {
  const contextsAt = async <T extends Contexts>(
    path: string,
    query: ContextsQuery | undefined,
    options: RequestOptions | undefined,
  ): Promise<T> => {
    const response = await request(connection, path, { ...options, parameters: { ...query } });
    const value = objectWith("contexts", await jsonOf(response)) as unknown as T;
    return { ...value, ...factsOf(response) };
  };
  return {
    async fileHistory(path, query, options) {
      const response = await request(connection, "v1/files/history", {
        ...options,
        parameters: { path, ...query },
      });
      const value = objectWith("names", await jsonOf(response)) as unknown as FileHistory;
      return { ...factsOf(response), ...value, events: value.events.map(recordedEvent) };
    },
    contexts: (query, options) => contextsAt("v1/contexts", query, options),
    context: (id, query, options) =>
      contextsAt(`v1/contexts/${encodeURIComponent(id)}`, query, options),
  };
}
