/**
 * How much may wait in memory for the disk, and those who wait for room: each looks again whenever something changed that may have made some.
 *
 * Invariant: nobody waits on after there is room, after an abort, or after the end.
 */
import type { Lane } from "./producer.ts";

/** Above so much JSON that is not on disk yet, in UTF-16 units, `writable` waits. */
export const WRITABLE_WEIGHT_MAX = 16 * 1024 * 1024;
/** Above so much, lines are lost: those of the bulk lane first. */
export const WEIGHT_MAX: Readonly<Record<Lane, number>> = {
  bulk: 48 * 1024 * 1024,
  critical: 64 * 1024 * 1024,
};

export interface Room {
  /** Resolves once `isFull` says no, or this has ended; rejects when the signal is aborted before. */
  until(isFull: () => boolean, signal?: AbortSignal): Promise<void>;
  /** There may be room now. */
  wake(): void;
  /** Nobody is to wait from now on. */
  end(): void;
}

export function createRoom(): Room {
  let waiters: (() => void)[] = [];
  let isEnded = false;
  const wake = (): void => {
    const woken = waiters;
    waiters = [];
    for (const each of woken) each();
  };
  return {
    async until(isFull, signal) {
      while (!isEnded && isFull()) {
        signal?.throwIfAborted();
        const room = Promise.withResolvers<void>();
        const abort = (): void => room.reject(signal?.reason);
        signal?.addEventListener("abort", abort, { once: true });
        waiters.push(room.resolve);
        try {
          await room.promise;
        } finally {
          signal?.removeEventListener("abort", abort);
        }
      }
    },
    wake,
    end() {
      isEnded = true;
      wake();
    },
  };
}
