/**
 * Reading back from the log what the broker just took: proof that events arrive, and as what.
 *
 * Invariants: nothing is read while nobody asked; only the producer's own subject is, by the request for its newest
 * message, which a broker can allow without allowing more. Since one batch at a time is on its way, the newest message
 * after an answer is the batch that was answered for.
 */
import { PAYLOAD_JSON_BYTES_MAX } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import { type NatsConnection, readNewest } from "../runtime/nats.ts";
import { decompressFrame } from "../runtime/zstd.ts";

/** Given while a reading lasts; disposing of it ends the reading. */
export interface ReadBack extends Disposable {
  /** Whether every batch on disk was published, and read back if that was after the reading began. */
  isCaughtUp(): boolean;
  /** Why a batch could not be read back; undefined while all could. */
  readonly fault: string | undefined;
}

/** Told the lines of a batch: JSON objects, as the log has them. */
export type ReadBackListener = (lines: readonly string[]) => void;

export interface ReadBacks {
  add(listener: ReadBackListener, isPublished: () => boolean): ReadBack;
  /** Reads the message of a sequence for those who asked; never rejects. */
  read(connection: NatsConnection, message: StoredMessage): Promise<void>;
}

export interface StoredMessage {
  readonly stream: string;
  readonly subject: string;
  readonly sequence: number;
}

const TIMEOUT_MS = 1_000;
/** A follower of the stream may have it a little later. */
const ATTEMPTS = 5;
const RETRY_MS = 50;

export function createReadBacks(clock: Clock): ReadBacks {
  const open = new Set<{ readonly listener: ReadBackListener; fault: string | undefined }>();
  let reading = 0;
  return {
    add(listener, isPublished) {
      const entry = { listener, fault: undefined };
      open.add(entry);
      return {
        isCaughtUp: () => reading === 0 && isPublished(),
        get fault() {
          return entry.fault;
        },
        [Symbol.dispose]: () => void open.delete(entry),
      };
    },
    async read(connection, message) {
      if (open.size === 0) return;
      reading += 1;
      try {
        const lines = await readLines(connection, message, clock);
        for (const { listener } of open) listener(lines);
      } catch (error) {
        const fault = error instanceof Error ? error.message : String(error);
        for (const entry of open) entry.fault = fault;
      } finally {
        reading -= 1;
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
