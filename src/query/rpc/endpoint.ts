/**
 * `/rpc`: who may open a connection, and what each of its calls is allowed and told to the audit. The connection itself
 * belongs to the server around the service.
 *
 * Invariant: a connection has the rights of its token, is ended with it, and each of its calls is recorded as the
 * requests of HTTP are.
 */
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import type { Audit } from "../audit.ts";
import type { Door } from "../door.ts";
import { ProblemError } from "../problem.ts";
import type { Origins } from "../origins.ts";
import { busyWhen } from "./busy.ts";
import { auditEventsGet, type EventsMethodParts } from "./events-method.ts";
import type { RpcMethod } from "./method.ts";
import { auditMetricGet, auditMetricTail } from "./metric-methods.ts";
import type { MetricReader } from "../metric/metric.ts";
import type { RpcRequest } from "./protocol.ts";
import { type RpcSocket, runSession } from "./session.ts";

/** What a client says when it opens a connection. */
export interface Handshake {
  readonly authorization: string | undefined;
  /** Of `Sec-WebSocket-Protocol`. */
  readonly protocols: readonly string[];
  readonly origin: string | undefined;
  readonly host: string | undefined;
  /** The client's address. */
  readonly remote: string | undefined;
}

export interface Admission {
  /** Aborted when the connection has to end; the reason's message says why. */
  readonly signal: AbortSignal;
  /** Resolves when the client has left or the connection has to end, and no call runs any more. */
  serve(socket: RpcSocket): Promise<void>;
}

export interface RpcEndpoint {
  /** Throws {@link ProblemError} for who may not open a connection. */
  admit(handshake: Handshake): Promise<Admission>;
  /** The client is asked for a sign of life so often, in milliseconds. */
  readonly heartbeatMs: number;
}

export interface RpcEndpointOptions extends EventsMethodParts {
  readonly reader: MetricReader;
  readonly liveReader: MetricReader;
  readonly door: Pick<Door, "admit" | "charge">;
  readonly origins: Pick<Origins, "mayConnect">;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly bootUs: () => number;
  /** Aborted when the service stops. */
  readonly signal: AbortSignal;
}

/** The protocol that clients name if they name any, and what goes before the token in base64url. */
export const RPC_PROTOCOL = "probity.rpc";
export const TOKEN_PROTOCOL = "probity.token.";
/** Connections at the same time, in all and of one principal. */
export const CONNECTIONS_MAX = 256;
export const CONNECTIONS_EACH_MAX = 32;

export function createRpcEndpoint(options: RpcEndpointOptions): RpcEndpoint {
  const { door, audit, metrics, clock, log, bootUs } = options;
  const methods = methodsOf(options);
  /** Connections by the principal's name. */
  const open = new Map<string, number>();
  const openInAll = (): number => [...open.values()].reduce((sum, each) => sum + each, 0);
  metrics.observed("probity_rpc_connections", { help: "Connections of /rpc." }, openInAll);
  const calls = metrics.counter("probity_rpc_calls_total", {
    help: "Calls of /rpc that have ended, by method and error code (0: none).",
    labels: ["method", "code"],
  });

  const admit = async (handshake: Handshake): Promise<Admission> => {
    const { remote } = handshake;
    refuseForeignOrigin(handshake, options.origins);
    const authorization = authorizationOf(handshake);
    const { principal, ended } = await door.admit(authorization, { action: "read", remote });
    const { name } = principal;
    busyWhen(openInAll() >= CONNECTIONS_MAX || (open.get(name) ?? 0) >= CONNECTIONS_EACH_MAX);
    const signal = AbortSignal.any([options.signal, ...ended === undefined ? [] : [ended]]);
    const contextOf = ({ method, params }: RpcRequest) => ({
      principal,
      time: { nowUs: clock.nowUs(), bootUs: bootUs() },
      report: (end?: { readonly rows: number; readonly outcome: "success" | "failure" }) =>
        audit.read({
          principal,
          route: `${method} at /rpc`,
          parameters: typeof params === "object" ? { ...params } : {},
          rows: end?.rows,
          bytes: undefined,
          remote,
          outcome: end?.outcome ?? "success",
        }),
    });
    return {
      signal,
      async serve(socket) {
        open.set(name, (open.get(name) ?? 0) + 1);
        try {
          await runSession(socket, {
            methods,
            contextOf,
            onCall: () => door.charge(principal, { remote }),
            signal,
            onEnd: (method, code) => calls.add(1, { method, code: String(code ?? 0) }),
            onError: (error) => log.error("a call failed", { error: String(error) }),
          });
        } finally {
          const left = (open.get(name) ?? 1) - 1;
          if (left === 0) open.delete(name);
          else open.set(name, left);
        }
      },
    };
  };
  return { admit, heartbeatMs: options.heartbeatMs };
}

function methodsOf(options: RpcEndpointOptions): ReadonlyMap<string, RpcMethod> {
  return new Map([
    ["auditEventsGet", auditEventsGet(options)],
    ["auditMetricGet", auditMetricGet(options)],
    ["auditMetricTail", auditMetricTail(options)],
  ]);
}

/** A page of another site shall not speak to the service from a browser that reaches it. */
function refuseForeignOrigin(
  { origin, host }: Handshake,
  origins: Pick<Origins, "mayConnect">,
): void {
  if (origin === undefined || origins.mayConnect(origin, host)) return;
  throw new ProblemError(403, "A page of another origin may not open a connection", {
    parameter: "Origin",
    accepted: "none, that of this service, or one of [server] origins",
  });
}

/** The header, or for browsers, which cannot set it, the same in a protocol's name. */
function authorizationOf({ authorization, protocols }: Handshake): string | undefined {
  if (protocols.length > 0 && !protocols.includes(RPC_PROTOCOL)) {
    throw new ProblemError(400, "None of the protocols is spoken here", {
      parameter: "Sec-WebSocket-Protocol",
      accepted: `${RPC_PROTOCOL}, and ${TOKEN_PROTOCOL}<token in base64url>`,
    });
  }
  if (authorization !== undefined) return authorization;
  const named = protocols.find((each) => each.startsWith(TOKEN_PROTOCOL));
  if (named === undefined) return undefined;
  const token = Buffer.from(named.slice(TOKEN_PROTOCOL.length), "base64url").toString();
  return `Bearer ${token}`;
}
