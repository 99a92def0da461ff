/**
 * Reading back from the log what the broker just took: proof that events arrive, and as what.
 *
 * Invariants: nothing is read while nobody asked, and nothing that was on disk before somebody did; only the producer's own subject is, by the request for its newest
 * message, which a broker can allow without allowing more. Since one batch at a time is on its way, the newest message
 * after an answer is the batch that was answered for.
 */
import { PAYLOAD_JSON_BYTES_MAX } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import { type NatsConnection, readNewest } from "../runtime/nats.ts";
import { decompressFrame } from "../runtime/zstd.ts";

/** Given while a reading lasts; disposing of it ends the reading. */
export interface ReadBack extends Disposable {
  /** Only what is on disk by now is still to be read: an outage adds no work, however long it lasts. */
  upToNow(): void;
  /** Whether every batch that is to be read was published, and read back. */
  isCaughtUp(): boolean;
  /** Why a batch could not be read back, or that one was not; undefined while all could. */
  readonly fault: string | undefined;
}

/** Told the lines of a batch: JSON objects, as the log has them. */
export type ReadBackListener = (lines: readonly string[]) => void;

export interface ReadBacks {
  add(listener: ReadBackListener, spool: ReadSpool): ReadBack;
  /** Reads a batch that the broker just took, if somebody asked for it; never rejects. */
  read(connection: NatsConnection, message: StoredMessage): Promise<void>;
}

/** What is on disk. */
export interface ReadSpool {
  /** Ordinal of the newest batch. */
  highest(): number;
  /** Whether all are published. */
  isPublished(): boolean;
}

export interface StoredMessage {
  /** Of the batch in the spool. */
  readonly ordinal: number;
  readonly stream: string;
  readonly subject: string;
  readonly sequence: number;
}

const TIMEOUT_MS = 1_000;
/** A follower of the stream may have it a little later. */
const ATTEMPTS = 5;
const RETRY_MS = 50;

interface Reading {
  readonly listener: ReadBackListener;
  /** Ordinals: read is what comes after the one, up to the other. */
  readonly after: number;
  through: number;
  readonly seen: Set<number>;
  fault: string | undefined;
}

/** `readMessage`: lines of a message; by default asked of the broker. */
export function createReadBacks(
  clock: Clock,
  readMessage: typeof readLines = readLines,
): ReadBacks {
  const open = new Set<Reading>();
  let busy = 0;
  let published = 0;
  const readingsOf = (ordinal: number): readonly Reading[] =>
    [...open].filter(({ after, through }) => ordinal > after && ordinal <= through);
  return {
    add(listener, { highest, isPublished }) {
      const reading: Reading = {
        listener,
        after: highest(),
        through: Infinity,
        seen: new Set(),
        fault: undefined,
      };
      open.add(reading);
      const isCaughtUp = (): boolean =>
        busy === 0 && (published >= reading.through || isPublished());
      return {
        upToNow: () => void (reading.through = highest()),
        isCaughtUp,
        get fault() {
          if (reading.fault !== undefined || !isCaughtUp()) return reading.fault;
          const missing = Math.min(reading.through, highest()) - reading.after - reading.seen.size;
          return missing > 0 ? `${missing} batches were stored without being read back` : undefined;
        },
        [Symbol.dispose]: () => void open.delete(reading),
      };
    },
    async read(connection, message) {
      const { ordinal } = message;
      const readings = readingsOf(ordinal);
      published = Math.max(published, ordinal);
      if (readings.length === 0) return;
      busy += 1;
      try {
        const lines = await readMessage(connection, message, clock);
        for (const { listener, seen } of readings) {
          seen.add(ordinal);
          listener(lines);
        }
      } catch (error) {
        const fault = error instanceof Error ? error.message : String(error);
        for (const reading of readings) reading.fault = fault;
      } finally {
        busy -= 1;
      }
    },
  };
}

async function readLines(
  connection: NatsConnection,
  { stream, subject, sequence }: StoredMessage,
  clock: Clock,
): Promise<readonly string[]> {
  for (let attempt = 1;; attempt += 1) {
    const newest = await readNewest(connection, { stream, subject, timeoutMs: TIMEOUT_MS });
    if (newest?.sequence === sequence) {
      const json = await decompressFrame(newest.payload, PAYLOAD_JSON_BYTES_MAX);
      return Buffer.from(json).toString().trimEnd().split("\n");
    }
    if (attempt === ATTEMPTS) {
      const found = newest === undefined ? "nothing" : `message ${newest.sequence}`;
      throw new Error(`Cannot read message ${sequence} of "${stream}" back: it has ${found}`);
    }
    await clock.sleep(RETRY_MS);
  }
}
