/**
 * How much of the primary log may go: what is committed to the archive, has the age that it must have, and is needed by
 * nobody who still reads it there.
 *
 * Invariants: never past the commit; the message at the committed sequence always stays, since its digest is how a
 * broker that lost its tail is noticed; never in a stream that was made again since.
 */
import { streamOf } from "../event/wire.ts";
import {
  type NatsConnection,
  openStream,
  purgeStream,
  type StreamStatus,
} from "../runtime/nats.ts";
import { sequenceAt } from "../runtime/stream-reader.ts";

export interface TruncationPolicy {
  /** A message stays until it is so old, in milliseconds; with 0 it may go once it is committed. */
  readonly keepMs: number;
  readonly readers?: LogReaders;
}

/** Others who read the log after the roll-up has. */
export interface LogReaders {
  /** The lowest sequence that has to stay for them; undefined when none has to. */
  lowestNeeded(stream: ReadStream): Promise<number | undefined>;
}

export interface ReadStream {
  readonly shard: string;
  readonly incarnation: string;
  /** Last sequence when it was looked at. */
  readonly lastSequence: number;
}

export const DEFAULT_TRUNCATION: TruncationPolicy = { keepMs: 0 };

/** What bounds the truncation from above: sequences that stay, with all after them. */
export interface TruncationBounds {
  /** Of the last commit; 0 before the first. */
  readonly committed: number;
  /** The first one that is not old enough; undefined when age does not matter. */
  readonly young: number | undefined;
  /** The first one that somebody needs; undefined when nobody does. */
  readonly needed: number | undefined;
}

/** The first sequence that stays. */
export function firstKept({ committed, young, needed }: TruncationBounds): number {
  return Math.max(1, Math.min(committed, young ?? Infinity, needed ?? Infinity));
}

export interface TruncateLogOptions {
  readonly connection: NatsConnection;
  readonly shard: string;
  readonly policy: TruncationPolicy;
  /** The stream that the commit is of. */
  readonly created: string;
  readonly incarnation: string;
  readonly committedSequence: number;
  readonly nowUs: number;
}

/** Truncates as far as the policy lets it; the stream as it was before, undefined when it is another one by now. */
export async function truncateLog(options: TruncateLogOptions): Promise<StreamStatus | undefined> {
  const { connection, shard, policy, created, incarnation, committedSequence, nowUs } = options;
  const stream = streamOf(shard);
  const status = await openStream(connection, stream);
  if (status?.created !== created) return undefined;
  const { firstSequence, lastSequence } = status;
  if (committedSequence <= firstSequence || committedSequence > lastSequence) return status;
  const young = policy.keepMs === 0
    ? undefined
    : await sequenceAt(connection, { stream, timeUs: nowUs - policy.keepMs * 1_000 });
  const needed = await policy.readers?.lowestNeeded({ shard, incarnation, lastSequence });
  const kept = firstKept({ committed: committedSequence, young, needed });
  if (kept > firstSequence) await purgeStream(connection, { stream, beforeSequence: kept });
  return status;
}
