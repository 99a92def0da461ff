/**
 * One request to the service: address, token, parameters, and what an answer says about itself. Web APIs only, so that
 * it runs in Node, Deno and browsers.
 *
 * Invariant: an answer that is not 2xx becomes a {@link ProblemError}, no answer an {@link UnreachableError}; an abort
 * keeps its reason.
 */
import { problemOf, UnreachableError } from "./problem.ts";
import type { Condition } from "./record.ts";

export type Fetch = (input: URL, init: RequestInit) => Promise<Response>;

/** Where the service is, and as whom it is asked. */
export interface Connection {
  readonly url: URL;
  readonly token: string | undefined;
  readonly fetch: Fetch;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
}

export interface ServiceRequest extends RequestOptions {
  readonly parameters?: Readonly<Record<string, Condition | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** GET unless told, POST with a body. */
  readonly method?: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Statuses beside 2xx that are an answer, not a problem. */
  readonly accepts?: readonly number[];
}

/** What an answer says of the work behind it. */
export interface AnswerFacts {
  /** False when part of the range asked for is not searchable yet, or lies in a gap. */
  readonly isComplete: boolean;
  /** In words, what could not be seen; undefined when nothing was missing. */
  readonly missing: string | undefined;
  readonly scannedFiles: number | undefined;
  readonly scannedBytes: number | undefined;
  readonly prunedFiles: number | undefined;
}

/** Asks the service. `path` has no slash in front; a prefix in the service's URL is kept. */
export async function request(
  connection: Connection,
  path: string,
  { parameters = {}, headers = {}, method, body, signal, accepts = [] }: ServiceRequest = {},
): Promise<Response> {
  const url = addressOf(connection.url, path, parameters);
  const init: RequestInit = {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: {
      accept: "application/json",
      ...(connection.token === undefined ? {} : { authorization: `Bearer ${connection.token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  };
  let response: Response;
  try {
    response = await connection.fetch(url, init);
  } catch (cause) {
    signal?.throwIfAborted();
    throw new UnreachableError(`Cannot reach ${connection.url.href}: ${reasonOf(cause)}`, {
      cause,
    });
  }
  if (!response.ok && !accepts.includes(response.status)) throw await problemOf(response);
  return response;
}

/** The JSON of an answer. */
export async function jsonOf(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UnreachableError(`Cannot read the answer of ${response.url}: not JSON`, { cause });
  }
}

/** The answer's body; breaking off in the middle of it is an {@link UnreachableError}. */
export async function* reading<T>(
  items: AsyncIterable<T>,
  { url }: Response,
  options: RequestOptions,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* items;
  } catch (cause) {
    options.signal?.throwIfAborted();
    if (!(cause instanceof TypeError)) throw cause;
    throw new UnreachableError(`Cannot read the answer of ${url}: ${reasonOf(cause)}`, { cause });
  }
}

export function factsOf({ headers }: Response): AnswerFacts {
  const count = (name: string): number | undefined => {
    const text = headers.get(name);
    return text === null ? undefined : Number(text);
  };
  return {
    isComplete: headers.get("Probity-Complete") !== "false",
    missing: headers.get("Probity-Missing") ?? undefined,
    scannedFiles: count("Probity-Scanned-Files"),
    scannedBytes: count("Probity-Scanned-Bytes"),
    prunedFiles: count("Probity-Pruned-Files"),
  };
}

function addressOf(
  service: URL,
  path: string,
  parameters: Readonly<Record<string, Condition | undefined>>,
): URL {
  const base = service.href.endsWith("/") ? service : new URL(`${service.href}/`);
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of valuesOf(value)) url.searchParams.append(name, String(each));
  }
  return url;
}

function valuesOf(value: Condition | undefined): readonly (string | number)[] {
  if (value === undefined) return [];
  return typeof value === "string" || typeof value === "number" ? [value] : value;
}

/** The innermost cause that says something: `ECONNREFUSED` rather than "fetch failed". */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error instanceof AggregateError ? error.errors[0] : error.cause;
  if (inner instanceof Error) return reasonOf(inner);
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
