/**
 * A program for any runtime: the HTTP server with the certificate and key that its two arguments name. Says its port in
 * JSON on standard output, and what it logs on standard error, until it is killed.
 */
import process from "node:process";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { createLog } from "../../src/runtime/log.ts";

const [cert = "", key = ""] = process.argv.slice(2);
const server = await openHttpServer({
  fetch: () => Promise.resolve(new Response("hello")),
  address: { host: "127.0.0.1", port: 0 },
  tls: { cert, key, log: createLog({ level: "info" }), lookMs: 50 },
});
console.log(JSON.stringify({ port: Number(new URL(server.url).port) }));
