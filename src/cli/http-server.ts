/**
 * Puts a fetch handler on a TCP port of Node's server, with or without TLS, within limits.
 *
 * Invariant: closing takes no new connection, lets answers that are under way end within {@link DRAIN_LIMIT_MS}, and
 * then cuts what is left.
 */
import { createAdaptorServer } from "@hono/node-server";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { Socket } from "node:net";
import { systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { HEAD_BYTES_MAX } from "../query/door.ts";
import { CommandError, EXIT } from "./exit.ts";
import type { Address } from "./option-type.ts";
import { openTlsFiles, type TlsFiles, type TlsPair, type TlsPaths } from "./tls-files.ts";

export interface HttpServerOptions {
  readonly fetch: (request: Request, environment?: unknown) => Promise<Response>;
  readonly address: Address;
  /** Files of a certificate, which are read again when they change; without them the server speaks plain HTTP. */
  readonly tls: ServerTls | undefined;
  /** Without it, no WebSocket is taken. */
  readonly webSockets?: WebSockets;
  /** How long answers may take that are under way when it closes; {@link DRAIN_LIMIT_MS} unless told. */
  readonly drainMs?: number;
}

/** WebSockets at one path. */
export interface WebSockets {
  readonly path: string;
  /** Takes connections of the server until it is disposed of, which ends them. */
  open(server: Server): AsyncDisposable;
}

export interface ServerTls extends TlsPaths {
  readonly log: Log;
  /** How often the files are looked at. */
  readonly lookMs?: number;
  /** Time for a handshake; {@link HEADERS_TIMEOUT_MS} unless told. */
  readonly handshakeMs?: number;
}

export interface HttpServer extends AsyncDisposable {
  /** Address that clients use; an unspecified host is shown as this machine's loopback. */
  readonly url: string;
  /** Host and real port, in the form of `--listen`. */
  readonly listen: string;
  /** The certificate in use; undefined without TLS. */
  readonly tls: TlsPair | undefined;
}

/** Connections at the same time; more are refused. */
const CONNECTIONS_MAX = 4_096;
const HEADERS_TIMEOUT_MS = 10_000;
/** Time for a whole request to arrive; answers may take as long as they need. */
const REQUEST_TIMEOUT_MS = 30_000;
/** How often is looked whose time is over. */
const CHECK_MS = 1_000;
/** Longer than usual proxies keep theirs, so that they never send on a connection that we are closing. */
const KEEP_ALIVE_MS = 75_000;
const DRAIN_LIMIT_MS = 5_000;
const IDLE_SWEEP_MS = 20;
/** Older ones have known faults (RFC 8996). */
const TLS_LEAST = "TLSv1.2";

/** Listens; throws when the address is taken or the TLS files are unusable. */
export async function openHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { fetch, address, tls, webSockets, drainMs = DRAIN_LIMIT_MS } = options;
  const handshakeTimeout = tls?.handshakeMs ?? HEADERS_TIMEOUT_MS;
  const limits = {
    // Where the runtime does not ask, the refusal comes from the WebSockets' side.
    ...(webSockets === undefined ? {} : {
      shouldUpgradeCallback: (request: IncomingMessage) => wantsWebSocket(request, webSockets.path),
    }),
    maxHeaderSize: HEAD_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_MS,
  };
  await using stack = new AsyncDisposableStack();
  const files = tls === undefined ? undefined : stack.use(openFiles(tls, (pair) => {
    // as: with files, the server below is one of node:https
    (server as TlsServer).setSecureContext(secureOf(pair));
  }));
  const server = createAdaptorServer(
    files === undefined ? { fetch, createServer, serverOptions: limits } : {
      fetch,
      createServer: createTlsServer,
      serverOptions: { ...limits, handshakeTimeout, ...secureOf(files.current) },
    },
  );
  // as: both factories above make servers of node:http's shape; the adaptor's type names HTTP/2 too
  const http = server as Server;
  http.maxConnections = CONNECTIONS_MAX;
  const connections = connectionsOf(http);
  const sockets = webSockets?.open(http);
  try {
    http.listen(address.port, address.host);
    await once(http, "listening");
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    const where = `${hostText(address.host)}:${address.port}`;
    throw new CommandError(EXIT.failed, `Cannot listen on ${where}: ${code}`, { cause });
  }
  const bound = http.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
  const scheme = tls === undefined ? "http" : "https";
  const owned = stack.move();
  return {
    url: `${scheme}://${hostText(reachable(address.host))}:${port}`,
    listen: `${hostText(address.host)}:${port}`,
    get tls() {
      return files?.current;
    },
    async [Symbol.asyncDispose]() {
      await owned.disposeAsync();
      await close(http, { sockets, connections, drainMs });
    },
  };
}

/** Whether a request asks for the WebSocket at a path. */
export function wantsWebSocket({ url = "", headers }: IncomingMessage, path: string): boolean {
  return url.split("?")[0] === path && headers.upgrade?.toLowerCase() === "websocket";
}

function openFiles(
  { log, lookMs, cert, key }: ServerTls,
  onChange: (pair: TlsPair) => void,
): TlsFiles {
  const clock = systemClock;
  const paths = { cert, key };
  return openTlsFiles({ paths, onChange, clock, log, ...(lookMs === undefined ? {} : { lookMs }) });
}

function secureOf({ cert, key }: TlsPair) {
  return { cert, key, minVersion: TLS_LEAST } as const;
}

/** Connections that are open: the server itself forgets those in a handshake, and those that were upgraded. */
function connectionsOf(server: Server): ReadonlySet<Socket> {
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  return open;
}

interface Closing {
  readonly sockets: AsyncDisposable | undefined;
  readonly connections: ReadonlySet<Socket>;
  readonly drainMs: number;
}

async function close(server: Server, { sockets, connections, drainMs }: Closing): Promise<void> {
  if (!server.listening) return;
  const limit = new AbortController();
  const closed = once(server, "close").then(() => limit.abort());
  server.close();
  // A connection that is kept alive becomes idle only after its last answer.
  const leaving = sockets?.[Symbol.asyncDispose]();
  const sweep = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_MS);
  await Promise.allSettled([systemClock.sleep(drainMs, limit.signal)]);
  clearInterval(sweep);
  await leaving;
  server.closeAllConnections();
  for (const socket of connections) socket.destroy();
  await closed;
}

function hostText(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}
