/** Flows of datagrams and what DNS answers, proven by a datagram over loopback. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createProcessLookup } from "../../process-lookup.ts";
import {
  compareFields,
  type ParsedLine,
  type ProofAction,
  type ProofCheck,
  type RingFamily,
} from "../ring-family.ts";
import { createFlowDecoder } from "./flow-lines.ts";
import { type OlderActor, ownerOf, readOlderSockets } from "./listeners.ts";
import { timeLimit } from "../../../runtime/time-limit.ts";

const LOOPBACK = "127.0.0.1";

/** The family; it remembers who had which port before the programs were attached. */
export function createFlowFamily(): RingFamily {
  let olderActor: OlderActor = () => undefined;
  return {
    name: "flow",
    lane: "bulk",
    variants: ["cgroup"],
    // The beginning of a flow.
    tellsOnce: true,
    prepare: async (context) => {
      const sockets = await readOlderSockets("udp");
      const lookup = createProcessLookup({ context, ownPids: [] });
      olderActor = (ends) => {
        const pid = ownerOf(sockets, ends);
        return pid === undefined ? undefined : lookup.actorOf(pid);
      };
    },
    createDecoder: (context) => createFlowDecoder(context, (ends) => olderActor(ends)),
    prove: proveByDatagram,
  };
}

/** A datagram over loopback takes microseconds, unless a firewall takes it. */
const RECEIVE_LIMIT_MS = 2_000;

async function proveByDatagram(): Promise<ProofAction> {
  await using sockets = new AsyncDisposableStack();
  const server = sockets.adopt(await openSocket(), closeSocket);
  const client = await openSocket();
  const [from, to] = [client.address().port, server.address().port];
  try {
    const received = once(server, "message", { signal: timeLimit(RECEIVE_LIMIT_MS) });
    await Promise.all([received, sendTo(client, to)]);
  } catch (error) {
    throw new Error(`Cannot send a datagram to ${LOOPBACK}: is there a firewall?`, {
      cause: error,
    });
  } finally {
    await closeSocket(client);
  }
  const kept = sockets.move();
  const own = { pid: process.pid, protocol: "udp" };
  const ends = { ...own, src_ip: LOOPBACK, dst_ip: LOOPBACK, src_port: from };
  const finds = (
    topic: string,
    { at, expected }: { readonly at: ParsedLine; readonly expected: ParsedLine },
  ): ProofCheck =>
  (line) =>
    line["topic"] === topic && Object.entries(at).every(([name, value]) => line[name] === value)
      ? compareFields(line, expected)
      : "other";
  return {
    hook: "send",
    check: finds("network/connect", { at: { dst_port: to, src_port: from }, expected: ends }),
    further: {
      receive: finds("network/accept", { at: { dst_port: to, src_port: from }, expected: ends }),
      bind: finds("network/listen", {
        at: { src_port: to },
        expected: { ...own, src_ip: LOOPBACK },
      }),
      close: finds("network/close", { at: { dst_port: to, src_port: from }, expected: ends }),
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function closeSocket(socket: Socket): Promise<void> {
  const closed = once(socket, "close");
  socket.close();
  await closed;
}

/** Resolves when the kernel has taken it. */
function sendTo(client: Socket, port: number): Promise<void> {
  const sent = Promise.withResolvers<void>();
  client.send("probity", port, LOOPBACK, (error) => {
    if (error === null) sent.resolve();
    else sent.reject(error);
  });
  return sent.promise;
}

async function openSocket(): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(0, LOOPBACK);
  await once(socket, "listening");
  return socket;
}
