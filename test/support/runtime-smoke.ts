/**
 * A program for any runtime: calls the C library through the foreign-function interface, and asks the query function of
 * `infra/functions/` for its health and for events. Prints one line of JSON.
 *
 * Variables: those of the function; PROBITY_TOKEN_FILE names the token to ask with.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { createFetch } from "../../infra/functions/query.ts";
import { loadLibc, O_RDONLY } from "../../src/edge-agent/libc.ts";

const libc = loadLibc();
const fd = libc.open("/dev/null", O_RDONLY);
const closed = libc.close(fd);
const absent = libc.open("/nonexistent", O_RDONLY);

const ask = createFetch(process.env);
const token = readFileSync(process.env["PROBITY_TOKEN_FILE"] ?? "", "utf8");
const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
const health = await ask(new Request("http://localhost/healthz"));
const refused = await ask(new Request("http://localhost/v1/events"));
const answer = await ask(new Request("http://localhost/v1/events?from=1h", { headers }));
const { events } = await answer.json();
console.log(JSON.stringify({
  libc: [fd > 2, closed, absent],
  health: health.status,
  refused: refused.status,
  topics: events.map(({ topic }: { readonly topic: string }) => topic),
}));
process.exit(0);
