/**
 * The agent's own small server: `/healthz`, `/metrics` and `/v1/ingest`, on loopback unless told otherwise.
 *
 * Invariants: it answers GET and HEAD only, but for events that are sent to it; reads no other bodies, says nothing of
 * events or of the machine beyond figures, answers no page whose name was
 * made to lead to loopback, and bounds what a client may cost: {@link CONNECTIONS_MAX}, {@link HEADER_BYTES_MAX}, {@link REQUEST_MS_MAX}.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIP } from "node:net";

export const CONNECTIONS_MAX = 64;
export const HEADER_BYTES_MAX = 8 * 1024;
/** How long a client may take for one request. */
export const REQUEST_MS_MAX = 5_000;
/** How often clients are looked for that take longer: so much longer they may. Node's own is 30 s. */
const CHECK_MS = 1_000;

export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** Ready, or the part that is not. */
export type Health = { readonly ready: true } | { readonly ready: false; readonly part: string };

export interface AgentHttpOptions {
  readonly listen: ListenAddress;
  readonly health: () => Health;
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>;
  /** Takes `/v1/ingest`, whatever its method; without it there is no such route. */
  readonly ingest?: (request: IncomingMessage) => Promise<Answer>;
}

export interface AgentHttp extends AsyncDisposable {
  /** Where it listens: with the port it got. */
  readonly address: ListenAddress;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Listens; rejects when the address cannot be had. Disposing closes every connection. */
export async function openAgentHttp(options: AgentHttpOptions): Promise<AgentHttp> {
  const { host, port } = options.listen;
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: REQUEST_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    keepAliveTimeout: REQUEST_MS_MAX,
    connectionsCheckingInterval: CHECK_MS,
  }, (request, response) => void respond(request, response, options));
  server.maxConnections = CONNECTIONS_MAX;
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot listen on "${host}:${port}": ${reason}`, { cause });
  }
  return {
    address: { host, port: portOf(server, port) },
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: AgentHttpOptions,
): Promise<void> {
  let answer: Answer;
  try {
    answer = await answerOf(request, options);
  } catch {
    answer = problem(500, "Internal error"); // What failed is none of the client's business.
  }
  const body = Buffer.from(answer.body);
  response.writeHead(answer.status, {
    "content-type": answer.contentType,
    "content-length": body.byteLength,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(hasBody(request) && !request.complete ? { connection: "close" } : {}),
    ...answer.headers,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

async function answerOf(request: IncomingMessage, options: AgentHttpOptions): Promise<Answer> {
  const path = (request.url ?? "").split("?", 1)[0];
  if (path === "/v1/ingest" && options.ingest !== undefined) return await options.ingest(request);
  if (path !== "/healthz" && path !== "/metrics") return problem(404, "Not found");
  if (request.method !== "GET" && request.method !== "HEAD") {
    return { ...problem(405, "Method not allowed"), headers: { allow: "GET, HEAD" } };
  }
  if (hasBody(request)) return problem(413, "Content too large");
  if (isRebound(request)) return problem(421, "Misdirected request", "no name leads to loopback");
  if (path === "/metrics") {
    const { text, contentType } = await options.metrics();
    return { status: 200, contentType, body: text };
  }
  const health = options.health();
  const body = health.ready ? { status: "ready" } : { status: "not ready", part: health.part };
  return {
    status: health.ready ? 200 : 503,
    contentType: "application/json",
    body: `${JSON.stringify(body)}\n`,
  };
}

/**
 * Whether a page of a browser on this machine may have asked, whose own name was made to lead here (DNS rebinding): over
 * loopback only an address and `localhost` are nobody's names. `/v1/ingest` refuses pages by what they say of themselves.
 */
function isRebound({ headers, socket }: IncomingMessage): boolean {
  const local = socket.localAddress ?? "";
  if (local !== "::1" && !local.replace("::ffff:", "").startsWith("127.")) return false;
  const name = (headers.host ?? "").replace(/:\d*$/, "").toLowerCase();
  return name !== "" && name !== "localhost" && isIP(name.replace(/^\[(.*)\]$/, "$1")) === 0;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** RFC 9457. */
export function problem(status: number, title: string, detail?: string): Answer {
  const body = `${JSON.stringify({ type: "about:blank", title, status, detail })}\n`;
  return { status, contentType: "application/problem+json", body };
}

/** Where a server that was asked for port 0 listens. */
export function portOf(server: Pick<Server, "address">, asked: number): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : asked;
}
