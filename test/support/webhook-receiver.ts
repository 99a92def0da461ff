/** A real HTTP server that takes CloudEvents, checks their signature by itself, and can be told to misbehave. */
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

export interface ReceivedEvent {
  readonly id: string;
  readonly pid: number;
  readonly type: string;
}

export interface WebhookReceiver extends AsyncDisposable {
  readonly url: string;
  /** Events of requests that were answered with success, and of those that were taken but not answered. */
  readonly received: ReceivedEvent[];
  readonly faults: string[];
  /** Status of the next answers, the first first; `hang` never answers. What is refused is not received. */
  readonly next: (number | "hang")[];
  /** Pids of events that are refused with 422, whatever comes with them. */
  readonly poison: Set<number>;
  readonly requests: () => number;
}

export async function openWebhookReceiver(key: Buffer): Promise<WebhookReceiver> {
  const received: ReceivedEvent[] = [];
  const faults: string[] = [];
  const next: (number | "hang")[] = [];
  const poison = new Set<number>();
  let requests = 0;
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    requests += 1;
    const fault = faultOfSignature(request, body, key);
    if (fault !== undefined) faults.push(fault);
    const status = next.shift() ?? 204;
    const events: ReceivedEvent[] = JSON.parse(body).map((
      { id, type, specversion, data }: {
        id: string;
        type: string;
        specversion: string;
        data: { id: string; pid: number };
      },
    ) => {
      if (specversion !== "1.0" || data.id !== id) faults.push(`not a CloudEvent: ${id}`);
      return { id, type, pid: data.pid };
    });
    const isRefused = events.some(({ pid }) => poison.has(pid));
    if (!isRefused && (status === 204 || status === "hang")) received.push(...events);
    if (status === "hang") return;
    if (status === 302) response.setHeader("Location", `http://${request.headers.host}/elsewhere`);
    if (status === 429) response.setHeader("Retry-After", "1");
    response.writeHead(isRefused ? 422 : status).end();
  };
  const server = createServer((request, response) => void handle(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/events`,
    ...{ received, faults, next, poison, requests: () => requests },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function faultOfSignature(
  { headers, url }: IncomingMessage,
  body: string,
  key: Buffer,
): string | undefined {
  const [id, time, signature] = ["id", "timestamp", "signature"].map((name) =>
    String(headers[`webhook-${name}`])
  );
  if (url !== "/events") return `a request for ${url}`;
  if (Math.abs(Number(time) - Date.now() / 1_000) > 60) return `a request of ${time}`;
  const expected = createHmac("sha256", key).update(`${id}.${time}.${body}`).digest("base64");
  return signature === `v1,${expected}` ? undefined : `a signature ${signature}`;
}
