/** Connections, proven by one over loopback. */
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { createProcessLookup } from "../../process-lookup.ts";
import {
  compareFields,
  type ParsedLine,
  type ProofAction,
  type ProofResult,
  type RingFamily,
} from "../ring-family.ts";
import { type OlderActor, ownerOf, readOlderSockets } from "./listeners.ts";
import { createNetworkDecoder } from "./network-lines.ts";
import { timeLimit } from "../../../runtime/time-limit.ts";

const LOOPBACK = "127.0.0.1";

/** The family; it remembers who listened before the programs were attached. */
export function createNetworkFamily(): RingFamily {
  let olderActor: OlderActor = () => undefined;
  return {
    name: "network",
    lane: "bulk",
    prepare: async (context) => {
      const sockets = await readOlderSockets("tcp");
      const lookup = createProcessLookup({ context, ownPids: [] });
      olderActor = (ends) => {
        const pid = ownerOf(sockets, ends);
        return pid === undefined ? undefined : lookup.actorOf(pid);
      };
    },
    createDecoder: (context) => createNetworkDecoder(context, (ends) => olderActor(ends)),
    prove: proveByConnect,
  };
}

/** A connection over loopback takes microseconds, unless a firewall takes it. */
const CONNECT_LIMIT_MS = 2_000;

async function proveByConnect(): Promise<ProofAction> {
  await using sockets = new AsyncDisposableStack();
  const server = sockets.adopt(createServer((socket) => socket.destroy()), closeServer);
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const socket = sockets.adopt(connect(port, LOOPBACK), (opened) => void opened.destroy());
  try {
    await once(socket, "connect", { signal: timeLimit(CONNECT_LIMIT_MS) });
  } catch (error) {
    throw new Error(`Cannot connect to ${LOOPBACK}: is there a firewall?`, { cause: error });
  }
  const kept = sockets.move();
  const { localPort } = socket; // Gone when the server ends the connection.
  const expected = { src_ip: LOOPBACK, dst_ip: LOOPBACK, pid: process.pid, outcome: "success" };
  const own = { pid: process.pid, outcome: "success" };
  return {
    hook: "connect",
    check: (line: ParsedLine): ProofResult =>
      line["topic"] === "network/connect" && line["dst_port"] === port
        ? compareFields(line, expected)
        : "other",
    further: {
      listen: (line) =>
        line["topic"] === "network/listen" && line["src_port"] === port
          ? compareFields(line, { ...own, src_ip: LOOPBACK })
          : "other",
      accept: (line) =>
        line["topic"] === "network/accept" && line["dst_port"] === port
          ? compareFields(line, { ...own, src_ip: LOOPBACK, src_port: localPort ?? 0 })
          : "other",
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  await closed;
}
