/**
 * Answers to a sender that asked for them: one per message, in order, once the message is durable.
 *
 * Invariant: no message is answered before a position that covers all its lines was released.
 */
import type { Writable } from "node:stream";

/** How answers are framed: as what came. */
export type AnswerFraming = "frames" | "lines";

/** Bytes of answers that a sender may leave unread before it is read no further; no less than sockets take at once. */
export const UNREAD_BYTES_MAX = 64 * 1024;

export interface Answers {
  /** Whether messages wait for their answer. */
  readonly isWaiting: boolean;
  /** States that messages up to the n-th of this connection have all their lines before a position. */
  expect(count: number, position: number): void;
  /** Answers what a durable position covers. */
  release(position: number): void;
}

export function createAnswers(socket: Writable, framing: AnswerFraming): Answers {
  let waiting: { readonly count: number; readonly position: number }[] = [];
  let answered = 0;
  return {
    get isWaiting() {
      return waiting.length > 0;
    },
    expect(count, position) {
      waiting.push({ count, position });
    },
    release(position) {
      const end = waiting.findIndex((each) => each.position > position);
      const covered = end < 0 ? waiting : waiting.slice(0, end);
      const count = covered.at(-1)?.count;
      if (count === undefined) return;
      waiting = end < 0 ? [] : waiting.slice(end);
      const texts: string[] = [];
      for (answered += 1; answered <= count; answered += 1) {
        texts.push(framed(`{"ack":${answered}}`, framing));
      }
      answered = count;
      socket.write(texts.join(""), "latin1");
    },
  };
}

/** ASCII text as an answer, one character per byte. */
export function framed(text: string, framing: AnswerFraming): string {
  if (framing === "lines") return `${text}\n`;
  return String.fromCharCode(0, 0, text.length >> 8, text.length & 0xff) + text;
}
