/**
 * Lets subscribers of crypto-auditing read what the agent's crypto source tells, once it is in the spool.
 *
 * Invariant: the agent runs as well without: an address that cannot be had is said and retried at the next start.
 */
import type { Producer } from "../../producer/producer.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { loadLibc } from "../libc.ts";
import { credentialsOf } from "../sources/applications/peer.ts";
import { type CryptoBroker, openCryptoBroker } from "./crypto-broker.ts";
import { tellDurableLines } from "./durable-lines.ts";

export interface ServeSubscribersOptions {
  /** Unix socket; nobody is served without one. */
  readonly path: string | undefined;
  readonly producer: Producer;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** The producer that sources are to use. */
export interface ServedProducer extends AsyncDisposable {
  readonly producer: Producer;
}

const SOURCE = "crypto";

export async function serveSubscribers(options: ServeSubscribersOptions): Promise<ServedProducer> {
  const { path, producer, log } = options;
  const broker = path === undefined ? undefined : await tryOpen(path, log);
  if (broker === undefined) {
    return { producer, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  let dropped = 0;
  observe(options.metrics, broker, () => dropped);
  const lines = tellDurableLines({
    ...{ producer, source: SOURCE },
    isWanted: () => broker.hasSubscribers(),
    onLines: (fields) => broker.publish(fields),
    onDropped: (count) => {
      if (dropped === 0) log.warn("subscribers of crypto events miss some: the spool is behind");
      dropped += count;
    },
  });
  return {
    producer: lines.producer,
    async [Symbol.asyncDispose]() {
      lines[Symbol.dispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}

async function tryOpen(path: string, log: Log): Promise<CryptoBroker | undefined> {
  try {
    const calls = loadLibc();
    return await openCryptoBroker({
      ...{ path, log },
      nameOf: (socket) => {
        const peer = credentialsOf(socket, calls);
        return peer === undefined ? "a process" : `process ${peer.pid} of user ${peer.uid}`;
      },
    });
  } catch (error) {
    log.error("no subscribers of crypto events are served", { error: String(error) });
    return undefined;
  }
}

function observe(metrics: Metrics, broker: CryptoBroker, dropped: () => number): void {
  const figures: readonly (readonly [string, string, () => number])[] = [
    ["subscribers", "Subscribers of crypto events now.", () => broker.subscribers()],
    ["frames_total", "Crypto events handed to subscribers.", () => broker.counts.sent],
    ["slow_total", "Subscribers cut off because they did not read.", () => broker.counts.slow],
    ["refused_total", "Connections of subscribers that were refused.", () => broker.counts.refused],
    ["dropped_total", "Crypto events that subscribers missed.", dropped],
  ];
  for (const [name, help, value] of figures) {
    metrics.observed(`probity_agent_crypto_${name}`, { help }, value);
  }
}
