/**
 * How far a shard's roll-up is behind, seen from outside the work: one that cannot get on, because the bucket is away
 * for instance, must not look as if there was nothing to do.
 */
import { streamOf } from "../event/wire.ts";
import { type NatsConnection, openStream, readMessage } from "../runtime/nats.ts";
import type { RollupContext } from "./rollup-session.ts";

/** Between two looks, in milliseconds. */
export const LAG_LOOK_MS = 10_000;

export interface Lag {
  readonly lastSequence: number;
  /** When the broker stored the first message after the committed one, µs; undefined when there is none. */
  readonly waitingSinceUs: number | undefined;
}

/** Looks once; undefined when there is no stream. */
export async function lookAtLag(
  connection: NatsConnection,
  { shard, committedSequence }: { readonly shard: string; readonly committedSequence: number },
): Promise<Lag | undefined> {
  const stream = streamOf(shard);
  const status = await openStream(connection, stream);
  if (status === undefined) return undefined;
  const { firstSequence, lastSequence } = status;
  const sequence = Math.max(committedSequence + 1, firstSequence);
  if (sequence > lastSequence) return { lastSequence, waitingSinceUs: undefined };
  const message = await readMessage(connection, { stream, sequence });
  return { lastSequence, waitingSinceUs: message?.storedAtUs };
}

/** Keeps the position's figures up to date until the signal is aborted. */
export async function watchLag(
  { connection, shard, clock, position, log }: Pick<
    RollupContext,
    "connection" | "shard" | "clock" | "position" | "log"
  >,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const { committedSequence } = position;
      const lag = await lookAtLag(connection, { shard, committedSequence });
      // A commit since then knows better.
      if (lag !== undefined && committedSequence === position.committedSequence) {
        position.lastSequence = lag.lastSequence;
        position.waitingSinceUs = lag.waitingSinceUs;
      }
    } catch (error) {
      log.debug("the lag is not looked at", { error: String(error) });
    }
    await Promise.allSettled([clock.sleep(LAG_LOOK_MS, signal)]);
  }
}
