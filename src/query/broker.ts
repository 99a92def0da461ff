/**
 * The query service's connection to the broker, which may be away when the service starts: it answers from the archive
 * meanwhile, and says so.
 */
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { connectNats, type NatsConnection } from "../runtime/nats.ts";

export interface NatsOptions {
  readonly url: string;
  readonly credentialsFile?: string;
  /** Prefix of reply subjects, for a user that may only subscribe to its own. */
  readonly inboxPrefix?: string;
}

export interface Broker {
  /** Throws while there is no connection yet. */
  readonly connection: () => NatsConnection;
  /** Why there is none; undefined when there is. */
  readonly fault: () => string | undefined;
  onConnected(listener: (connection: NatsConnection) => void): void;
}

export interface BrokerOptions {
  /** Undefined for none. */
  readonly nats: NatsOptions | undefined;
  readonly log: Log;
  readonly clock?: Clock | undefined;
}

/** How long an open waits for the broker before it goes on without, in milliseconds. */
const CONNECT_WAIT_MS = 2_000;

/** Connects in the background when the broker takes long; rejects when it refuses at once. */
export async function openBroker(
  { nats, log, clock = systemClock }: BrokerOptions,
  stack: AsyncDisposableStack,
): Promise<Broker | undefined> {
  if (nats === undefined) return undefined;
  const end = new AbortController();
  let connection: NatsConnection | undefined;
  let fault: string | undefined = "it has not answered yet";
  const connecting = connectNats({
    ...nats,
    name: "probity query",
    log,
    clock,
    signal: end.signal,
  });
  const settled = connecting.then((made) => {
    connection = made;
    fault = undefined;
    return made;
  });
  stack.defer(async () => {
    end.abort();
    await Promise.allSettled([settled]);
    await connection?.[Symbol.asyncDispose]();
  });
  void Promise.allSettled([settled]).then(([result]) => {
    if (result?.status !== "rejected" || end.signal.aborted) return;
    fault = "it refused the connection";
    log.error("the broker refused the connection", { error: String(result.reason) });
  });
  await Promise.race([settled, clock.sleep(CONNECT_WAIT_MS)]);
  return {
    connection() {
      if (connection !== undefined) return connection;
      throw new Error(`Cannot use the broker: ${fault}`);
    },
    fault: () => connection?.isClosed() === true ? "the connection is closed" : fault,
    onConnected(listener) {
      void Promise.allSettled([settled]).then(() => {
        if (connection !== undefined) listener(connection);
      });
    },
  };
}
