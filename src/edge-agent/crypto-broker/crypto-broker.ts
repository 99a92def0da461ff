/**
 * The socket on which subscribers of crypto-auditing read what libraries tell on this host, as its own event broker
 * serves them.
 *
 * Invariants: a subscriber that does not read delays nobody: when too much waits for it, it is cut off, which it sees,
 * and that is counted and logged; nobody but the agent's user and group reaches the socket; the number of subscribers
 * and what waits for each are bounded.
 */
import { once } from "node:events";
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import process from "node:process";
import type { Log } from "../../runtime/log.ts";
import {
  createRequestReader,
  isWanted,
  type Scopes,
  sentGroupOf,
  WrongRequest,
} from "./subscription.ts";

export interface CryptoBroker extends AsyncDisposable {
  /** Whether anybody subscribed. */
  hasSubscribers(): boolean;
  subscribers(): number;
  /** Sends events to those who want them: texts of lines after their opening brace. */
  publish(fields: readonly string[]): void;
  readonly counts: Readonly<CryptoBrokerCounts>;
}

export interface CryptoBrokerCounts {
  /** Frames handed to sockets. */
  sent: number;
  /** Subscribers that were cut off because they did not read. */
  slow: number;
  /** Connections refused: too many, or no list of scopes came in time. */
  refused: number;
}

export interface CryptoBrokerOptions {
  readonly path: string;
  readonly log: Log;
  /** Names who is at the other end, for logs. */
  readonly nameOf?: (socket: Socket) => string;
  readonly waitingBytesMax?: number;
  readonly requestMs?: number;
}

export const SUBSCRIBERS_MAX = 64;
/** What may wait for a subscriber, in bytes. */
export const WAITING_BYTES_MAX = 8 * 1024 * 1024;
/** A subscriber says what it wants within so many milliseconds. */
export const REQUEST_MS = 10_000;
/** A refusal is said in the log once in so many milliseconds, with how many others there were; all are counted. */
const REFUSAL_SAID_MS = 1_000;
/** The agent's user and group: uses of cryptography are nobody else's business. */
const SOCKET_MODE = 0o660;

const NOTHING = new Uint8Array(0);

interface Subscriber {
  readonly socket: Socket;
  readonly from: string;
  readonly scopes: Scopes;
}

/** Listens; rejects when the path cannot be had. Disposing ends every connection. */
export async function openCryptoBroker(options: CryptoBrokerOptions): Promise<CryptoBroker> {
  const { path, log, nameOf = () => "a subscriber" } = options;
  const { waitingBytesMax = WAITING_BYTES_MAX, requestMs = REQUEST_MS } = options;
  const counts: CryptoBrokerCounts = { sent: 0, slow: 0, refused: 0 };
  const sockets = new Set<Socket>();
  const subscribers = new Set<Subscriber>();
  /** Refusals that were not said, since whoever may connect may do so without end; and when one was last. */
  let [unsaid, saidMs] = [0, -Infinity];
  const refuse = (socket: Socket, reason: string): void => {
    counts.refused += 1;
    const nowMs = performance.now();
    if (nowMs - saidMs < REFUSAL_SAID_MS) unsaid += 1;
    else {
      const more = unsaid === 0 ? {} : { others: unsaid };
      log.warn("subscriber of crypto events refused", { from: nameOf(socket), reason, ...more });
      [unsaid, saidMs] = [0, nowMs];
    }
    socket.destroy();
  };
  // A subscriber may end its side once it has said what it wants.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    askWhoLeft();
    if (sockets.size >= SUBSCRIBERS_MAX) return refuse(socket, `more than ${SUBSCRIBERS_MAX}`);
    sockets.add(socket);
    const read = createRequestReader();
    const timer = setTimeout(() => refuse(socket, "no list of scopes came in time"), requestMs);
    const onData = (piece: Buffer): void => {
      try {
        const scopes = read(piece);
        if (scopes === undefined) return;
        subscribe({ socket, from: nameOf(socket), scopes });
      } catch (error) {
        if (!(error instanceof WrongRequest)) throw error;
        refuse(socket, error.message);
      }
      clearTimeout(timer);
      // What else it sends means nothing in this protocol.
      socket.off("data", onData).resume();
    };
    socket.on("data", onData);
    socket.once("end", () => {
      if (![...subscribers].some((each) => each.socket === socket)) socket.destroy();
    });
    socket.once("close", () => {
      clearTimeout(timer);
      sockets.delete(socket);
    });
  });
  /** Whether one that ended its side only did that, or left, shows at the next write: where little happens never. */
  const askWhoLeft = (): void => {
    for (const { socket } of subscribers) if (socket.readableEnded) socket.write(NOTHING);
  };
  const subscribe = (subscriber: Subscriber): void => {
    const { socket, from, scopes } = subscriber;
    subscribers.add(subscriber);
    socket.once("close", () => void subscribers.delete(subscriber));
    log.info("subscriber of crypto events", { from, scopes: scopes.join(" ") });
  };
  const send = ({ socket, from }: Subscriber, frame: Uint8Array): void => {
    if (socket.destroyed) return;
    if (socket.writableLength + frame.length <= waitingBytesMax) {
      counts.sent += 1;
      socket.write(frame);
      return;
    }
    counts.slow += 1;
    const waitingBytes = socket.writableLength;
    log.warn("subscriber of crypto events cut off: it does not read", { from, waitingBytes });
    socket.destroy();
  };
  await listen(server, path);
  return {
    hasSubscribers: () => subscribers.size > 0,
    subscribers: () => subscribers.size,
    publish(fields) {
      for (const line of fields) {
        const group = sentGroupOf(line);
        if (group === undefined) continue;
        for (const subscriber of subscribers) {
          if (isWanted(group.event, subscriber.scopes)) send(subscriber, group.frame);
        }
      }
    },
    counts,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  await removeStale(path);
  // No moment at which others could connect lies between making the socket and giving it its mode.
  // The mask is the whole process's, so it is back before anything else can make a file or folder.
  const before = process.umask(0o777 & ~SOCKET_MODE);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  try {
    await once(server, "listening");
    chmodSync(path, SOCKET_MODE);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot listen on "${path}": ${reason}`, { cause });
  }
  // A connection that fails while it is accepted ends only itself.
  server.on("error", () => undefined);
}

/** Removes a socket that nobody listens on any more. */
async function removeStale(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const socket = connect(path);
  const isAlive = await new Promise<boolean>((resolve) => {
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  });
  socket.destroy();
  if (isAlive) throw new Error(`Cannot listen on "${path}": another program does`);
  unlinkSync(path);
}
