import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AgentHttp,
  CONNECTIONS_MAX,
  type Health,
  openAgentHttp,
  REQUEST_MS_MAX,
} from "../../src/edge-agent/http.ts";

describe("the agent's server", () => {
  let http: AgentHttp;
  let health: Health = { ready: true };
  let url = "";
  beforeAll(async () => {
    http = await openAgentHttp({
      listen: { host: "127.0.0.1", port: 0 },
      health: () => health,
      metrics: () => Promise.resolve({ text: "figure 1\n", contentType: "text/plain" }),
    });
    url = `http://127.0.0.1:${http.address.port}`;
  });
  afterAll(() => http[Symbol.asyncDispose]());

  it("says whether it is ready, and else which part is not", async () => {
    const ready = await fetch(`${url}/healthz`);
    expect([ready.status, await ready.json()]).toEqual([200, { status: "ready" }]);
    health = { ready: false, part: "spool" };
    const not = await fetch(`${url}/healthz?x=1`);
    expect([not.status, await not.json()]).toEqual([503, { status: "not ready", part: "spool" }]);
    health = { ready: true };
  });

  it("gives figures", async () => {
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get("content-type")).toBe("text/plain");
    expect(await response.text()).toBe("figure 1\n");
    const head = await fetch(`${url}/metrics`, { method: "HEAD" });
    expect([head.headers.get("content-length"), await head.text()]).toEqual(["9", ""]);
  });

  it.each([
    ["GET", "/", 404],
    ["GET", "/v1/events", 404],
    ["POST", "/healthz", 405],
    ["DELETE", "/metrics", 405],
  ])("answers %s %s with %d", async (method, path, status) => {
    const response = await fetch(`${url}${path}`, { method });
    expect(response.status).toBe(status);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(await response.json()).toMatchObject({ status });
  });

  it("refuses bodies and large headers", async () => {
    const body = await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n`);
    expect(body).toMatch(/^HTTP\/1.1 413 /);
    const header = await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(9000)}\r\n\r\n`);
    expect(header).toMatch(/^HTTP\/1.1 431 /);
  });

  it("answers no page whose own name was made to lead to loopback", async () => {
    const statusFor = async (path: string, host: string): Promise<string> => {
      const answer = await raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      return answer.slice(9, 12);
    };
    for (const host of ["page.example", "page.example:9100", "127.0.0.1.page.example", "[x]:1"]) {
      expect(await statusFor("/metrics", host)).toBe("421");
      expect(await statusFor("/healthz", host)).toBe("421");
    }
    for (
      const host of ["127.0.0.1", "127.0.0.1:9100", "localhost:1", "LOCALHOST", "[::1]:9100", ""]
    ) {
      expect(await statusFor("/metrics", host)).toBe("200");
    }
  });

  it("ends a client that is slow with its head soon after its time is over", async () => {
    const socket = connect(http.address.port, "127.0.0.1");
    socket.write("GET /healthz HTTP/1.1\r\nHost: ");
    const beganMs = performance.now();
    socket.resume();
    await once(socket, "close");
    expect(performance.now() - beganMs).toBeLessThan(2 * REQUEST_MS_MAX);
  }, 3 * REQUEST_MS_MAX);

  it("bounds connections", async () => {
    const sockets: Socket[] = [];
    for (let each = 0; each < CONNECTIONS_MAX + 1; each += 1) {
      const socket = connect(http.address.port, "127.0.0.1");
      await once(socket, "connect");
      sockets.push(socket);
    }
    const last = sockets.at(-1);
    if (last !== undefined) await once(last, "close");
    for (const socket of sockets) socket.destroy();
  });

  it("says why it cannot listen", async () => {
    const second = openAgentHttp({
      listen: http.address,
      health: () => health,
      metrics: () => Promise.resolve({ text: "", contentType: "" }),
    });
    await expect(second).rejects.toThrow(
      `Cannot listen on "127.0.0.1:${http.address.port}": listen EADDRINUSE`,
    );
  });

  it("closes twice without complaint, ending connections", async () => {
    const other = await openAgentHttp({
      listen: { host: "127.0.0.1", port: 0 },
      health: () => health,
      metrics: () => Promise.resolve({ text: "", contentType: "" }),
    });
    const socket = connect(other.address.port, "127.0.0.1");
    await once(socket, "connect");
    const closed = once(socket, "close");
    await other[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
    await closed;
  });

  async function raw(text: string): Promise<string> {
    const socket = connect(http.address.port, "127.0.0.1");
    socket.write(text);
    const [bytes] = await once(socket, "data");
    socket.destroy();
    return String(bytes);
  }
});
