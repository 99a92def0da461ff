import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { HEAD_BYTES_MAX } from "../../src/query/door.ts";
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";

const address = { host: "127.0.0.1", port: 0 };
const open = (fetch: (request: Request) => Promise<Response>): Promise<HttpServer> =>
  openHttpServer({ fetch, address, tls: undefined });
const hello = (): Promise<Response> => Promise.resolve(new Response("hello"));

/** Sends raw text and returns what comes back until the server closes. */
async function send(server: HttpServer, raw: string): Promise<string> {
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  socket.write(raw);
  return await text(socket);
}

describe("the HTTP server", () => {
  it("tells its real address", async () => {
    await using server = await open(hello);
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:[1-9][0-9]*$/);
    expect(server.listen).toBe(new URL(server.url).host);
    expect(await (await fetch(server.url)).text()).toBe("hello");
  });

  it("says which address it cannot have", async () => {
    await using server = await open(hello);
    const port = Number(new URL(server.url).port);
    const second = openHttpServer({
      fetch: hello,
      address: { host: "127.0.0.1", port },
      tls: undefined,
    });
    await expect(second).rejects.toThrow(`Cannot listen on 127.0.0.1:${port}: EADDRINUSE`);
  });

  it("refuses headers over their limit", async () => {
    await using server = await open(hello);
    const answer = await send(
      server,
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(HEAD_BYTES_MAX)}\r\n\r\n`,
    );
    expect(answer).toContain("431");
  });

  it("refuses what is not HTTP", async () => {
    await using server = await open(hello);
    expect(await send(server, "nonsense\r\n\r\n")).toContain("400");
  });

  it("lets an answer that is under way end, and takes no new connection", async () => {
    const begun = Promise.withResolvers<void>();
    const drainMs = 20_000;
    const late = async () => {
      begun.resolve();
      await delay(300);
      return new Response("late");
    };
    const server = await openHttpServer({ fetch: late, address, tls: undefined, drainMs });
    const answer = fetch(server.url).then((response) => response.text());
    await begun.promise;
    const closing = server[Symbol.asyncDispose]();
    await expect(fetch(server.url)).rejects.toThrow();
    expect(await answer).toBe("late");
    const answeredMs = performance.now();
    await closing;
    expect(performance.now() - answeredMs).toBeLessThan(drainMs / 2);
    await server[Symbol.asyncDispose]();
  });

  it("tells the handler when a client has gone", async () => {
    const gone = Promise.withResolvers<void>();
    await using server = await open((incoming) => {
      incoming.signal.addEventListener("abort", () => gone.resolve());
      return Promise.resolve(new Response(new ReadableStream({ start: (to) => to.enqueue(BYTE) })));
    });
    const client = request(server.url).end();
    const [response] = await once(client, "response");
    await once(response, "data");
    client.destroy();
    await gone.promise;
  });
});

const BYTE = new Uint8Array([46]);
