/**
 * What a route is: its place, who may call it, the parameters it knows, and what it does. The app, the check of
 * parameters and the OpenAPI description all come from these same values.
 */
import type { Action, Principal } from "./principal.ts";
import type { Parameters } from "./request.ts";
import type { TimeContext } from "./time-text.ts";

/** JSON Schema, as OpenAPI 3.1 takes it. */
export type Schema = Readonly<Record<string, unknown>>;

export interface RouteParameter {
  readonly name: string;
  readonly text: string;
  readonly schema: Schema;
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
  readonly body?: Schema;
  /** Schema of a success by media type. */
  readonly answers: Readonly<Record<string, Schema>>;
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
