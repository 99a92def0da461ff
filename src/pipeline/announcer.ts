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
  /** Begins to tell every agent; what comes after waits for it. */
  begin(): void;
  /** Resolves when what was begun is done. Throws as {@link Announcer.keep}. */
  settled(): Promise<void>;
  /** After a commit. Throws {@link OvertakenError} and {@link StreamChangedError} only. */
  announce(commit: { readonly version: number; readonly agents: Iterable<string> }): Promise<void>;
  /**
   * Begins to rewrite all watermarks, and to truncate what has become old enough, when it is time; milliseconds until
   * the next time. Of what was begun before, throws {@link OvertakenError} and {@link StreamChangedError} only.
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

  let keeping: Promise<void> | undefined;
  let failure: { readonly error: unknown } | undefined;

  /** Of a hundred thousand agents this takes a while; nothing waits for it but later watermarks. */
  const begin = (steps: readonly (() => Promise<unknown>)[]): void => {
    keeping = inOrder(steps, (error) => log.warn("the watermarks are not rewritten", { error }))
      .catch((error: unknown) => {
        failure = { error };
      })
      .finally(() => {
        keeping = undefined;
        keepAtMs = clock.elapsedMs() + WATERMARK_INTERVAL_MS;
      });
  };

  const settled = async (): Promise<void> => {
    await keeping;
    if (failure !== undefined) throw failure.error;
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
    begin: () => begin([() => write()]),
    settled,
    async keep() {
      if (failure !== undefined) await settled();
      if (keeping === undefined && clock.elapsedMs() >= keepAtMs) {
        begin([() => write(), truncate]);
      }
      return keeping === undefined
        ? Math.max(1, keepAtMs - clock.elapsedMs())
        : WATERMARK_INTERVAL_MS;
    },
  };
}
