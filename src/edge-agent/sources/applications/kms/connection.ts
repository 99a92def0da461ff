/**
 * The WebSocket to the KMS: connects within a limit and carries texts. The only file here that knows the library.
 *
 * Invariant: a connection that says nothing for two pings is ended, so that whoever waits for it learns.
 */
import { setTimeout } from "node:timers";
import { type RawData, WebSocket } from "ws";
import { MESSAGE_BYTES_MAX } from "./messages.ts";

/** How long the other side has to take its leave, in milliseconds. */
const LEAVE_LIMIT_MS = 1_000;
/** What may wait for a KMS that does not read, in bytes; a batch that it inquired may be about as large. */
export const UNREAD_BYTES_MAX = 32 * 1024 * 1024;
/** Going away, and a kind of data that is not taken (RFC 6455). */
const GOING_AWAY = 1_001;

export interface KmsConnection extends AsyncDisposable {
  /**
   * Resolves when the text left for the network; rejects when the connection ended before, and at once while more than
   * {@link UNREAD_BYTES_MAX} wait.
   */
  send(text: string): Promise<void>;
  /** Resolves when it has ended, whoever ended it. */
  readonly closed: Promise<Closing>;
}

export interface Closing {
  /** Code of RFC 6455; 1006 when the connection broke. */
  readonly code: number;
  readonly reason: string;
}

export interface ConnectOptions {
  readonly url: string;
  readonly connectTimeoutMs: number;
  readonly pingIntervalMs: number;
  /** Ends the connection, also one that is not there yet. */
  readonly signal: AbortSignal;
  /** Called once for each text, in order. */
  onText(text: string): void;
  /** Told how long a ping took to come back. */
  onPong(tookMs: number): void;
}

/** Rejects when there is no connection within the limit. */
export async function connectKms(options: ConnectOptions): Promise<KmsConnection> {
  options.signal.throwIfAborted();
  const socket = new WebSocket(options.url, {
    handshakeTimeout: options.connectTimeoutMs,
    maxPayload: MESSAGE_BYTES_MAX,
    perMessageDeflate: false,
    followRedirects: false,
  });
  let broke: Error | undefined;
  const closed = new Promise<Closing>((resolve) => {
    socket.on("close", (code: number, reason: Buffer) => {
      resolve({ code, reason: reason.toString().slice(0, 123) || (broke?.message ?? "") });
    });
  });
  const opened = new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.on("error", (error: Error) => {
      broke = error;
      reject(error);
    });
  });
  // A text may come with the very answer that opens the connection.
  socket.on("message", (data: RawData, isBinary: boolean) => {
    // The protocol takes a binary message for a text that cannot be parsed.
    options.onText(isBinary ? "" : textOf(data));
  });
  const leave = (): void => {
    socket.close(GOING_AWAY, "The agent is stopping");
    setTimeout(() => socket.terminate(), LEAVE_LIMIT_MS).unref();
  };
  options.signal.addEventListener("abort", leave, { once: true });
  void closed.then(() => options.signal.removeEventListener("abort", leave));
  await opened;
  const stopPinging = keepPinging(socket, options);
  void closed.then(stopPinging);
  return {
    send: (text) =>
      new Promise((resolve, reject) => {
        if (socket.bufferedAmount > UNREAD_BYTES_MAX) {
          return reject(new Error("Cannot send to the KMS: it does not read"));
        }
        // Without an error it is called with null, or with nothing.
        socket.send(text, (error) => error ? reject(error) : resolve());
      }),
    closed,
    async [Symbol.asyncDispose]() {
      if (socket.readyState !== WebSocket.CLOSED) leave();
      await closed;
    },
  };
}

/** The other side must send back what a ping holds (RFC 6455, section 5.5.3). */
function keepPinging(socket: WebSocket, { pingIntervalMs, onPong }: ConnectOptions): () => void {
  let unanswered = 0;
  socket.on("pong", (data: Buffer) => {
    unanswered = 0;
    const sentMs = sentAt(data.toString());
    if (sentMs !== undefined) onPong(Math.max(0, Date.now() - sentMs));
  });
  const timer = setInterval(() => {
    if (unanswered >= 2) {
      socket.terminate();
      return;
    }
    unanswered += 1;
    socket.ping(JSON.stringify({ timestamp: new Date().toISOString() }));
  }, pingIntervalMs);
  return () => clearInterval(timer);
}

function sentAt(text: string): number | undefined {
  const time = /^\{"timestamp":"([^"]{24})"\}$/.exec(text)?.[1];
  const ms = Date.parse(time ?? "");
  return Number.isNaN(ms) ? undefined : ms;
}

function textOf(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString();
  return (data instanceof ArrayBuffer ? Buffer.from(data) : data).toString();
}
