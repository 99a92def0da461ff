/**
 * What goes wrong between a client and the service: a problem that the service states (RFC 9457), or a service that
 * cannot be reached. Callers tell the two apart by class.
 */

/** Longest answer that is read to explain an error, in characters. */
const PROBLEM_TEXT_MAX = 64 * 1024;

/** A problem as the service states it; members that it left out are undefined. */
export interface Problem {
  /** HTTP status. */
  readonly status: number;
  /** URI of the kind of problem. */
  readonly type: string | undefined;
  readonly title: string;
  readonly detail: string | undefined;
  /** The request's parameter that is wrong. */
  readonly parameter: string | undefined;
  /** The form that would be accepted. */
  readonly accepted: string | undefined;
}

/** The service answered, and refused. */
export class ProblemError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.name = "ProblemError";
    this.problem = problem;
  }

  get status(): number {
    return this.problem.status;
  }

  /** Whether the token is missing, unknown, or not enough. */
  get isNotAllowed(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** The service did not answer, broke off its answer, or is not Probity. */
export class UnreachableError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "UnreachableError";
  }
}

/** The error that an answer other than 2xx stands for. Reads the body. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const text = (await response.text()).slice(0, PROBLEM_TEXT_MAX);
  const isProblem = (response.headers.get("content-type") ?? "").includes("problem+json");
  return new ProblemError(parseProblem(isProblem ? text : "", response));
}

function parseProblem(
  text: string,
  { status, statusText }: { readonly status: number; readonly statusText: string },
): Problem {
  const title = statusText === "" ? `HTTP status ${status}` : `${status} ${statusText}`;
  const bare: Problem = {
    status,
    type: undefined,
    title,
    detail: undefined,
    parameter: undefined,
    accepted: undefined,
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return bare;
  }
  if (typeof value !== "object" || value === null) return bare;
  const members = new Map<string, unknown>(Object.entries(value));
  const textOf = (name: string): string | undefined => {
    const member = members.get(name);
    return typeof member === "string" ? member : undefined;
  };
  return {
    status,
    type: textOf("type"),
    title: textOf("title") ?? title,
    detail: textOf("detail"),
    parameter: textOf("parameter"),
    accepted: textOf("accepted"),
  };
}
