/**
 * Parts of one call as an iteration, and calls that are made again when the connection breaks.
 *
 * Invariant: what waits for the caller is bounded: beyond {@link PARTS_MAX} parts or {@link PARTS_LENGTH_MAX} the call
 * is ended, and where it goes on is for whoever made it to say.
 */
import { UnreachableError } from "./problem.ts";
import {
  createSilenceWatch,
  delayOf,
  GIVE_UP_AFTER_MS,
  isAborted,
  isPassing,
  pause,
  RECONNECT_DELAY_MS,
} from "./reconnect.ts";
import type { RequestOptions } from "./request.ts";
import type { RpcEnd, RpcLink, RpcPart } from "./rpc-link.ts";
import type { StreamNotice } from "./tail.ts";

/** Parts that wait for a slow caller, and their length in characters. */
export const PARTS_MAX = 4_096;
export const PARTS_LENGTH_MAX = 8_388_608;

export interface PartsOptions {
  readonly method: string;
  readonly params: object;
  readonly signal: AbortSignal | undefined;
  /** The call has failed after so long without a part; undefined for one that may think for long. */
  readonly silenceMs: number | undefined;
  /** A part says everything that those before it said. */
  readonly isState?: boolean;
}

/** How a call ended that did not fail. */
export type PartsEnd =
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "overflow" };

/** Parts in their order. Throws the call's error; leaving the loop cancels the call. */
export async function* partsOf(
  link: RpcLink,
  { method, params, signal, silenceMs, isState = false }: PartsOptions,
): AsyncGenerator<RpcPart, PartsEnd, undefined> {
  let queue: RpcPart[] = [];
  let length = 0;
  let hasOverflowed = false;
  let isLeft = false;
  let end: RpcEnd | undefined;
  let wake = (): void => undefined;
  const silence = createSilenceWatch(
    silenceMs ?? 0,
    () => link.close(new UnreachableError(`Cannot follow the record: silence for ${silenceMs} ms`)),
  );
  const hear = (): void => silenceMs === undefined ? undefined : silence.arm();
  const cancel = link.call({
    method,
    params,
    onPart(part) {
      // What was on its way when the caller left, or could not keep up.
      if (isLeft || hasOverflowed) return;
      hear();
      if (isState) queue = [];
      hasOverflowed = queue.length >= PARTS_MAX || length + part.length > PARTS_LENGTH_MAX;
      // One part alone is taken however long it is.
      if (hasOverflowed && queue.length > 0) {
        silence.disarm();
        return cancel();
      }
      hasOverflowed = false;
      queue.push(part);
      length = isState ? part.length : length + part.length;
      wake();
    },
    onEnd(how) {
      // However long the caller takes for what waits: over the same link others are followed.
      silence.disarm();
      end = how;
      wake();
    },
  });
  const leave = (): void => {
    cancel();
    wake();
  };
  signal?.addEventListener("abort", leave);
  try {
    hear();
    while (true) {
      signal?.throwIfAborted();
      const part = queue.shift();
      if (part !== undefined) {
        length -= part.length;
        yield part;
      } else if (hasOverflowed) return { kind: "overflow" };
      else if (end?.kind === "error") throw end.error;
      else if (end !== undefined) return end;
      else await new Promise<void>((resolve) => wake = resolve);
    }
  } finally {
    isLeft = true;
    silence.disarm();
    signal?.removeEventListener("abort", leave);
    cancel();
  }
}

export interface AgainOptions extends RequestOptions {
  /** First wait before opening again; doubles with each failure. */
  readonly reconnectDelayMs?: number;
  /** The service says something at least every 15 s; after this long without, the connection is opened again. */
  readonly silenceMs?: number;
  /** After this long without a sign of life the iteration ends with the last error. */
  readonly giveUpAfterMs?: number;
}

export type Reconnecting = Extract<StreamNotice, { readonly kind: "reconnecting" }>;

/**
 * Runs legs until one is done or the signal is aborted, which ends the iteration without an error. A leg that breaks is
 * run again after a while, but not the first before it showed a sign of life.
 */
export async function* again<T>(
  leg: (alive: () => void) => AsyncGenerator<T, "done" | "more", undefined>,
  { signal, reconnectDelayMs = RECONNECT_DELAY_MS, giveUpAfterMs = GIVE_UP_AFTER_MS }: AgainOptions,
): AsyncGenerator<T | Reconnecting, void, undefined> {
  let failures = 0;
  let lastAliveMs: number | undefined;
  const alive = (): void => {
    failures = 0;
    lastAliveMs = performance.now();
  };
  while (!isAborted(signal)) {
    try {
      if ((yield* leg(alive)) === "done") return;
    } catch (error) {
      if (isAborted(signal)) return;
      const silentMs = lastAliveMs === undefined ? Infinity : performance.now() - lastAliveMs;
      if (!isPassing(error) || silentMs > giveUpAfterMs) throw error;
      const delayMs = delayOf({ retryMs: reconnectDelayMs, failures });
      failures += 1;
      yield { kind: "reconnecting", reason: error.message, delayMs };
      await pause(delayMs, signal);
    }
  }
}
