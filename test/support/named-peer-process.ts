/**
 * In a network namespace of its own: serves the DNS on port 53, asks it for names over UDP and over TCP, and connects to
 * what was answered. Prints the ports of the connections, by name.
 */
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { dnsAnswer, dnsName } from "./dns.ts";

const ADDRESSES: Readonly<Record<string, readonly number[]>> = {
  "short.test": [127, 0, 0, 2],
  "long.test": [127, 0, 0, 3],
  "forged.test": [127, 0, 0, 4],
};
const TRUNCATED = 0x8380;

const datagrams = createSocket("udp4");
datagrams.on("message", (query, { port, address }) => {
  const name = nameIn(query);
  if (name === "forged.test") {
    // Nobody asked this way: what it says must not count.
    datagrams.send(answerTo(name, query.readUInt16BE(0) ^ 1), port, address);
  }
  const flags = name === "long.test" ? TRUNCATED : undefined;
  const real = flags === undefined
    ? answerTo(name, query.readUInt16BE(0), name === "forged.test" ? [127, 0, 0, 5] : undefined)
    : dnsAnswer(name, [], { id: query.readUInt16BE(0), flags });
  datagrams.send(real, port, address);
});
datagrams.bind(53, "127.0.0.1");
await once(datagrams, "listening");
const streams = createServer((socket) => {
  socket.once("data", (query: Buffer) => {
    const message = answerTo(nameIn(query.subarray(2)), query.readUInt16BE(2));
    const length = Buffer.alloc(2);
    length.writeUInt16BE(message.length);
    socket.end(Buffer.concat([length, message]));
  });
});
await listen(streams, 53, "127.0.0.1");

const server = createServer((socket) => socket.end());
await listen(server, 0, "0.0.0.0");
const bound = server.address();
const port = typeof bound === "object" && bound !== null ? bound.port : 0;

const resolver = new Resolver();
resolver.setServers(["127.0.0.1"]);
const ports: Record<string, number | undefined> = {};
for (const name of Object.keys(ADDRESSES)) {
  await resolver.resolve4(name);
  const socket = connect(port, ADDRESSES[name]?.join(".") ?? "");
  await once(socket, "connect");
  ports[name] = socket.localPort;
  socket.resume();
  await once(socket, "close");
}
process.stdout.write(JSON.stringify(ports), () => process.exit());

function nameIn(query: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; (query[at] ?? 0) > 0; at += (query[at] ?? 0) + 1) {
    labels.push(query.toString("latin1", at + 1, at + 1 + (query[at] ?? 0)));
  }
  return labels.join(".").toLowerCase();
}

function answerTo(name: string, id: number, address = ADDRESSES[name] ?? []): Uint8Array {
  const alias = dnsName(`alias.${name}`);
  const question = [0xc0, 12];
  return dnsAnswer(name, [
    { owner: question, type: 5, ttlSeconds: 60, data: alias },
    { owner: alias, type: 1, ttlSeconds: 60, data: address },
  ], { id });
}

async function listen(on: Server, at: number, host: string): Promise<void> {
  on.listen(at, host);
  await once(on, "listening");
}
