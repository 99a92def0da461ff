/**
 * What follows a commit: agents are told what they may forget, readers that there is more to read, and the log is
 * truncated. Between commits all watermarks are written anew from time to time.
 *
 * Invariant: nothing here is needed for the record; what fails is done again at the next commit or the next rewriting.
 */
import type { AcceptanceState } from "../event/acceptance.ts";
import { WATERMARK_INTERVAL_MS } from "../event/watermark.ts";
import { commitSubjectOf, streamOf } from "../event/wire.ts";
import { StreamChangedError } from "../runtime/stream-reader.ts";
import type { RollupContext } from "./rollup-session.ts";
import { truncateLog } from "./truncation.ts";
import { OvertakenError, type WatermarkWriter } from "./watermarks.ts";

export interface Announcer {
  /** After a commit. Throws {@link OvertakenError} and {@link StreamChangedError} only. */
  announce(commit: { readonly version: number; readonly agents: Iterable<string> }): Promise<void>;
  /**
   * Rewrites all watermarks, and truncates what has become old enough, when it is time; milliseconds until the next
   * time. Throws {@link OvertakenError} and {@link StreamChangedError} only.
   */
  keep(): Promise<number>;
}

export interface AnnouncerOptions {
  readonly watermarks: WatermarkWriter;
  /** Creation text of the stream. */
  readonly created: string;
  /** As of the last commit. */
  readonly state: () => AcceptanceState;
}

export function createAnnouncer(context: RollupContext, options: AnnouncerOptions): Announcer {
  const { connection, shard, clock, log, position, truncation: policy } = context;
  const { watermarks, created, state } = options;
  let writing: Promise<unknown> = Promise.resolve();
  let keepAtMs = clock.elapsedMs() + WATERMARK_INTERVAL_MS;

  /** Watermarks are written one time after the other, so that an older one never comes after a newer. */
  const write = async (agents?: Iterable<string>): Promise<void> => {
    const before = writing;
    const mine = before.then(() => watermarks.write(state(), agents));
    writing = Promise.allSettled([mine]);
    await mine;
  };

  const truncate = async (): Promise<void> => {
    const { incarnation, sequence: committedSequence } = state();
    const nowUs = clock.nowUs();
    const place = { connection, shard, created, incarnation, committedSequence, nowUs };
    const status = await truncateLog({ ...place, policy });
    if (status === undefined) {
      throw new StreamChangedError(
        `Cannot truncate stream "${streamOf(shard)}": it was made again`,
      );
    }
    position.lastSequence = status.lastSequence;
  };

  /** One after the other until one fails. */
  const inOrder = async (
    steps: readonly (() => Promise<unknown>)[],
    onFailure: (error: string) => void,
  ): Promise<void> => {
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        if (error instanceof OvertakenError || error instanceof StreamChangedError) throw error;
        onFailure(String(error));
        return;
      }
    }
  };

  return {
    announce({ version, agents }) {
      // deno-lint-ignore require-await -- a step fails by rejecting
      const tell = async () => connection.publish(commitSubjectOf(shard), String(version));
      return inOrder(
        [() => write(agents), tell, truncate],
        (error) => log.warn("the commit is not announced yet", { version, error }),
      );
    },
    async keep() {
      if (clock.elapsedMs() >= keepAtMs) {
        await inOrder(
          [() => write(), truncate],
          (error) => log.warn("the watermarks are not rewritten", { error }),
        );
        keepAtMs = clock.elapsedMs() + WATERMARK_INTERVAL_MS;
      }
      return Math.max(1, keepAtMs - clock.elapsedMs());
    },
  };
}
