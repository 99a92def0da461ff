import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createAmqpTarget } from "../../../src/query/sinks/amqp.ts";
import { createNatsTarget } from "../../../src/query/sinks/nats.ts";
import { createPostgresTarget } from "../../../src/query/sinks/postgres.ts";
import { createSyslogTarget } from "../../../src/query/sinks/syslog.ts";
import type { SinkEvent, SinkTarget } from "../../../src/query/sinks/target.ts";
import { testLog } from "../../support/ring-sources.ts";

const folder = mkdtempSync(join(tmpdir(), "probity-connecting-"));
afterAll(() => rmSync(folder, { recursive: true }));
const passwordFile = join(folder, "password");
writeFileSync(passwordFile, "secret", { mode: 0o600 });
/** Below the ten seconds that a connection may take. */
const END_LIMIT_MS = 3_000;
const EVENT: SinkEvent = {
  ...{ id: "a-1-1", topic: "app/test", host: "h", severity: "info" },
  ...{ time: "2026-06-01T00:00:00.000Z", json: "{}" },
};
const files = { caFile: undefined, isInsecure: false };
const TARGETS: readonly (readonly [string, (address: string) => SinkTarget])[] = [
  ["amqp", (address) =>
    createAmqpTarget({
      ...{ url: `amqp://guest@${address}`, passwordFile, exchange: "", routingKey: "q", ...files },
    })],
  ["postgres", (address) =>
    createPostgresTarget({
      ...{ url: `postgres://guest@${address}/audit`, passwordFile, table: "events", ...files },
    })],
  ["nats", (address) =>
    createNatsTarget({
      ...{ url: `nats://${address}`, subject: "s", credentialsFile: undefined, log: testLog },
    })],
  [
    "syslog over TLS",
    (address) => createSyslogTarget({ url: `tls://${address}`, caFile: undefined }),
  ],
];

describe.each(TARGETS)("a sink of %s whose other side never says a word", (_name, create) => {
  it("ends at once when it is told to", async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => void sockets.push(socket.on("error", () => {})));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no address");
    try {
      const target = create(`127.0.0.1:${address.port}`);
      const ending = new AbortController();
      const delivered = Promise.allSettled([target.deliver([EVENT], ending.signal)]);
      while (sockets.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      const sinceMs = performance.now();
      ending.abort(new Error("the service ends"));
      const [{ status }] = await delivered;
      expect(status).toBe("rejected");
      await target[Symbol.asyncDispose]();
      expect(performance.now() - sinceMs).toBeLessThan(END_LIMIT_MS);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });
});
