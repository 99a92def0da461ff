/**
 * The HTTP app: a plain `fetch` handler over the routes. What every request has in common is decided here, once: who
 * asks and whether they may (by the {@link Door}), which parameters a route knows, how errors are told, and what the audit hears.
 *
 * Invariant: no route runs before its caller is known and allowed, and no answer shows an error's inside.
 */
import { Hono } from "hono";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Audit } from "./audit.ts";
import type { Door } from "./door.ts";
import type { Origins } from "./origins.ts";
import { ProblemError, problemResponse } from "./problem.ts";
import { remoteOf } from "./remote.ts";
import { FILTER_NAMES, readParameters } from "./request.ts";
import type { Call, Route } from "./route.ts";

export interface AppOptions {
  readonly routes: readonly Route[];
  readonly door: Door;
  /** Whose pages may speak to it. */
  readonly origins: Origins;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  /** When this machine started, µs since the Unix epoch. */
  readonly bootUs: () => number;
  /** Aborted when the service stops. */
  readonly signal: AbortSignal;
}

/** The second argument is what the server knows beside the request: Node's, Deno's or Bun's. */
export interface App {
  fetch(request: Request, environment?: unknown): Promise<Response>;
}

/** Upper bounds of the histogram of durations, in seconds. */
const DURATION_BUCKETS = [0.005, 0.02, 0.1, 0.5, 2, 10, 60];

export function createApp(options: AppOptions): App {
  const { routes, log, metrics } = options;
  const hono = new Hono<{ Bindings: Record<string, unknown> }>();
  const requests = metrics.counter("probity_http_requests_total", {
    help: "Requests answered.",
    labels: ["route", "status"],
  });
  const durations = metrics.histogram("probity_http_request_duration_seconds", {
    help: "Time until an answer began.",
    labels: ["route"],
    buckets: DURATION_BUCKETS,
  });
  for (const route of routes) {
    const handle = createHandler(route, options);
    const name = `${route.method} ${route.path}`;
    hono.on(route.method, honoPath(route.path), async (context) => {
      const startedMs = performance.now();
      const request = context.req.raw;
      const value = String(Object.values(context.req.param())[0] ?? "");
      const pathValue = value.slice(0, value.length - (behindTopic(route.path)?.length ?? 0));
      const answer = await answerOf(
        () => handle({ request, environment: context.env, pathValue }),
        log,
      );
      requests.add(1, { route: name, status: String(answer.status) });
      durations.observe((performance.now() - startedMs) / 1000, { route: name });
      return answer;
    });
  }
  for (const [path, methods] of methodsByPath(routes)) {
    hono.all(honoPath(path), () => problemResponse(notAllowed(methods)));
  }
  hono.notFound((context) =>
    problemResponse(
      new ProblemError(404, `There is nothing at "${context.req.path.slice(0, 200)}"`),
    )
  );
  hono.onError((error) => toResponse(error, log));
  return {
    fetch: async (request, environment) =>
      options.origins.preflight(request) ??
        options.origins.shown(await hono.fetch(request, bindingsOf(environment)), request),
  };
}

interface Incoming {
  readonly request: Request;
  readonly environment: unknown;
  readonly pathValue: string;
}

function createHandler(
  route: Route,
  options: AppOptions,
): (incoming: Incoming) => Promise<Response> {
  const { audit, clock, bootUs, signal } = options;
  const known = [
    ...(route.parameters ?? []).map(({ name }) => name),
    ...(route.takesFilters === true ? FILTER_NAMES : []),
  ];
  const name = `${route.method} ${route.path}`;
  return async ({ request, environment, pathValue }) => {
    const remote = remoteOf(environment, request);
    const caller = await options.door.enter({ request, route, remote });
    const { principal, ended } = caller;
    const url = new URL(request.url);
    const parameters = readParameters(url, known);
    const given = Object.fromEntries(
      [...parameters].map(([key, values]) => [key, values.length === 1 ? values[0] : values]),
    );
    const call: Call = {
      request,
      principal,
      parameters,
      pathValue,
      time: { nowUs: clock.nowUs(), bootUs: bootUs() },
      signal: AbortSignal.any([request.signal, signal, ...ended === undefined ? [] : [ended]]),
      report({ rows, bytes, parameters: said, outcome = "success" }) {
        audit.read({
          principal,
          route: request.method === "HEAD" ? name.replace("GET", "HEAD") : name,
          parameters: said ?? given,
          rows,
          bytes,
          remote,
          outcome,
        });
      },
      reportChange({ what, more = {} }) {
        audit.changed({
          principal,
          route: name,
          what,
          parameters: { ...given, ...more },
          remote,
        });
      },
    };
    try {
      return await route.handle(call);
    } catch (error) {
      if (isTooMany(error)) options.door.refused(caller, { remote });
      throw error;
    }
  };
}

function isTooMany(error: unknown): boolean {
  return error instanceof ProblemError && error.problem.status === 429;
}

async function answerOf(work: () => Promise<Response>, log: Log): Promise<Response> {
  try {
    return await work();
  } catch (error) {
    return toResponse(error, log);
  }
}

function toResponse(error: unknown, log: Log): Response {
  if (error instanceof ProblemError) {
    if (error.cause !== undefined) {
      log.debug("a request was refused", { detail: error.message, cause: String(error.cause) });
    }
    return problemResponse(error);
  }
  const isGone = error instanceof DOMException && error.name === "AbortError";
  if (isGone) return problemResponse(new ProblemError(503, "The request was broken off"));
  log.error("a request failed", { error: String(error) });
  return problemResponse(new ProblemError(500, "The request failed inside the service"));
}

function notAllowed(methods: readonly string[]): ProblemError {
  return new ProblemError(405, `Only ${methods.join(" and ")} can be used here`, {
    accepted: methods.join(", "),
    headers: { Allow: methods.join(", ") },
  });
}

function methodsByPath(routes: readonly Route[]): Map<string, string[]> {
  const methods = new Map<string, string[]>();
  for (const { path, method } of routes) {
    const known = methods.get(path) ?? [];
    known.push(...(method === "GET" ? ["GET", "HEAD"] : [method]));
    methods.set(path, known);
  }
  return methods;
}

function honoPath(path: string): string {
  const end = behindTopic(path);
  // A parameter with slashes in it takes the rest of the path, what is fixed there too.
  const whole = end === undefined ? path : path.replace(`{topic}${end}`, `:topic{.+${end}}`);
  return whole.replaceAll(/\{([a-z_]+)\}/g, ":$1");
}

/** What a path has behind a topic, which has slashes in it; undefined when it has no topic. */
function behindTopic(path: string): string | undefined {
  const [, end] = path.split("{topic}");
  return end;
}

function bindingsOf(environment: unknown): Record<string, unknown> {
  // as: only `remoteOf` looks into it, and it takes nothing for granted
  return (typeof environment === "object" && environment !== null ? environment : {}) as Record<
    string,
    unknown
  >;
}
