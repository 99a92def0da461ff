import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { requireCapability } from "../support/require.ts";
import { openServer } from "./test-server.ts";

const DENO = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
const CLIENT = new URL("../../src/client/client.ts", import.meta.url).href;
const EVENT = { id: "0123abcd-7-0", topic: "process/exec" };

const BUN = fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url));

/** What the program prints that reads a page and a tail with the client, run by other means than ours. */
async function printedBy(file: string, wordsOf: (program: string) => string[]): Promise<string> {
  await using server = await openServer((request, response) => {
    if (request.url?.startsWith("/v1/tail")) {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`event: audit\nid: p1\ndata: ${JSON.stringify(EVENT)}\n\n`);
    } else response.end(JSON.stringify({ events: [EVENT] }));
  });
  const program = `
    const { createClient } = await import(${JSON.stringify(CLIENT)});
    const client = createClient({ url: ${JSON.stringify(server.url)}, token: "t" });
    for await (const { id } of client.events()) console.log("page", id);
    for await (const { place } of client.tail()) { console.log("tail", place); break; }
  `;
  const { stdout } = await promisify(execFile)(file, wordsOf(program), {
    env: { PATH: process.env["PATH"], NO_COLOR: "1", HOME: process.env["HOME"] },
  });
  return stdout;
}

const PRINTED = "page 0123abcd-7-0\ntail p1\n";

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
