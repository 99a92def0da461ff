import { once } from "node:events";
import { createServer } from "node:net";
import { expect, it } from "vitest";
import { createLog } from "../../src/runtime/log.ts";
import { connectNats } from "../../src/runtime/nats.ts";

/** A port of loopback on which nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || address === null) throw new Error("no port");
  return address.port;
}

it("says once that the broker is not there, and goes on trying", async () => {
  const lines: string[] = [];
  const log = createLog({ level: "debug", write: (line) => lines.push(line) });
  const url = `nats://127.0.0.1:${await freePort()}`;
  const signal = AbortSignal.timeout(1_000);
  await expect(connectNats({ url, name: "test", log, signal })).rejects.toThrow();
  const attempts = lines.filter((line) => line.includes("broker not reached"));
  expect(attempts.length).toBeGreaterThan(1);
  expect(attempts.filter((line) => line.includes("level=warn")).length).toBe(1);
});
