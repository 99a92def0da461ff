/**
 * Events as RFC 5424 messages: over TCP or TLS with octet counting (RFC 6587, RFC 5425), or one datagram each.
 *
 * Syslog has no answers: a delivery ends when the operating system has taken the bytes and the connection still stands,
 * so what was in its buffers when the other side died is lost, unlike with every other kind of sink.
 */
import { createSocket } from "node:dgram";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { RefusedError, type SinkEvent, type SinkTarget, type TargetSettings } from "./target.ts";
import { readTls, tlsFault, type TlsTexts } from "./tls.ts";

type SyslogSettings = Omit<Extract<TargetSettings, { readonly type: "syslog" }>, "type">;

const CONNECT_LIMIT_MS = 10_000;
/** So long is waited for the first ticket of TLS 1.3, in milliseconds. */
const TICKET_LIMIT_MS = 1_000;
/** Largest message in one datagram, in bytes. */
const DATAGRAM_BYTES_MAX = 65_000;
/** Facility 13: log audit. */
const FACILITY = 13;
const SEVERITIES: Readonly<Record<string, number>> = {
  critical: 2,
  high: 3,
  medium: 4,
  low: 5,
  info: 6,
};
const DEFAULT_PORTS: Readonly<Record<string, number>> = { "tcp:": 514, "udp:": 514, "tls:": 6514 };

export function createSyslogTarget(
  { url, ...files }: SyslogSettings,
  { connectLimitMs = CONNECT_LIMIT_MS }: { readonly connectLimitMs?: number } = {},
): SinkTarget {
  const { protocol, hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, "");
  const place = { host, port: port === "" ? DEFAULT_PORTS[protocol] ?? 514 : Number(port) };
  if (protocol === "udp:") return createDatagramTarget(place);
  let socket: Socket | undefined;
  const close = (): Promise<void> => {
    socket?.destroy();
    socket = undefined;
    return Promise.resolve();
  };
  return {
    async deliver(events, signal) {
      signal.throwIfAborted();
      const bytes = Buffer.concat(events.map((event) => {
        const message = messageOf(event);
        return Buffer.concat([Buffer.from(`${message.length} `), message]);
      }));
      const stop = (): void => void close();
      signal.addEventListener("abort", stop, { once: true });
      try {
        if (socket === undefined || socket.destroyed || socket.readyState !== "open") {
          const tls = protocol === "tls:" ? await readTls(files) : undefined;
          socket = await connected(place, { tls, connectLimitMs, signal });
        }
        await written(socket, bytes);
      } catch (error) {
        await close();
        throw tlsFault(error);
      } finally {
        signal.removeEventListener("abort", stop);
      }
    },
    [Symbol.asyncDispose]: close,
  };
}

interface Place {
  readonly host: string;
  readonly port: number;
}

function connected(
  place: Place,
  { tls, connectLimitMs, signal }: {
    readonly tls: TlsTexts | undefined;
    readonly connectLimitMs: number;
    readonly signal: AbortSignal;
  },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // A name is shown to the server, an address is not (RFC 6066, section 3).
    const name = isIP(place.host) === 0 ? { servername: place.host } : {};
    const socket = tls === undefined
      ? connectTcp(place)
      : connectTls({ ...place, ...name, ...tls });
    const fail = (error: Error): void => {
      signal.removeEventListener("abort", stop);
      socket.destroy();
      reject(error);
    };
    const stop = (): void => fail(new Error("the delivery was ended", { cause: signal.reason }));
    signal.addEventListener("abort", stop, { once: true });
    socket.setTimeout(connectLimitMs, () => fail(new Error("the server did not answer in time")));
    socket.once("error", fail);
    const closed = (): void => fail(new Error("the server closed the connection"));
    socket.once("close", closed);
    let isOpen = false;
    const open = (): void => {
      if (socket.destroyed || isOpen) return;
      isOpen = true;
      signal.removeEventListener("abort", stop);
      socket.setTimeout(0);
      socket.off("error", fail);
      socket.off("close", closed);
      // What ends it while nothing is sent shows in its state.
      socket.on("error", () => socket.destroy());
      socket.on("end", () => socket.destroy());
      socket.resume();
      resolve(socket);
    };
    if (tls === undefined) socket.once("connect", open);
    else socket.once("secureConnect", () => whenTaken(socket, open));
  });
}

/**
 * In TLS 1.3 a server judges our certificate after our side is done: its first ticket says that it has taken it. Some
 * give none.
 */
function whenTaken(socket: Socket, open: () => void): void {
  const timer = setTimeout(open, TICKET_LIMIT_MS);
  // Node 24.21 loses what is written while this event is handled.
  socket.once("session", () => setImmediate(open));
  socket.once("close", () => clearTimeout(timer));
  // A server that closes is noticed only by one that reads.
  socket.resume();
}

function written(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new Error("the server closed the connection"));
    socket.once("close", closed);
    socket.write(bytes, (error) => {
      socket.off("close", closed);
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}

function createDatagramTarget({ host, port }: Place): SinkTarget {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("error", () => undefined);
  return {
    async deliver(events, signal) {
      for (const event of events) {
        signal.throwIfAborted();
        const message = messageOf(event);
        if (message.length > DATAGRAM_BYTES_MAX) {
          throw new RefusedError(`an event is larger than ${DATAGRAM_BYTES_MAX} bytes`);
        }
        await new Promise<void>((resolve, reject) => {
          socket.send(message, port, host, (error) => error === null ? resolve() : reject(error));
        });
      }
    },
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

/** The event as JSON is the message; its id is in the structured data, its topic the message id. */
export function messageOf({ id, topic, time, host, severity, json }: SinkEvent): Buffer {
  const priority = FACILITY * 8 + (SEVERITIES[severity] ?? 6);
  const header = [
    `<${priority}>1`,
    time === "" ? "-" : time,
    printable(host, 255),
    "probity",
    "-",
    printable(topic, 32),
    `[event@32473 id="${id}"]`,
  ].join(" ");
  return Buffer.from(`${header} ${json}`);
}

function printable(text: string, lengthMax: number): string {
  return text.replace(/[^\x21-\x7e]/g, "?").slice(0, lengthMax) || "-";
}
