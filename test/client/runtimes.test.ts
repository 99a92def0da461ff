import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HttpServer, openHttpServer } from "../../src/cli/http-server.ts";
import { webSocketsOf } from "../../src/cli/web-socket.ts";
import { openQueryFixture, type QueryFixture, TOKEN } from "../support/query-fixture.ts";
import { requireCapability } from "../support/require.ts";

const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const CLIENT = new URL("../../src/client/client.ts", import.meta.url).href;

const BUN = fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url));

let query: QueryFixture;
let server: HttpServer;

beforeAll(async () => {
  query = await openQueryFixture();
  server = await openHttpServer({
    fetch: query.service.fetch,
    webSockets: webSocketsOf(query.service.rpc),
    address: { host: "127.0.0.1", port: 0 },
    tls: undefined,
  });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await query?.[Symbol.asyncDispose]();
});

/** What the program prints that reads a page, a tail and over a WebSocket, run by other means than ours. */
async function printedBy(file: string, wordsOf: (program: string) => string[]): Promise<string> {
  const program = `
    const { createClient } = await import(${JSON.stringify(CLIENT)});
    const client = createClient({ url: ${JSON.stringify(server.url)}, token: ${
    JSON.stringify(TOKEN)
  } });
    const { events } = await client.page({ from: "2026-06-01", to: "2026-06-02", order: "asc", limit: 1 });
    console.log("page", events[0].id);
    for await (const item of client.tail({ since: "2026-06-01", topic: "network" })) {
      if (item.kind !== "event") continue;
      console.log("tail", item.event.id);
      break;
    }
    const rpc = client.openRpc();
    const asked = { paths: [["network"]], awaitFutureEvents: true };
    for await (const item of rpc.auditEventsGet(asked)) {
      console.log("rpc", item.event.id);
      break;
    }
    console.log("metric", (await rpc.auditMetricGet({ path: ["file"] })).total);
    await rpc.close();
  `;
  const { stdout } = await promisify(execFile)(file, wordsOf(program), {
    env: { PATH: process.env["PATH"], NO_COLOR: "1", HOME: process.env["HOME"] },
  });
  return stdout;
}

const PRINTED = "page 0a1b2c3d-1-0\ntail 0a1b2c3d-4-0\nrpc 0a1b2c3d-4-0\nmetric 49\n";

it.runIf(requireCapability("deno", existsSync(DENO), "run npm ci"))(
  "runs in Deno with no permission but the network",
  async () => {
    const words = ["run", "--quiet", "--no-lock", "--allow-net=127.0.0.1", "--allow-import"];
    const printed = await printedBy(DENO, (program) => [
      ...words,
      `data:text/typescript,${encodeURIComponent(program)}`,
    ]);
    expect(printed).toBe(PRINTED);
  },
);

it.runIf(requireCapability("bun", existsSync(BUN), "run npm ci"))("runs in Bun", async () => {
  expect(await printedBy(BUN, (program) => ["--eval", program])).toBe(PRINTED);
});
