/**
 * Syslog over UDP (RFC 5426): one message per datagram.
 *
 * Invariant: what comes while nothing can be taken is counted as lost, since nobody can be made to wait. What the kernel
 * drops because its own room is full is not seen here.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import type { ListenAddress } from "../../http.ts";

export interface DatagramListener extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
}

/** Room that the kernel is asked for, in bytes. */
const RECEIVE_BYTES = 4 * 1024 * 1024;

/** Listens; rejects when the address cannot be had. */
export async function openDatagramListener(
  { host, port }: ListenAddress,
  take: (bytes: Buffer, from: ListenAddress) => void,
): Promise<DatagramListener> {
  const socket = createSocket({
    type: host.includes(":") ? "udp6" : "udp4",
    recvBufferSize: RECEIVE_BYTES,
  });
  socket.on(
    "message",
    (bytes, { address, port: from }) => take(bytes, { host: address, port: from }),
  );
  try {
    socket.bind(port, host);
    await once(socket, "listening");
  } catch (cause) {
    socket.close();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot listen on "${host}:${port}": ${reason}`, { cause });
  }
  socket.on("error", () => undefined); // Of one datagram: the next ones come all the same.
  const bound = socket.address().port;
  let isOpen = true;
  return {
    name: `${host}:${bound}`,
    port: bound,
    async [Symbol.asyncDispose]() {
      if (!isOpen) return;
      isOpen = false;
      const closed = once(socket, "close");
      socket.close();
      await closed;
    },
  };
}
