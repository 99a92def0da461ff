/**
 * What follows a commit: agents are told what they may forget, readers that there is more to read, and the log is
 * truncated. Between commits all watermarks are written anew from time to time.
 *
 * Invariant: nothing here is needed for the record; what fails is done again at the next commit or the next rewriting.
 */
import type { AcceptanceState } from "../event/acceptance.ts";
import { WATERMARK_INTERVAL_MS } from "../event/watermark.ts";
import { commitSubjectOf } from "../event/wire.ts";
import type { RollupContext } from "./rollup-session.ts";
import { truncateLog } from "./truncation.ts";
import { OvertakenError, type WatermarkWriter } from "./watermarks.ts";

export interface Announcer {
  /** After a commit. Throws {@link OvertakenError} only. */
  announce(commit: { readonly version: number; readonly agents: Iterable<string> }): Promise<void>;
  /**
   * Rewrites all watermarks, and truncates what has become old enough, when it is time; milliseconds until the next
   * time. Throws {@link OvertakenError} only.
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
  let keepAtUs = clock.nowUs() + WATERMARK_INTERVAL_MS * 1000;

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
    position.lastSequence = status?.lastSequence ?? 0;
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
        if (error instanceof OvertakenError) throw error;
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
      if (clock.nowUs() >= keepAtUs) {
        await inOrder(
          [() => write(), truncate],
          (error) => log.warn("the watermarks are not rewritten", { error }),
        );
        keepAtUs = clock.nowUs() + WATERMARK_INTERVAL_MS * 1000;
      }
      return Math.max(1, (keepAtUs - clock.nowUs()) / 1000);
    },
  };
}
