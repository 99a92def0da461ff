/**
 * One WebSocket of `/rpc`: calls by id, with their parts and ends.
 *
 * Invariants: the token travels in a header of the handshake, never in the address; every call ends once, all of them
 * when the connection does; a link that has ended is not used again.
 */
import { objectWith } from "./answer.ts";
import { ProblemError, UnreachableError } from "./problem.ts";
import { type Connection, request, type RequestOptions } from "./request.ts";

/** Opens a WebSocket; the runtime's own unless told. */
export type OpenWebSocket = (url: URL, protocols: readonly string[]) => WebSocket;

export interface RpcCall {
  readonly method: string;
  readonly params: object;
  /** A notification before the answer, and the length of its text. */
  onPart(part: RpcPart): void;
  onEnd(end: RpcEnd): void;
}

export interface RpcPart {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Characters on the way. */
  readonly length: number;
}

export type RpcEnd =
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "error"; readonly error: Error };

export interface RpcLink {
  readonly isOpen: boolean;
  /** Returns what cancels it; a cancelled call ends as others do. */
  call(call: RpcCall): () => void;
  /** Ends all calls with the error. */
  close(error?: Error): void;
}

const PROTOCOL = "probity.rpc";
const TOKEN_PROTOCOL = "probity.token.";
/** Longest time for a WebSocket to open, in milliseconds. */
const OPEN_LIMIT_MS = 15_000;

/** Throws {@link ProblemError} where the service refuses, {@link UnreachableError} where none can be opened. */
export async function openRpcLink(
  connection: Connection,
  openSocket: OpenWebSocket,
  options: RequestOptions,
): Promise<RpcLink> {
  const { token } = connection;
  const named = token === undefined ? [] : [`${TOKEN_PROTOCOL}${base64urlOf(token)}`];
  const socket = openSocket(addressOf(connection.url), [PROTOCOL, ...named]);
  try {
    await opened(socket, options);
  } catch (cause) {
    socket.close();
    options.signal?.throwIfAborted();
    // A WebSocket does not tell why it was refused; the same question over HTTP does.
    await request(connection, "rpc", { ...options, accepts: [426] });
    throw new UnreachableError(`Cannot open a WebSocket at ${connection.url.href}`, { cause });
  }
  return linkOver(socket);
}

function linkOver(socket: WebSocket): RpcLink {
  const running = new Map<number, RpcCall>();
  let calls = 0;
  let ended: Error | undefined;
  const end = (error: Error): void => {
    if (ended !== undefined) return;
    ended = error;
    const all = [...running.values()];
    running.clear();
    for (const { onEnd } of all) onEnd({ kind: "error", error });
    socket.close();
  };
  const take = (text: string): void => {
    const message = objectWith("jsonrpc", JSON.parse(text));
    const { id, method, params } = message;
    if (typeof method === "string") {
      const part = objectWith("call", params);
      running.get(Number(part["call"]))?.onPart({ method, params: part, length: text.length });
      return;
    }
    const call = running.get(Number(id));
    running.delete(Number(id));
    call?.onEnd(endOf(message));
  };
  socket.addEventListener("message", ({ data }) => {
    try {
      take(String(data));
    } catch (cause) {
      end(new UnreachableError("Cannot read a message of the service", { cause }));
    }
  });
  socket.addEventListener("error", () => end(new UnreachableError("Cannot use the WebSocket")));
  socket.addEventListener("close", ({ code, reason }) => {
    const why = reason === "" ? `code ${code}` : reason;
    end(new UnreachableError(`Cannot use the WebSocket: it was closed: ${why}`));
  });
  return {
    get isOpen() {
      return ended === undefined && socket.readyState === socket.OPEN;
    },
    call(call) {
      const id = ++calls;
      if (ended !== undefined) {
        call.onEnd({ kind: "error", error: ended });
        return () => undefined;
      }
      running.set(id, call);
      const { method, params } = call;
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      return () => {
        const notice = { jsonrpc: "2.0", method: "cancel", params: { call: id } };
        if (running.has(id) && ended === undefined) socket.send(JSON.stringify(notice));
      };
    },
    close: (error = new UnreachableError("Cannot use the WebSocket: it was closed")) => end(error),
  };
}

async function opened(socket: WebSocket, { signal }: RequestOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const refuse = (): void => reject(new Error("it was refused"));
  const leave = (): void => reject(signal?.reason);
  const limit = setTimeout(() => reject(new Error(`it took ${OPEN_LIMIT_MS} ms`)), OPEN_LIMIT_MS);
  socket.addEventListener("open", () => resolve(), { once: true });
  socket.addEventListener("error", refuse, { once: true });
  socket.addEventListener("close", refuse, { once: true });
  signal?.addEventListener("abort", leave, { once: true });
  try {
    if (signal?.aborted === true) leave();
    await promise;
  } finally {
    clearTimeout(limit);
    signal?.removeEventListener("abort", leave);
  }
}

/** A fault as HTTP would tell it, so that callers have one kind of refusal. */
function endOf(message: Readonly<Record<string, unknown>>): RpcEnd {
  if (!("error" in message)) return { kind: "result", result: message["result"] };
  const { code, message: text, data } = objectWith("code", message["error"]);
  const more: Readonly<Record<string, unknown>> = typeof data === "object" ? { ...data } : {};
  const textOf = (name: string): string | undefined => {
    const value = more[name];
    return typeof value === "string" ? value : undefined;
  };
  const { status } = more;
  const problem = {
    status: typeof status === "number" ? status : STATUS_OF_CODE[Number(code)] ?? 400,
    type: undefined,
    title: `JSON-RPC error ${String(code)}`,
    detail: typeof text === "string" ? text : undefined,
    parameter: textOf("parameter"),
    accepted: textOf("accepted"),
  };
  return { kind: "error", error: new ProblemError(problem) };
}

/** Of faults that come without a status. */
const STATUS_OF_CODE: Readonly<Record<number, number>> = { [-32_603]: 500, [-32_000]: 503 };

function addressOf(service: URL): URL {
  const base = service.href.endsWith("/") ? service : new URL(`${service.href}/`);
  const url = new URL("rpc", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

function base64urlOf(text: string): string {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
