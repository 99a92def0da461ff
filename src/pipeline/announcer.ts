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

/** Disposing ends what {@link Announcer.keep} began, and waits for it. */
export interface Announcer extends AsyncDisposable {
  /** After a commit. Throws {@link OvertakenError} and {@link StreamChangedError} only. */
  announce(commit: { readonly version: number; readonly agents: Iterable<string> }): Promise<void>;
  /**
   * Begins to rewrite all watermarks, and to truncate what has become old enough, when it is time, which it is at
   * first; milliseconds until the next time.
   */
  keep(): number;
  /** Rewrites all watermarks now. Throws whatever keeps it from doing so, the signal's reason too. */
  tellAll(): Promise<void>;
}

export interface AnnouncerOptions {
  readonly watermarks: WatermarkWriter;
  /** Creation text of the stream. */
  readonly created: string;
  /** As of the last commit. */
  readonly state: () => AcceptanceState;
  /** Told when what was begun ends with {@link OvertakenError} or {@link StreamChangedError}. */
  readonly onFailure: (error: unknown) => void;
  /** Ends the rewriting of all watermarks. */
  readonly signal: AbortSignal;
}

/** All watermarks are rewritten so many at a time, so that a commit's agents need not wait for all others. */
const AGENTS_AT_ONCE = 256;

export function createAnnouncer(
  context: Pick<
    RollupContext,
    "connection" | "shard" | "clock" | "log" | "position" | "truncation"
  >,
  options: AnnouncerOptions,
): Announcer {
  const { connection, shard, clock, log, position, truncation: policy } = context;
  const { watermarks, created, state, onFailure } = options;
  const ending = new AbortController();
  const either = AbortSignal.any([ending.signal, options.signal]);
  let writing: Promise<unknown> = Promise.resolve();
  /** What was begun and is not done. */
  let keeping: Promise<void> | undefined;
  let keepAtMs = clock.elapsedMs();

  /** Watermarks are written one time after the other, so that an older one never comes after a newer. */
  const write = async (agents: Iterable<string>): Promise<void> => {
    const before = writing;
    const mine = before.then(() => watermarks.write(state(), agents));
    writing = Promise.allSettled([mine]);
    await mine;
  };

  const tellAll = async (): Promise<void> => {
    const agents = Object.keys(state().agents);
    for (let at = 0; at < agents.length; at += AGENTS_AT_ONCE) {
      either.throwIfAborted();
      await write(agents.slice(at, at + AGENTS_AT_ONCE));
    }
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
    onFailure: (error: string) => unknown,
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
    keep() {
      const nowMs = clock.elapsedMs();
      if (nowMs >= keepAtMs) {
        keepAtMs = nowMs + WATERMARK_INTERVAL_MS;
        // One that takes longer than the interval takes the place of the next.
        keeping ??= inOrder(
          [tellAll, truncate],
          (error) => either.aborted || log.warn("the watermarks are not rewritten", { error }),
        ).catch(onFailure).finally(() => keeping = undefined);
      }
      return keepAtMs - nowMs;
    },
    tellAll,
    async [Symbol.asyncDispose]() {
      ending.abort();
      await keeping;
    },
  };
}
