/**
 * Watermarks to the agents: what the archive holds of each, written after every commit and all anew from time to time.
 *
 * Invariant: a watermark never goes back. Two roll-ups may run at once, and an agent that met an older watermark would
 * take the archive for rolled back; so every write names the revision it replaces, and looks at what stands there when
 * it does not know it.
 */
import { type AcceptanceState, standingOf, watermarkOf } from "../event/acceptance.ts";
import {
  encodeWatermark,
  parseWatermark,
  type Watermark,
  watermarkKeyOf,
} from "../event/watermark.ts";
import { UNKNOWN_DIGEST } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Bucket, BucketEntry } from "../runtime/nats.ts";

/** One per session: its state must be compared with the stream once the watermarks are read, before any is written. */
export interface WatermarkWriter {
  /**
   * Writes the watermarks of these agents, all the state knows by default. Throws {@link OvertakenError} when another
   * roll-up was there with a later one.
   */
  write(state: AcceptanceState, agents?: Iterable<string>): Promise<void>;
  /** Every watermark of the shard that stands in the bucket, by agent. */
  read(): Promise<ReadonlyMap<string, Watermark>>;
  /** Tells agents that the state does not know that nothing of theirs is in the archive. */
  reset(state: AcceptanceState): Promise<void>;
}

export interface WatermarkWriterOptions {
  readonly bucket: Bucket;
  readonly shard: string;
  readonly clock: Clock;
  /** The shard's entries in the bucket, by key. */
  readonly readAll: () => Promise<ReadonlyMap<string, BucketEntry>>;
}

/** Another roll-up has come further with this shard: its state has to be read anew. */
export class OvertakenError extends Error {
  override readonly name = "OvertakenError";
}

/** Writes on their way at the same time. */
const CONCURRENT_WRITES = 32;
/** So often a write is tried again when the revision was another. */
const WRITE_ATTEMPTS_MAX = 5;

export function createWatermarkWriter(options: WatermarkWriterOptions): WatermarkWriter {
  const { bucket, shard, clock, readAll } = options;
  /** Of what was read or written here last. */
  const revisions = new Map<string, number>();

  const writeOne = async (agent: string, watermark: Watermark): Promise<void> => {
    const key = watermarkKeyOf(shard, agent);
    const text = encodeWatermark(watermark);
    const isAgain = revisions.has(key);
    for (let attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
      const revision = revisions.get(key) ?? await lookAt(key, watermark, { isAgain });
      const written = await bucket.update(key, text, revision);
      if (written !== undefined) {
        revisions.set(key, written);
        return;
      }
      revisions.delete(key);
    }
    throw new OvertakenError(`Cannot write watermark "${key}": others write it all the time`);
  };

  /**
   * The revision that stands there, once it is sure that ours is not the older one. What another incarnation wrote is
   * older when our state was just compared with the stream; where it came after what was read, it was not.
   */
  const lookAt = async (
    key: string,
    ours: Watermark,
    { isAgain }: { readonly isAgain: boolean },
  ): Promise<number> => {
    const entry = await bucket.entry(key);
    const theirs = entry?.text === undefined ? undefined : parseWatermark(entry.text);
    const isOther = theirs !== undefined && theirs.incarnation !== ours.incarnation;
    if (theirs !== undefined && (isOther ? isAgain : theirs.sequence > ours.sequence)) {
      throw new OvertakenError(
        `Cannot write watermark "${key}" of sequence ${ours.sequence}: ${theirs.sequence} stands there`,
      );
    }
    return entry?.revision ?? 0;
  };

  return {
    async write(state, agents = Object.keys(state.agents)) {
      const atUs = clock.nowUs();
      const due = [...agents].flatMap((agent) => {
        const watermark = watermarkOf(state, agent, atUs);
        return watermark === undefined ? [] : [{ agent, watermark }];
      });
      await inParallel(due, ({ agent, watermark }) => writeOne(agent, watermark));
    },
    async read() {
      const found = new Map<string, Watermark>();
      const prefix = watermarkKeyOf(shard, "");
      const entries = await readAll();
      revisions.clear();
      for (const [key, { text, revision }] of entries) {
        revisions.set(key, revision);
        const watermark = text === undefined ? undefined : parseWatermark(text);
        if (watermark !== undefined) found.set(key.slice(prefix.length), watermark);
      }
      return found;
    },
    async reset(state) {
      const all = await this.read();
      revisions.clear();
      const atUs = clock.nowUs();
      const { incarnation, sequence } = state;
      await inParallel([...all], async ([agent, { epoch }]) => {
        const nothing = { incarnation, sequence, epoch, number: 0, digest: "", fork: undefined };
        const watermark = watermarkOf(state, agent, atUs) ?? { ...nothing, atUs };
        const key = watermarkKeyOf(shard, agent);
        await bucket.put(key, encodeWatermark(watermark));
      });
    },
  };
}

/** Whether a watermark tells of more than the state does: the state is older than what an agent was told. */
export function isBeyond(watermark: Watermark, agent: string, state: AcceptanceState): boolean {
  const { incarnation, sequence, epoch, number, digest } = watermark;
  if (incarnation === state.incarnation && sequence > state.sequence) return true;
  if (number === 0) return false;
  const standing = standingOf(state, { agent, epoch });
  if (standing === undefined || number > standing.number) return true;
  // What was given up by its number alone has come since.
  if (digest === UNKNOWN_DIGEST) return false;
  return number === standing.number && digest !== standing.digest;
}

/** Nothing of it goes on once it is settled: what is still under way after a failure is waited for. */
async function inParallel<T>(
  all: readonly T[],
  work: (each: T) => Promise<void>,
): Promise<void> {
  const left = all.values();
  let failure: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    for (const each of left) {
      try {
        await work(each);
      } catch (error) {
        failure ??= { error };
      }
      if (failure !== undefined) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENT_WRITES, all.length) }, worker));
  if (failure !== undefined) throw failure.error;
}
