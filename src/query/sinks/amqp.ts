/**
 * Events as persistent messages of AMQP 0-9-1 with publisher confirms; `message-id` is the event's id.
 *
 * Invariant: a delivery ends when the broker has confirmed every message and has returned none as unroutable.
 */
import { type ChannelModel, type ConfirmChannel, connect } from "amqplib";
import { faultOfAmqp } from "./address.ts";
import { takeLeave } from "./farewell.ts";
import { readSecretFile } from "./secret-file.ts";
import { RefusedError, type SinkEvent, type SinkTarget, type TargetSettings } from "./target.ts";
import { readTls, tlsFault } from "./tls.ts";
import { untilAborted } from "./until-aborted.ts";

type AmqpSettings = Omit<Extract<TargetSettings, { readonly type: "amqp" }>, "type">;

const CONNECT_LIMIT_MS = 10_000;
/** Largest routing key, in bytes (AMQP 0-9-1, short string). */
const KEY_BYTES_MAX = 255;

interface Link {
  readonly model: ChannelModel;
  readonly channel: ConfirmChannel;
  readonly returned: Set<string>;
  /** Ends it without a word. */
  readonly cut: () => void;
  isOpen: boolean;
}

export function createAmqpTarget(settings: AmqpSettings): SinkTarget {
  const fault = faultOfAmqp(settings);
  if (fault !== undefined) throw new Error(`Cannot use the address of a broker: expected ${fault}`);
  const { exchange, routingKey, passwordFile } = settings;
  let link: Link | undefined;

  const close = async (): Promise<void> => {
    const closing = link;
    link = undefined;
    if (closing === undefined) return;
    await takeLeave(
      () => closing.isOpen ? closing.model.close() : Promise.resolve(),
      closing.cut,
    );
  };
  const connected = async (signal: AbortSignal): Promise<Link> => {
    if (link?.isOpen === true) return link;
    const url = new URL(settings.url);
    const cutting = new AbortController();
    const password = passwordFile === undefined ? "" : await readSecretFile(passwordFile);
    url.password = encodeURIComponent(password);
    const options = {
      timeout: CONNECT_LIMIT_MS,
      ...await readTls(settings),
      // The socket takes it, and is destroyed by it.
      signal: cutting.signal,
      clientProperties: { connection_name: "probity" },
    };
    const cut = (): void => cutting.abort();
    signal.addEventListener("abort", cut, { once: true });
    try {
      const opening = connect(url.href, options).then((model) => linkOf(model, cut));
      const discard = (late: Link) => takeLeave(() => late.model.close(), cut);
      return link = await untilAborted(opening, { signal, discard });
    } finally {
      signal.removeEventListener("abort", cut);
    }
  };

  return {
    async deliver(events, signal) {
      signal.throwIfAborted();
      const stop = (): void => void close();
      signal.addEventListener("abort", stop, { once: true });
      try {
        const used = await connected(signal);
        await publishAll(used, { events, exchange, routingKey, signal });
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

async function linkOf(model: ChannelModel, cut: () => void): Promise<Link> {
  let link: Link | undefined;
  const end = (): void => {
    if (link !== undefined) link.isOpen = false;
  };
  // What is wrong shows in the delivery that waits for confirms; without a listener it would end the process.
  model.on("error", end);
  model.on("close", end);
  try {
    const channel = await model.createConfirmChannel();
    channel.on("error", end);
    channel.on("close", end);
    const returned = new Set<string>();
    channel.on("return", ({ properties }: { properties: { messageId?: unknown } }) => {
      returned.add(String(properties.messageId));
    });
    link = { model, channel, returned, cut, isOpen: true };
    return link;
  } catch (error) {
    await takeLeave(() => model.close(), cut);
    throw error;
  }
}

async function publishAll(
  { channel, returned, model }: Link,
  { events, exchange, routingKey, signal }: {
    readonly events: readonly SinkEvent[];
    readonly exchange: string;
    readonly routingKey: string | undefined;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  returned.clear();
  const closed = Promise.withResolvers<never>();
  // It may be rejected when nobody waits for it any more.
  void Promise.allSettled([closed.promise]);
  const fail = (error?: unknown): void =>
    closed.reject(error instanceof Error ? error : new Error("the broker closed the connection"));
  const stop = (): void => closed.reject(signal.reason);
  channel.once("error", fail);
  channel.once("close", fail);
  model.once("close", fail);
  signal.addEventListener("abort", stop, { once: true });
  try {
    const confirmed = events.map((event) => publish(channel, { event, exchange, routingKey }));
    await Promise.race([Promise.all(confirmed), closed.promise]);
  } finally {
    channel.off("error", fail);
    channel.off("close", fail);
    model.off("close", fail);
    signal.removeEventListener("abort", stop);
  }
  if (returned.size > 0) {
    throw new Error(`the broker has no queue for ${returned.size} of ${events.length} messages`);
  }
}

function publish(
  channel: ConfirmChannel,
  { event, exchange, routingKey }: {
    readonly event: SinkEvent;
    readonly exchange: string;
    readonly routingKey: string | undefined;
  },
): Promise<void> {
  const key = routingKey ?? keyOf(event.topic);
  const confirmed = new Promise<void>((resolve, reject) => {
    channel.publish(exchange, key, Buffer.from(event.json), {
      messageId: event.id,
      persistent: true,
      mandatory: true,
      contentType: "application/json",
      type: event.topic,
      appId: "probity",
    }, (error: unknown) => {
      if (error === null || error === undefined) resolve();
      else reject(new RefusedError("the broker refused a message", { cause: error }));
    });
  });
  // All of them are waited for; a connection that ends rejects each.
  void Promise.allSettled([confirmed]);
  return confirmed;
}

/** Dots between the parts, as topic exchanges match them. */
function keyOf(topic: string): string {
  return Buffer.from(topic.replaceAll("/", ".")).subarray(0, KEY_BYTES_MAX).toString();
}
