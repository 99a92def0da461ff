/**
 * A socket that applications connect to: TCP or Unix.
 *
 * Invariants: at most {@link CONNECTIONS_MAX} connections; connections that come while nothing is to be read wait unread.
 * A Unix socket of an agent that is gone is replaced, one that answers is not.
 */
import { once } from "node:events";
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { ListenAddress } from "../../http.ts";
import { portOf } from "../../http.ts";
import type { Connection, Protocol } from "./connection.ts";

/** Connections of one listener. */
export const CONNECTIONS_MAX = 512;
/** Of them, those of one user, where the kernel says who it is: no user keeps the others out. */
export const CONNECTIONS_OF_USER_MAX = 384;
/** Any user's programs may connect; the folder's mode says who reaches it. */
const SOCKET_MODE = 0o666;

export type Endpoint = ListenAddress | { readonly path: string };

export interface StreamListener extends AsyncDisposable {
  /** As it is told to people: with the port it got. */
  readonly name: string;
  readonly port: number | undefined;
  readonly protocol: Protocol;
  readonly connections: ReadonlySet<Connection>;
}

export interface StreamListenerOptions {
  readonly endpoint: Endpoint;
  readonly protocol: Protocol;
  /** Serves a connection, which is paused. */
  readonly serve: (socket: Socket) => Connection;
  /** Told of a connection that was one too many. */
  readonly onTooMany: (listener: string) => void;
  readonly isPaused: () => boolean;
}

/** Listens; rejects when the address cannot be had. Disposing ends every connection. */
export async function openStreamListener(options: StreamListenerOptions): Promise<StreamListener> {
  const { endpoint, protocol, serve, onTooMany, isPaused } = options;
  const connections = new Set<Connection>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    if (connections.size >= CONNECTIONS_MAX) {
      onTooMany(nameOf(endpoint));
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    const connection = serve(socket);
    if (
      connection.uid !== undefined && ofUser(connections, connection.uid) >= CONNECTIONS_OF_USER_MAX
    ) {
      onTooMany(nameOf(endpoint));
      socket.destroy();
      return;
    }
    connections.add(connection);
    socket.once("close", () => void connections.delete(connection));
    if (isPaused()) connection.pause();
    else connection.resume();
  });
  await listen(server, endpoint);
  const isPath = "path" in endpoint;
  const port = isPath ? undefined : portOf(server, endpoint.port);
  return {
    name: isPath ? endpoint.path : `${endpoint.host}:${port}`,
    port,
    protocol,
    connections,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      for (const connection of connections) connection.close();
      await closed;
    },
  };
}

function ofUser(connections: ReadonlySet<Connection>, uid: number): number {
  let count = 0;
  for (const connection of connections) if (connection.uid === uid) count += 1;
  return count;
}

async function listen(server: Server, endpoint: Endpoint): Promise<void> {
  if ("path" in endpoint) {
    await removeStale(endpoint.path);
    server.listen(endpoint.path);
  } else server.listen(endpoint.port, endpoint.host);
  const name = nameOf(endpoint);
  try {
    await once(server, "listening");
    if ("path" in endpoint) chmodSync(endpoint.path, SOCKET_MODE);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    server.close();
    throw new Error(`Cannot listen on "${name}": ${reason}`, { cause });
  }
  // A connection that fails while it is accepted ends only itself.
  server.on("error", () => undefined);
}

function nameOf(endpoint: Endpoint): string {
  return "path" in endpoint ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
}

/** Removes a Unix socket that nobody listens on any more. */
async function removeStale(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const socket = connect(path);
  const refusal = await new Promise<unknown>((resolve) => {
    socket.once("connect", () => resolve(undefined)).once("error", resolve);
  });
  socket.destroy();
  // Any other answer, such as that its queue is full, comes of one that somebody has.
  const isStale = refusal instanceof Error && Reflect.get(refusal, "code") === "ECONNREFUSED";
  if (!isStale) throw new Error(`Cannot listen on "${path}": another program does`);
  unlinkSync(path);
}
