/**
 * A stream's messages one by one, with a limit on the wait: a message that comes too late is not lost but the next one.
 */
import type { StreamMessage } from "../runtime/stream-message.ts";

/** What there is: a message, nothing within the limit, or the end of the reading. */
export type NextMessage =
  | { readonly kind: "message"; readonly message: StreamMessage }
  | { readonly kind: "late" }
  | { readonly kind: "end" };

export interface MessageSource extends AsyncDisposable {
  /** Resolves at the next message, or once `limit` does. Rejects when the reading fails. One call at a time. */
  next(limit: Promise<void>): Promise<NextMessage>;
}

/** The source reads one message ahead; disposing ends the reading, which its own signal must have stopped before. */
export function createMessageSource(messages: AsyncGenerator<StreamMessage, void>): MessageSource {
  let waiting: Promise<NextMessage> | undefined;
  const read = async (): Promise<NextMessage> => {
    const { done, value } = await messages.next();
    return done === true ? { kind: "end" } : { kind: "message", message: value };
  };
  return {
    async next(limit) {
      if (waiting === undefined) {
        waiting = read();
        // A failure between two calls is the next call's to see.
        void Promise.allSettled([waiting]);
      }
      const late = limit.then((): NextMessage => ({ kind: "late" }));
      const next = await Promise.race([waiting, late]);
      if (next.kind !== "late") waiting = undefined;
      return next;
    },
    async [Symbol.asyncDispose]() {
      if (waiting !== undefined) await Promise.allSettled([waiting]);
      await messages.return();
    },
  };
}
