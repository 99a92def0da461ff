/**
 * A proxy before an HTTP server that passes every request on and, where it is told to, throws the answer away: what the
 * client asked for is done, and it will never know. Or it answers for the server, that it is not there.
 */
import { once } from "node:events";
import { createServer, request as send } from "node:http";

export interface LosingProxy extends AsyncDisposable {
  readonly endpoint: string;
  /** How many answers were lost. */
  lost(): number;
}

export interface LosingProxyOptions {
  /** Whether the answer to a request is lost; none by default. */
  readonly isLost?: (method: string, path: string) => boolean;
  /** Whether 503 is answered now, without the server being asked; never by default. */
  readonly isUnavailable?: () => boolean;
}

export async function openLosingProxy(
  target: string,
  { isLost = () => false, isUnavailable = () => false }: LosingProxyOptions,
): Promise<LosingProxy> {
  let lost = 0;
  const server = createServer((message, response) => {
    const { method = "GET", url = "/", headers } = message;
    if (isUnavailable()) {
      message.resume();
      response.writeHead(503, { "Content-Length": 0 });
      return void response.end();
    }
    // The Host header stays the client's: it is part of what was signed.
    const onward = send(new URL(url, target), { method, headers }, (answer) => {
      if (isLost(method, url)) {
        lost += 1;
        answer.resume();
        return void message.socket.destroy();
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => void message.socket.destroy());
    message.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    lost: () => lost,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
