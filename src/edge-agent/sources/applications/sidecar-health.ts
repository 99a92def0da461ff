/**
 * `GET /health` on a port of its own, as the forensic-logging sidecar had it: what watches a sidecar can go on.
 *
 * Invariant: it says OK exactly while messages are taken; 503 otherwise.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { type ListenAddress, portOf } from "../../http.ts";

export interface SidecarHealth extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
}

const CONNECTIONS_MAX = 16;
const REQUEST_MS_MAX = 5_000;
/** How often clients are looked for that take longer. */
const CHECK_MS = 1_000;

/** Listens; rejects when the address cannot be had. */
export async function openSidecarHealth(
  { host, port }: ListenAddress,
  isTaking: () => boolean,
): Promise<SidecarHealth> {
  const server = createServer({
    headersTimeout: REQUEST_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    keepAliveTimeout: REQUEST_MS_MAX,
    connectionsCheckingInterval: CHECK_MS,
  }, ({ method, url }, response) => {
    const isKnown = (url ?? "").split("?", 1)[0] === "/health";
    const isRead = method === "GET" || method === "HEAD";
    const status = !isKnown ? 404 : !isRead ? 405 : isTaking() ? 200 : 503;
    const said: Readonly<Record<number, string>> = { 200: "OK", 503: "NOT READY" };
    const body = `${JSON.stringify({ status: said[status] ?? "ERROR" })}\n`;
    response.writeHead(status, { "content-type": "application/json", connection: "close" });
    response.end(method === "HEAD" ? undefined : body);
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot listen on "${host}:${port}": ${reason}`, { cause });
  }
  const bound = portOf(server, port);
  return {
    name: `${host}:${bound}`,
    port: bound,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
