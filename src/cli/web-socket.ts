/**
 * WebSockets of the HTTP server: takes those at one path that the endpoint admits, and carries their messages. The only
 * file that knows the library.
 *
 * Invariants: a message is read when the one before was dealt with; what is sent waits for the client beyond
 * {@link BUFFER_BYTES}; a client that gives no sign of life between two heartbeats is cut off. The server's limits end
 * where an upgrade begins: from there on each connection is bounded in time here, refused ones too.
 */
import { once } from "node:events";
import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { systemClock } from "../runtime/clock.ts";
import { ProblemError, problemResponse } from "../query/problem.ts";
import { plainAddress } from "../query/remote.ts";
import { type Admission, RPC_PROTOCOL, type RpcEndpoint } from "../query/rpc/endpoint.ts";
import type { RpcSocket } from "../query/rpc/session.ts";
import { RPC_PATH } from "../query/rpc/protocol.ts";
import { TOKEN_ENDED } from "../query/token-table.ts";
import { wantsWebSocket, type WebSockets } from "./http-server.ts";

/** Longest message of a client, in bytes. */
export const MESSAGE_BYTES_MAX = 65_536;
/** What waits in a connection at most before those who send wait, and one message each more, in bytes. */
const BUFFER_BYTES = 262_144;
/** Messages of one client that are read ahead. */
const INBOX_MAX = 16;
/** How long clients have to leave once they were told to, in milliseconds. */
const LEAVE_LIMIT_MS = 1_000;
/** How long a client has to take a refusal, in milliseconds. */
const REFUSAL_LIMIT_MS = 2_000;
/** Close codes of RFC 6455: going away, not text, not allowed any more. */
const GOING_AWAY = 1_001;
const NOT_TEXT = 1_003;
const POLICY = 1_008;

/** The WebSockets of `/rpc`. */
export function webSocketsOf(endpoint: RpcEndpoint): WebSockets {
  return { path: RPC_PATH, open: (server) => openWebSockets(server, endpoint) };
}

function openWebSockets(server: Server, endpoint: RpcEndpoint): AsyncDisposable {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MESSAGE_BYTES_MAX,
    // Compression costs memory for each connection, and what is compressed with a secret can tell of it.
    perMessageDeflate: false,
    handleProtocols: (offered) => offered.has(RPC_PROTOCOL) ? RPC_PROTOCOL : false,
  });
  const serving = new Set<Promise<void>>();
  /** Connections that asked for an upgrade and are neither a WebSocket nor closed yet. */
  const arriving = new Set<Duplex>();
  let isClosed = false;

  const upgrade = async (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
  ): Promise<void> => {
    try {
      // Where the runtime does not ask beforehand, other requests to upgrade come here, too.
      if (!wantsWebSocket(request, RPC_PATH)) {
        throw new ProblemError(404, "There is no WebSocket here");
      }
      const admission = await endpoint.admit(handshakeOf(request));
      if (isClosed) throw new ProblemError(503, "The service is stopping");
      sockets.handleUpgrade(request, socket, head, (client) => {
        arriving.delete(socket);
        const served = serve(client, admission, endpoint.heartbeatMs)
          .finally(() => serving.delete(served));
        serving.add(served);
      });
    } catch (error) {
      await refuse(socket, error);
    }
  };
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    arriving.add(socket);
    socket.once("close", () => arriving.delete(socket));
    void upgrade(request, socket, head);
  });
  return {
    async [Symbol.asyncDispose]() {
      isClosed = true;
      for (const client of sockets.clients) client.close(GOING_AWAY, "The service is stopping");
      const limit = new AbortController();
      const left = Promise.all(serving).then(() => limit.abort());
      await Promise.allSettled([systemClock.sleep(LEAVE_LIMIT_MS, limit.signal)]);
      for (const client of sockets.clients) client.terminate();
      for (const socket of arriving) socket.destroy();
      await left;
    },
  };
}

function handshakeOf({ headers, socket }: IncomingMessage) {
  const protocols = headers["sec-websocket-protocol"]?.split(",").map((each) => each.trim()) ?? [];
  const { authorization, origin, host } = headers;
  const { remoteAddress } = socket;
  const remote = remoteAddress === undefined ? undefined : plainAddress(remoteAddress);
  return { authorization, protocols, origin, host, remote };
}

/** Answers as the routes do, on a socket that is no longer the HTTP server's. */
async function refuse(socket: Duplex, error: unknown): Promise<void> {
  if (socket.destroyed) return;
  const problem = error instanceof ProblemError
    ? error
    : new ProblemError(500, "The request failed inside the service");
  const answer = problemResponse(problem);
  const { status, headers } = answer;
  const body = await answer.text();
  // A client need not close its side, and nobody else would close ours.
  const limit = setTimeout(() => socket.destroy(), REFUSAL_LIMIT_MS);
  socket.once("close", () => clearTimeout(limit));
  socket.once("finish", () => socket.destroy());
  const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines}Connection: close\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

async function serve(client: WebSocket, admission: Admission, heartbeatMs: number): Promise<void> {
  const { signal } = admission;
  const life = { isAlive: true };
  const alive = (): void => {
    life.isAlive = true;
  };
  client.on("pong", alive);
  client.on("message", alive);
  // The library closes the connection upon each, and says so with "close".
  client.on("error", () => undefined);
  const look = (): void => {
    if (!life.isAlive) return client.terminate();
    life.isAlive = false;
    client.ping();
  };
  // What it has sent is read before it is judged: this process may have been held up, not the client.
  const beat = setInterval(() => setImmediate(look), heartbeatMs);
  const leave = (): void => {
    const { reason } = signal;
    const text = reason instanceof Error ? reason.message : "";
    client.close(text === TOKEN_ENDED ? POLICY : GOING_AWAY, text);
  };
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave, { once: true });
  try {
    await admission.serve(carrierOf(client, alive));
  } finally {
    signal.removeEventListener("abort", leave);
    if (client.readyState === client.OPEN) client.close();
    if (client.readyState !== client.CLOSED) await closedWithin(client);
    clearInterval(beat);
  }
}

async function closedWithin(client: WebSocket): Promise<void> {
  const limit = new AbortController();
  const closed = once(client, "close").then(() => limit.abort());
  await Promise.allSettled([systemClock.sleep(LEAVE_LIMIT_MS, limit.signal)]);
  client.terminate();
  await closed;
}

function carrierOf(client: WebSocket, alive: () => void): RpcSocket {
  return {
    messages: messagesOf(client),
    send: (text) =>
      new Promise((resolve, reject) => {
        if (client.readyState !== client.OPEN) {
          return reject(new Error("Cannot send: it is closed"));
        }
        client.send(text, (error) => {
          if (error) return reject(error);
          alive();
          resolve();
        });
        if (client.bufferedAmount <= BUFFER_BYTES) resolve();
      }),
  };
}

async function* messagesOf(client: WebSocket): AsyncGenerator<string> {
  const inbox: string[] = [];
  let wake: () => void = () => undefined;
  let isOver = client.readyState !== client.OPEN;
  client.on("message", (data: RawData, isBinary: boolean) => {
    if (isBinary) return client.close(NOT_TEXT, "Messages are texts");
    inbox.push(data.toString());
    if (inbox.length >= INBOX_MAX) client.pause();
    wake();
  });
  client.on("close", () => {
    isOver = true;
    wake();
  });
  while (true) {
    const next = inbox.shift();
    if (next !== undefined) {
      if (inbox.length === 0 && client.isPaused) client.resume();
      yield next;
      continue;
    }
    if (isOver) return;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}
