/**
 * JSON-RPC over WebSocket: `auditEventsGet`, `auditMetricGet` and `auditMetricTail` over one connection, which is opened
 * when it is needed, and again after it broke.
 *
 * as: an object with a total is taken for a metric; its members are what the service says
 */
import { objectWith } from "./answer.ts";
import { UnreachableError } from "./problem.ts";
import { isAborted, SILENCE_MS } from "./reconnect.ts";
import type { Connection, RequestOptions } from "./request.ts";
import { type RpcEventItem, rpcEvents, type RpcEventsQuery, type RpcSeek } from "./rpc-events.ts";
import { openRpcLink, type OpenWebSocket, type RpcLink } from "./rpc-link.ts";
import { again, type AgainOptions, partsOf, type Reconnecting } from "./rpc-parts.ts";

export interface RpcMetricQuery {
  /** Segments of a topic, which contains all below it; `[]` for all. */
  readonly path: readonly string[];
  /** Inclusive; from the first event unless given. */
  readonly seek?: RpcSeek;
  /** Exclusive; to the last event unless given. */
  readonly seekEnd?: RpcSeek;
}

/** Averages are over begun minutes, hours and days from the first event counted to the last. */
export interface RpcMetric {
  readonly total: number;
  readonly averagePerMinute: number;
  readonly averagePerHour: number;
  readonly averagePerDay: number;
  /** False when a part of the record could not be seen. */
  readonly complete: boolean;
}

export type RpcMetricItem = { readonly kind: "metric"; readonly metric: RpcMetric } | Reconnecting;

/** Every call throws `ProblemError` when the service refuses and `UnreachableError` when the connection breaks. */
export interface RpcClient extends AsyncDisposable {
  /** Events that are stored, or, where they are awaited, these and then what comes. */
  auditEventsGet(query: RpcEventsQuery, options?: AgainOptions): AsyncIterable<RpcEventItem>;
  auditMetricGet(query: RpcMetricQuery, options?: RequestOptions): Promise<RpcMetric>;
  /**
   * The present state at once, then whenever it changes, until the signal is aborted. Opened again after an outage, and
   * the state is told anew.
   */
  auditMetricTail(
    query: Omit<RpcMetricQuery, "seekEnd">,
    options?: AgainOptions,
  ): AsyncIterable<RpcMetricItem>;
  /** Ends the connection and what runs over it. */
  close(): Promise<void>;
}

export function createRpc(connection: Connection, openSocket: OpenWebSocket): RpcClient {
  const closed = new AbortController();
  let link: RpcLink | undefined;
  let opening: Promise<RpcLink> | undefined;
  const open = async (signal: AbortSignal | undefined): Promise<RpcLink> => {
    closed.signal.throwIfAborted();
    if (link?.isOpen === true) return link;
    opening ??= openRpcLink(connection, openSocket, { signal: closed.signal })
      .then((opened) => link = opened)
      .finally(() => opening = undefined);
    return await orAborted(opening, signal);
  };
  const close = async (): Promise<void> => {
    const error = new UnreachableError("Cannot go on: the client was closed");
    closed.abort(error);
    await Promise.allSettled([opening]);
    link?.close(error);
  };
  return {
    auditEventsGet: (query, options) => rpcEvents(open, query, whileOpen(options, closed.signal)),
    async auditMetricGet(query, { signal } = {}) {
      const link = await open(signal);
      const parts = partsOf(link, {
        ...{ method: "auditMetricGet", params: query, signal, silenceMs: undefined },
      });
      const { value } = await parts.next();
      if (value === undefined || !("result" in value)) {
        throw new TypeError("Cannot read a metric: the answer has none");
      }
      return metricOf(objectWith("data", value.result)["data"]);
    },
    auditMetricTail(query, options = {}) {
      const asked = whileOpen(options, closed.signal);
      const { signal, silenceMs = SILENCE_MS } = asked;
      return again(async function* (alive) {
        const link = await open(signal);
        const call = { method: "auditMetricTail", params: query, isState: true };
        for await (const { params } of partsOf(link, { ...call, signal, silenceMs })) {
          alive();
          yield { kind: "metric" as const, metric: metricOf(params["data"]) };
        }
        return "more" as const;
      }, asked);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Options whose signal is aborted, too, when the client is closed. */
function whileOpen(options: AgainOptions = {}, closed: AbortSignal): AgainOptions {
  const { signal } = options;
  return { ...options, signal: signal === undefined ? closed : AbortSignal.any([signal, closed]) };
}

function metricOf(value: unknown): RpcMetric {
  return objectWith("total", value) as unknown as RpcMetric;
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const left = Promise.withResolvers<never>();
  const leave = (): void => left.reject(signal.reason);
  signal.addEventListener("abort", leave, { once: true });
  try {
    if (isAborted(signal)) leave();
    return await Promise.race([work, left.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
