/**
 * Problems: every answer that is not a success is one of these (RFC 9457). They name what was wrong and what would be
 * accepted; nothing of the inside (stack, path, statement) is ever part of one.
 */

export interface ProblemDetails {
  readonly status: number;
  /** The status in words. */
  readonly title: string;
  /** One sentence: what is wrong here. */
  readonly detail: string;
  /** The parameter, header or member of the body that is meant. */
  readonly parameter?: string;
  /** The form that would be accepted. */
  readonly accepted?: string;
}

export interface ProblemOptions {
  readonly parameter?: string;
  readonly accepted?: string;
  /** Headers of the answer beside its type, such as `Allow`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

export type ProblemStatus = keyof typeof PROBLEM_TITLES;

export const PROBLEM_TYPE = "application/problem+json";

export const PROBLEM_TITLES = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  414: "URI Too Long",
  422: "Unprocessable Content",
  426: "Upgrade Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
} as const;

/** An answer that is not a success, thrown from wherever that is found out. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly problem: ProblemDetails;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: ProblemStatus, detail: string, options: ProblemOptions = {}) {
    super(detail, options.cause === undefined ? {} : { cause: options.cause });
    const { parameter, accepted, headers = {} } = options;
    this.problem = {
      status,
      title: PROBLEM_TITLES[status],
      detail,
      ...(parameter === undefined ? {} : { parameter }),
      ...(accepted === undefined ? {} : { accepted }),
    };
    this.headers = headers;
  }
}

export function problemResponse(error: ProblemError): Response {
  const { problem, headers } = error;
  return new Response(`${JSON.stringify({ type: "about:blank", ...problem })}\n`, {
    status: problem.status,
    headers: { ...headers, "Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store" },
  });
}
