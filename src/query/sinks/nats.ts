/**
 * Events to a subject of a NATS server that a stream there stores; `Nats-Msg-Id` is the event's id.
 *
 * Invariant: a delivery ends when the stream has stored every event. Subjects of Probity's own log are refused: what is
 * sent there would come back.
 */
import { connectNats, type NatsConnection } from "../../runtime/nats.ts";
import { publishStored } from "../../runtime/subject-writer.ts";
import type { Log } from "../../runtime/log.ts";
import type { SinkEvent, SinkTarget, TargetSettings } from "./target.ts";
import { untilAborted } from "./until-aborted.ts";

type NatsSettings = Omit<Extract<TargetSettings, { readonly type: "nats" }>, "type">;

/** Messages on their way at the same time. */
const FLIGHT_MAX = 64;

export function createNatsTarget(
  { url, subject, credentialsFile, log }: NatsSettings & { readonly log: Log },
): SinkTarget {
  let connection: NatsConnection | undefined;
  const connected = async (signal: AbortSignal): Promise<NatsConnection> =>
    connection ??= await untilAborted(
      connectNats({
        ...{ url, log, signal, name: "probity-sink" },
        ...(credentialsFile === undefined ? {} : { credentialsFile }),
      }),
      { signal, discard: (late) => late[Symbol.asyncDispose]() },
    );
  return {
    async deliver(events, signal) {
      const used = await connected(signal);
      for (let at = 0; at < events.length; at += FLIGHT_MAX) {
        signal.throwIfAborted();
        const flight = events.slice(at, at + FLIGHT_MAX);
        await Promise.all(flight.map((event) => publishStored(used, messageOf(event, subject))));
      }
    },
    async [Symbol.asyncDispose]() {
      await connection?.[Symbol.asyncDispose]();
    },
  };
}

function messageOf({ id, json }: SinkEvent, subject: string) {
  return { subject, messageId: id, payload: Buffer.from(json) };
}
