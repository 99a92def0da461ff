/** Connections, proven by one over loopback. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import {
  compareFields,
  type ParsedLine,
  type ProofAction,
  type ProofResult,
  type RingFamily,
} from "../ring-family.ts";
import { createNetworkDecoder } from "./network-lines.ts";

const LOOPBACK = "127.0.0.1";

export const networkFamily: RingFamily = {
  name: "network",
  createDecoder: createNetworkDecoder,
  prove: proveByConnect,
};

async function proveByConnect(): Promise<ProofAction> {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const socket = connect(port, LOOPBACK);
  await once(socket, "connect");
  const expected = { src_ip: LOOPBACK, dst_ip: LOOPBACK, pid: process.pid, outcome: "success" };
  return {
    check: (line: ParsedLine): ProofResult =>
      line["topic"] === "network/connect" && line["dst_port"] === port
        ? compareFields(line, expected)
        : "other",
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
