/**
 * What a route is: its place, who may call it, the parameters it knows, and what it does. The app, the check of
 * parameters and the OpenAPI description all come from these same values.
 */
import type { Described, Schema } from "./json-schema.ts";
import type { RpcDescription } from "./openapi-document.ts";
import type { Action, Principal } from "./principal.ts";
import type { ProblemStatus } from "./problem.ts";
import type { Parameters } from "./request.ts";
import type { TimeContext } from "./time-text.ts";

export type { Schema } from "./json-schema.ts";

export interface RouteParameter {
  readonly name: string;
  readonly text: string;
  readonly schema: Schema;
  /** A value that can be given. */
  readonly example?: string | number;
}

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** With a parameter in braces: `/v1/events/{id}`. */
  readonly path: string;
  readonly summary: string;
  /** What a principal must be allowed to do; undefined when no token is needed. */
  readonly action: Action | undefined;
  /** Of the path. */
  readonly pathParameters?: readonly RouteParameter[];
  /** Of the query, beside the filters. */
  readonly parameters?: readonly RouteParameter[];
  /** Whether every column can be a parameter too. */
  readonly takesFilters?: boolean;
  /** Headers of the request that it looks at, beside `Accept` and `Authorization`. */
  readonly headers?: readonly RouteParameter[];
  readonly body?: Described;
  /** What a success answers, by media type; without any, an answer is 204. */
  readonly answers: Readonly<Record<string, Described>>;
  /** Statuses of answers in that form; 200 unless told. */
  readonly statuses?: readonly number[];
  /** Whether its answers say how they were found; those to `read` and `sql` do unless told. */
  readonly tellsScan?: boolean;
  /** Further headers of a success, with what they say. */
  readonly answerHeaders?: Readonly<Record<string, string>>;
  /** What `HEAD` answers in headers alone; told where that is more than the headers of `GET`. */
  readonly head?: { readonly summary: string; readonly headers: Readonly<Record<string, string>> };
  /** Problems beside those that every route of its kind can have. */
  readonly problems?: readonly ProblemStatus[];
  /** What is called over it, where it is a WebSocket. */
  readonly rpc?: Readonly<Record<string, RpcDescription>>;
  handle(call: Call): Promise<Response>;
}

/** One request at a route: the token is known, the parameters are among those of the route. */
export interface Call {
  readonly request: Request;
  readonly principal: Principal;
  readonly parameters: Parameters;
  /** Value of the parameter in the path; "" when the route has none. */
  readonly pathValue: string;
  readonly time: TimeContext;
  /** Aborted when the client is gone, the token ends or the service stops. */
  readonly signal: AbortSignal;
  /** Tells the audit what was read. */
  report(report: CallReport): void;
  /** Tells the audit what was changed. */
  reportChange(report: ChangeReport): void;
}

export interface ChangeReport {
  /** What was done, as in `made subscription "siem"`. */
  readonly what: string;
  /** Beside the parameters of the request. */
  readonly more?: Readonly<Record<string, unknown>>;
}

export interface CallReport {
  /** Undefined when a stream begins. */
  readonly rows?: number;
  readonly bytes?: number;
  /** Instead of those of the query. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  readonly outcome?: "success" | "failure";
}
