/**
 * Live clients for `tail.ts`, in a process of their own: each follows with a filter of its own over a connection of its
 * own. Arguments: URL of the service, file of the token, how many. Says `ready` when all are live; what they got as one
 * line of JSON when its standard input has ended and nothing comes any more.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { filterOf } from "./tail-filters.ts";

const [url = "", tokenFile = "", countText = ""] = process.argv.slice(2);
const token = readFileSync(tokenFile, "utf8").trim();
const agent = new Agent({ keepAlive: false, maxSockets: Infinity });
/** Clients that connect at the same time. */
const CONNECTING_MAX = 20;
/** After so long without an event all have come. */
const QUIET_MS = 3_000;

export interface ClientFigures {
  readonly events: number;
  /** Of the numbers of the events that it got. */
  readonly sum: number;
  readonly gaps: number;
}

const latenciesMs: number[] = [];
const clients = Array.from({ length: Number(countText) }, () => ({ events: 0, sum: 0, gaps: 0 }));
const waiting = clients.keys();
await Promise.all(Array.from({ length: CONNECTING_MAX }, async () => {
  for (const place of waiting) await follow(place);
}));
process.stdout.write("ready\n");
process.stdin.resume();
process.stdin.on("end", async () => {
  for (let before = -1; before !== latenciesMs.length;) {
    before = latenciesMs.length;
    await delay(QUIET_MS);
  }
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  const figures = { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1), clients };
  process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
});

/** Resolves when the stream has begun. */
function follow(place: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const query = new URLSearchParams(filterOf(place)).toString();
    const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream" };
    const asked = request(`${url}/v1/tail?${query}`, { agent, headers }, (answer) => {
      if (answer.statusCode !== 200) return reject(new Error(`HTTP ${answer.statusCode}`));
      answer.setEncoding("utf8");
      let rest = "";
      answer.on("data", (text: string) => {
        // The first place is given when the client is live.
        resolve();
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        const nowMs = performance.timeOrigin + performance.now();
        for (const line of lines) take(line, place, nowMs);
      });
      answer.on("error", () => process.stderr.write(`client ${place} was cut off\n`));
    });
    asked.on("error", reject);
    asked.end();
  });
}

function take(line: string, place: number, nowMs: number): void {
  const client = clients[place];
  if (client === undefined) return;
  if (line === "event: gap") client.gaps += 1;
  if (!line.startsWith("data: {")) return;
  const time = /"time":"([^"]+)"/.exec(line)?.[1];
  const number = /"pid":([0-9]+)/.exec(line)?.[1];
  if (time === undefined || number === undefined) return;
  client.events += 1;
  client.sum += Number(number);
  latenciesMs.push(nowMs - Date.parse(time));
}
