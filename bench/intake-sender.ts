/**
 * The other process of `intake.ts`: sends messages over several connections as quickly as they are read, or at a rate with
 * answers awaited. Arguments: --port --messages --connections --size --framing, and --rate for answers. Prints one JSON line.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "" },
    messages: { type: "string", default: "1000000" },
    connections: { type: "string", default: "4" },
    size: { type: "string", default: "200" },
    rate: { type: "string", default: "0" },
    framing: { type: "string", default: "frames" },
  },
});
const [port, messages, connections, size, rate] = [
  Number(values.port),
  Number(values.messages),
  Number(values.connections),
  Number(values.size),
  Number(values.rate),
];
const isFramed = values.framing === "frames";
/** Different messages; they are sent again and again. */
const KINDS = 20_000;
const WRITE_BYTES = 64 * 1024;

/** Half JSON, half text, of exactly the size. */
function messageOf(number: number): Buffer {
  const random = (Math.imul(number + 1, 2654435761) >>> 0).toString(36);
  const [account, amount] = [number * 7919 % 100_000, (number * 104729 % 1_000_000) / 100];
  const text = number % 2 === 0
    ? JSON.stringify({
      topic: `transfer/${["begin", "check", "done"][number % 3]}`,
      level: number % 50 === 0 ? "warn" : "info",
      message: `account ${account} pays ${amount}`,
      user: `user-${number % 500}`,
      request: random,
      took: number % 977,
      isRetry: false,
      pad: "",
    })
    : `2026-03-01 10:00:00 worker-${
      number % 32
    } account ${account} pays ${amount}, request ${random}`;
  const rest = size - Buffer.byteLength(text);
  const pad = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod ".repeat(4);
  const filled = number % 2 === 0
    ? text.replace('"pad":""', `"pad":"${pad.slice(0, rest)}"`)
    : text + pad.slice(0, rest);
  const body = Buffer.from(filled);
  if (body.length !== size) throw new Error(`Cannot make a message of ${size} bytes`);
  if (!isFramed) return Buffer.concat([body, Buffer.from("\n")]);
  const framed = Buffer.alloc(4 + body.length);
  framed.writeUInt32BE(body.length, 0);
  framed.set(body, 4);
  return framed;
}

const kinds = Array.from({ length: KINDS }, (_, number) => messageOf(number));
const all = Buffer.concat(kinds);
const frameBytes = all.length / KINDS;

async function open(): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

/** Writes that are no multiple of a message, so that messages are divided between them. */
async function flood(count: number, from: number): Promise<void> {
  const socket = await open();
  let left = count * frameBytes;
  let at = (from % KINDS) * frameBytes;
  while (left > 0) {
    const length = Math.min(WRITE_BYTES, left, all.length - at);
    if (!socket.write(all.subarray(at, at + length))) await once(socket, "drain");
    left -= length;
    at = (at + length) % all.length;
  }
  socket.end();
  socket.resume();
  await once(socket, "close");
}

/** Sends at a rate; milliseconds from each write to its answer. */
async function paced(count: number): Promise<number[]> {
  const socket = await open();
  const hello = Buffer.from('{"probity":{"ack":true}}');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(hello.length, 0);
  socket.write(Buffer.concat([length, hello]));
  const sentMs: number[] = [];
  const tookMs: number[] = [];
  let held: Buffer = Buffer.alloc(0);
  let isGreeted = false;
  const done = Promise.withResolvers<void>();
  socket.on("data", (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const nowMs = performance.now();
    let at = 0;
    while (held.length - at >= 4 && held.length - at >= 4 + held.readUInt32BE(at)) {
      at += 4 + held.readUInt32BE(at);
      if (isGreeted) tookMs.push(nowMs - (sentMs[tookMs.length] ?? 0));
      isGreeted = true;
    }
    held = held.subarray(at);
    if (tookMs.length === count) done.resolve();
  });
  const beganMs = performance.now();
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.floor((performance.now() - beganMs) * rate / 1000));
    for (; sent < due; sent += 1) {
      sentMs.push(performance.now());
      socket.write(kinds[sent % KINDS] ?? all);
    }
    await delay(1);
  }
  await done.promise;
  socket.destroy();
  return tookMs;
}

const beganMs = performance.now();
let tookMs: number[] = [];
if (rate > 0) tookMs = await paced(messages);
else {
  const each = messages / connections;
  await Promise.all(Array.from({ length: connections }, (_, place) => flood(each, place * 977)));
}
const sorted = tookMs.toSorted((left, right) => left - right);
const part = (share: number): number | null => sorted[Math.floor(sorted.length * share)] ?? null;
const { user, system } = process.cpuUsage();
process.stdout.write(`${
  JSON.stringify({
    seconds: (performance.now() - beganMs) / 1000,
    cpu_seconds: (user + system) / 1e6,
    p50_ms: part(0.5),
    p99_ms: part(0.99),
    max_ms: sorted.at(-1) ?? null,
  })
}\n`);
